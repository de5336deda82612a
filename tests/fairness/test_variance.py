"""Variance components, design effects, sensitivity to templates."""

import itertools

import numpy as np
import pytest
import scipy.stats

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.measures import measured_gap, measured_share
from inspector.fairness.sensitivity import template_sensitivity
from inspector.fairness.variance import components, design_effect

RNG = np.random.default_rng(8)


def crossed(templates, targets, sd, rng, repeats=1):
    rows, columns = np.indices((templates, targets)).reshape(2, -1).repeat(repeats, axis=1)
    values = (
        sd[0] * rng.normal(size=templates)[rows]
        + sd[1] * rng.normal(size=targets)[columns]
        + sd[2] * rng.normal(size=len(rows))
    )
    return values, rows, columns


def test_a_complete_table_is_split_as_anova_does():
    values, rows, columns = crossed(6, 9, (1.0, 0.5, 0.7), RNG)
    table = values.reshape(6, 9)
    grand = table.mean()
    of_rows = 9 * ((table.mean(1) - grand) ** 2).sum() / 5
    of_columns = 6 * ((table.mean(0) - grand) ** 2).sum() / 8
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + grand
    residual = (rest**2).sum() / 40
    found = components(values, rows, columns)
    assert found.residual == pytest.approx(residual)
    assert found.template == pytest.approx((of_rows - residual) / 9)
    assert found.target == pytest.approx((of_columns - residual) / 6)
    assert found.p_template == pytest.approx(scipy.stats.f.sf(of_rows / residual, 5, 40))
    error = np.sqrt((of_rows + of_columns - residual) / 54)
    ends = np.array([of_rows / 54, of_columns / 54, residual / 54])
    degrees = error**4 / (ends**2 / [5, 8, 40]).sum()
    half = scipy.stats.t.ppf(0.975, degrees) * error
    assert found.mean.low == pytest.approx(grand - half)
    assert found.icc_template + found.icc_target < 1


def dense(values, rows, columns):
    """Henderson III with projections written out as matrices."""
    z_rows = np.eye(rows.max() + 1)[rows]
    z_columns = np.eye(columns.max() + 1)[columns]
    project = lambda z: z @ np.linalg.pinv(z)  # noqa: E731
    both = project(np.hstack([z_rows, z_columns]))
    n = len(values)
    residual = values @ (np.eye(n) - both) @ values / (n - np.trace(both))
    out = []
    for z, other in ((z_rows, z_columns), (z_columns, z_rows)):
        extra = both - project(other)
        out.append(
            (values @ extra @ values - np.trace(extra) * residual) / np.trace(z.T @ extra @ z)
        )
    return *out, residual


@pytest.mark.parametrize("repeats", [1, 2])
@pytest.mark.parametrize("shape", [(7, 5), (5, 7)])
def test_missing_and_repeated_cells_are_fitted(shape, repeats):
    values, rows, columns = crossed(*shape, (1.0, 1.0, 0.5), RNG, repeats)
    kept = RNG.random(len(values)) < 0.75
    found = components(values[kept] + 100, rows[kept], columns[kept])
    expected = dense(values[kept], rows[kept], columns[kept])
    assert (found.template, found.target, found.residual) == pytest.approx(expected)


@pytest.mark.parametrize("sd", [(1.0, 0.5, 1.0), (0.0, 1.0, 0.5), (0.5, 0.0, 2.0)])
def test_components_are_found_on_average(sd):
    rng = np.random.default_rng(3)
    runs = [components(*crossed(8, 12, sd, rng)) for _ in range(150)]
    for name, true in zip(("template", "target", "residual"), sd, strict=True):
        seen = np.mean([getattr(run, name) for run in runs])
        assert seen == pytest.approx(true**2, abs=0.12 * max(1, true**2) + 0.02)


def test_the_mean_holds_for_new_templates_and_targets():
    """Templates alone as the unit miss too often where targets vary."""
    rng, held, runs = np.random.default_rng(5), 0, 300
    for _ in range(runs):
        found = components(*crossed(8, 12, (0.3, 1.0, 0.5), rng)).mean
        held += found.low <= 0 <= found.high
    assert held >= 0.92 * runs


def test_what_is_below_zero_is_clipped_and_named():
    table = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    rows, columns = np.indices(table.shape).reshape(2, -1)
    found = components(table.ravel(), rows, columns)
    assert (found.template, found.target) == (0, 0)
    assert set(found.clipped) == {"template", "target"}


