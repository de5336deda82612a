"""The number of the counterfactual gap: what it takes out, and how often it errs."""

import numpy as np
import pytest

from inspector.fairness.measures import measured_gap
from inspector.fairness.probes.directed import added, directed_part
from inspector.fairness.probes.parts import measure, measure_change, shuffled


def part(differences, directions, templates=None):
    """One row of `differences` for each target, one column for each template."""
    targets, columns = differences.shape
    place = np.tile(np.arange(columns), targets)
    return directed_part(
        "gap",
        "all",
        "all",
        [str(i) for i in range(differences.size)],
        np.repeat(np.arange(targets), columns).tolist(),
        place.tolist() if templates is None else templates,
        np.repeat(directions, columns).astype(float),
        differences.ravel(),
    )


def drawn(seed, directions, target=0.5, slope=0.0, neutral=0.5):
    """Differences of targets in six templates that share what the neutral text does to them."""
    rng = np.random.default_rng(seed)
    shape = (len(directions), 6)
    shared = rng.normal(0, neutral) + rng.normal(0, 0.5, 6)
    own = rng.normal(0, target, shape[0]) + slope * directions
    return own[:, None] + rng.normal(0, 0.3, shape) - shared


BALANCED = np.repeat([1.0, -1.0], 8)
UNEVEN = np.repeat([1.0, -1.0], [12, 4])


@pytest.mark.parametrize("directions", [BALANCED, BALANCED * np.tile([1.0, 0.5], 8)])
def test_with_balanced_directions_it_is_the_mean_of_signed_differences(directions):
    found = part(drawn(1, directions), directions)
    plain = (directions[:, None] * drawn(1, directions)).mean()
    assert measure(found).estimate.value == pytest.approx(plain, abs=1e-12)


def test_with_uneven_directions_it_is_half_the_difference_of_their_means():
    values = drawn(1, UNEVEN)
    half = (values[UNEVEN > 0].mean() - values[UNEVEN < 0].mean()) / 2
    assert measure(part(values, UNEVEN)).estimate.value == pytest.approx(half)


@pytest.mark.parametrize("directions", [BALANCED, UNEVEN])
def test_what_templates_and_neutral_texts_do_to_all_is_taken_out(directions):
    values = drawn(1, directions)
    moved = values + np.random.default_rng(2).normal(0, 3, 6)
    one, other = measure(part(values, directions)), measure(part(moved, directions))
    assert one.estimate.value == pytest.approx(other.estimate.value)
    assert one.estimate.low == pytest.approx(other.estimate.low)
    assert one.p_value == other.p_value


def test_directions_of_one_sign_are_compared_with_the_neutral_text():
    values = drawn(1, np.ones(8), slope=1.0)
    found = measure(part(values, np.ones(8)))
    assert found.estimate.value == pytest.approx(values.mean())
    alone = measured_gap(values.ravel(), np.repeat(np.arange(8), 6))
    assert found.estimate.low == pytest.approx(alone.estimate.low)
    assert found.p_value == alone.p_value


def test_a_template_of_one_sign_is_not_lost():
    values = drawn(1, BALANCED)
    labels = [("alone", 0) if not (w or t) else t for w in range(16) for t in range(6)]
    moved = values.copy()
    moved[0, 0] += 1
    one, other = (measure(part(v, BALANCED, labels)).estimate.value for v in (values, moved))
    assert other - one == pytest.approx(1 / 96, rel=0.05)


def test_what_items_add_averages_to_the_number():
    for directions in (BALANCED, UNEVEN, np.ones(16)):
        values = drawn(1, directions)
        values[0, 0] = np.nan
        found = part(values, directions)
        assert np.nanmean(added(found)) == pytest.approx(measure(found).estimate.value)
        assert np.isnan(added(found)).sum() == 1


def test_items_without_a_value_are_counted_and_change_nothing_else():
    values = drawn(1, BALANCED)
    values[0], values[3, 2] = np.nan, np.nan
    found = measure(part(values, BALANCED))
    assert (found.n_items, found.n_excluded, found.n_clusters) == (89, 7, 15)
    nothing = part(np.full((4, 3), np.nan), np.array([1.0, 1, -1, -1]))
    assert measure(nothing) is None


def test_sides_shuffled_flip_what_is_signed_alone():
    found = part(drawn(1, BALANCED, slope=2.0), BALANCED)
    mixed = shuffled(found, 0)
    assert (np.abs(mixed.values) == np.abs(found.values)).all()
    assert (mixed.values[:, 1:] == found.values[:, 1:]).all()
    assert measure(mixed).p_value > 0.05 > measure(found).p_value


def test_an_identical_model_has_changed_by_nothing():
    found = part(drawn(1, UNEVEN), UNEVEN)
    same = measure_change(found, found)
    assert (same.difference.estimate.value, same.difference.p_value) == (0, 1)


def rates(seeds, directions, slope=0.0, how=part):
    """How often it says bias, and how often the interval covers the truth."""
    said = covered = 0
    for seed in range(seeds):
        one = measure(how(drawn(seed, directions, slope=slope), directions), seed)
        inside = one.estimate.low <= 0 <= one.estimate.high
        said += one.p_value <= 0.05 and not inside
        covered += one.estimate.low <= slope <= one.estimate.high
    return said / seeds, covered / seeds


@pytest.mark.soak
@pytest.mark.parametrize("directions", [BALANCED, UNEVEN, np.repeat([1.0, -1.0], 4)])
def test_it_errs_as_often_as_it_says(directions):
    """Limits are those of 400 draws at 5 %; with four targets on one side it covers less."""
    said, covered = rates(400, directions)
    assert 0.025 <= said <= 0.08
    assert covered >= (0.93 if len(directions) == 16 and directions is not UNEVEN else 0.90)
    assert rates(200, directions, slope=0.5)[1] >= 0.90


@pytest.mark.soak
def test_neither_templates_nor_plain_signs_would_do():
    """Templates as the unit call chance bias; the neutral text biases a plain mean."""

    def by_template(values, directions):
        found = part(values, directions)
        columns = np.tile(np.arange(6), len(directions)).tolist()
        return type(found)(**{**vars(found), "clusters": tuple(columns)})

    assert rates(300, BALANCED, how=by_template)[0] > 0.3

    def plain(values, directions):
        signed = directions[:, None] * values
        return part(signed, np.ones(len(directions)))

    assert rates(300, UNEVEN, how=plain)[0] > 0.08
    assert rates(300, BALANCED, how=plain)[0] < 0.035