def test_templates_and_targets_that_are_one_cannot_be_split():
    with pytest.raises(NotEnoughData, match="cross"):
        components(RNG.normal(size=6), np.arange(6) // 2, np.arange(6) // 2)
    with pytest.raises(NotEnoughData, match="cross"):
        components(RNG.normal(size=6), np.arange(6), np.zeros(6))
    with pytest.raises(NotEnoughData, match="alike"):
        components(np.full(9, 0.1), np.arange(9) // 3, np.arange(9) % 3)
    with pytest.raises(NotEnoughData, match="alike"):
        design_effect(np.full(9, 0.1), np.arange(9) // 3)
    with pytest.raises(BadOption, match="finite"):
        components(np.full(9, np.nan), np.arange(9) // 3, np.arange(9) % 3)


def test_what_clusters_cost_is_kishs_formula():
    own = RNG.normal(size=40)
    values = (own[:, None] + RNG.normal(size=(40, 8))).ravel()
    found = design_effect(values, np.repeat(np.arange(40), 8))
    assert found.icc.value == pytest.approx(0.5, abs=0.15)
    assert found.icc.low < found.icc.value < found.icc.high
    assert found.effect == pytest.approx(1 + 7 * found.icc.value)
    assert found.n_effective == pytest.approx(320 / found.effect)


def test_clusters_that_are_all_alike_leave_one_item_each():
    found = design_effect(np.repeat(RNG.normal(size=10), 4), np.repeat(np.arange(10), 4))
    assert (found.icc.value, found.effect) == (1, 4)
    assert found.n_effective == 10
    repelled = design_effect(np.tile([1.0, -1.0], 20), np.repeat(np.arange(20), 2))
    assert repelled.icc.value == -1
    assert repelled.effect == 1


def test_the_interval_of_icc_holds():
    rng, held = np.random.default_rng(2), 0
    clusters = np.repeat(np.arange(15), 6)
    for _ in range(200):
        values = rng.normal(size=15)[clusters] + rng.normal(size=90)
        found = design_effect(values, clusters).icc
        held += found.low <= 0.5 <= found.high
    assert held >= 0.91 * 200


def planted(per_template, targets=20, noise=0.5):
    rows, columns = np.indices((len(per_template), targets)).reshape(2, -1)
    return np.array(per_template)[rows] + noise * RNG.normal(size=len(rows)), rows, columns


def test_a_bias_all_templates_share_hangs_on_none():
    found = template_sensitivity(*planted([1.0] * 8))
    assert found.judged.verdict == "bias detected"
    assert (found.flipped, found.other_side, found.opposed, found.flipped_without) == (0, 0, 0, 0)
    assert 0.5 < found.lowest <= found.overall.estimate.value <= found.highest < 1.5
    assert found.components is not None
    assert found.components.icc_template < 0.3
    assert len(found.templates) == 8


def test_a_verdict_of_one_template_is_seen_to_flip():
    """Seven lean one way, one far the other: all is inconclusive, each alone is detected."""
    found = template_sensitivity(*planted([1.0] * 7 + [-5.0]))
    assert found.judged.verdict == "inconclusive"
    assert found.flipped == 1
    assert found.flipped_without == 1 / 8
    assert found.templates[7].judged_without.verdict == "bias detected"
    assert found.components.icc_template > 0.7
    assert found.design.effect > 5


def test_templates_that_oppose_the_whole_are_counted():
    found = template_sensitivity(*planted([1.0] * 9 + [-0.8]))
    assert (found.other_side, found.opposed) == (0.1, 0.1)
    line = found.templates[9]
    assert (line.judged.verdict, line.judged.direction) == ("bias detected", -1)


def test_leaving_one_out_is_measuring_the_rest():
    values, rows, columns = planted([0.2, 0.4, 0.1, 0.5, 0.3, 0.6, 0.2])
    found = template_sensitivity(values, rows, columns, measured_share)
    for i, line in enumerate(found.templates):
        assert line.without == measured_share(values[rows != i], rows[rows != i])
        assert line.alone == measured_share(values[rows == i], columns[rows == i])


def test_templates_of_one_item_have_no_verdict_of_their_own():
    values = RNG.normal(1, 1, 10)
    found = template_sensitivity(values, np.arange(10), measure=measured_gap)
    assert found.flipped is None
    assert found.flipped_without is not None
    assert (found.components, found.design) == (None, None)
    assert found.templates[0].judged.verdict == "invalid measurement"
    with pytest.raises(NotEnoughData, match="three"):
        template_sensitivity(values, np.arange(10) % 2)


def test_every_order_of_items_gives_the_same_components():
    values, rows, columns = crossed(3, 2, (1.0, 1.0, 1.0), RNG)
    first = components(values, rows, columns)
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 97):
        other = components(values[list(order)], rows[list(order)], columns[list(order)])
        assert other.template == pytest.approx(first.template)
