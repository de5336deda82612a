"""Numbers made of items: every way against brute force, for one model and for two."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from inspector.errors import BadOption
from inspector.fairness.probes.parts import (
    GAP,
    SHARE,
    SHARE_OF_CLUSTERS,
    Part,
    formula,
    measure,
    measure_change,
    shuffled,
)
from inspector.fairness.resampling import interval, ratio, resample

RATIO = formula(ratio, 0.0, "score", (-1, 1), signed=lambda values: values[:, 0], flips=1)
MEAN_OF_TERMS = formula(
    lambda sums: sums[..., 0] * sums[..., 1],
    0.0,
    equal=True,
    signed=lambda values: values[:, 0],
    tied=lambda values: values[:, 0] == 0,
)
HOWS = {
    "share": SHARE,
    "share of clusters": SHARE_OF_CLUSTERS,
    "gap": GAP,
    "pooled": RATIO,
    "equal": MEAN_OF_TERMS,
}


def part(values, clusters, how, ids=None):
    values = np.asarray(values, dtype=float)
    return Part(
        metric="m",
        category="all",
        family="all",
        ids=tuple(map(str, range(len(values)))) if ids is None else tuple(ids),
        clusters=tuple(clusters),
        values=values,
        how=how,
    )


@pytest.fixture(params=range(3))
def drawn(request):
    """Two columns of 60 items in nine clusters of unequal size; some items are missing."""
    rng = np.random.default_rng(request.param)
    clusters = [f"c{i}" for i in rng.choice(9, 60, p=np.arange(1, 10) / 45)]
    first = rng.choice([-1.0, -1.0, 0.0, 1.0], 60) * (1 + 0.3 * rng.random(60))
    values = np.stack([first, 1 + rng.random(60)], axis=1)
    values[rng.choice(60, 7, replace=False), rng.choice(2, 7)] = np.nan
    return values, clusters


def known(values, clusters):
    return [(row, c) for row, c in zip(values, clusters, strict=True) if not np.isnan(row).any()]


def by_cluster(values, clusters):
    found = {}
    for row, cluster in known(values, clusters):
        found.setdefault(cluster, []).append(row)
    return found


def by_force(name, values, clusters):
    """Each number from its definition, in plain loops."""
    rows = [row for row, _ in known(values, clusters)]
    groups = by_cluster(values, clusters).values()

    def share(some):
        return sum(1.0 if row[0] > 0 else 0.5 if row[0] == 0 else 0.0 for row in some) / len(some)

    def mean(some, column):
        return sum(row[column] for row in some) / len(some)

    if name == "share":
        return share(rows)
    if name == "share of clusters":
        return sum(map(share, groups)) / len(groups)
    if name == "gap":
        return mean(rows, 0)
    if name == "pooled":
        return sum(row[0] for row in rows) / sum(row[1] for row in rows)
    means = [[sum(mean(group, c) for group in groups)] for c in (0, 1)]
    return means[0][0] * means[1][0]


@pytest.mark.parametrize("name", HOWS)
def test_a_number_is_that_of_brute_force(name, drawn):
    values, clusters = drawn
    if name in ("share", "share of clusters", "gap"):  # these read the first column alone
        values = np.where(np.isnan(values).any(1)[:, None], np.nan, values)
    found = measure(part(values, clusters, HOWS[name]))
    assert found.estimate.value == pytest.approx(by_force(name, values, clusters), abs=1e-12)
    assert found.estimate.low < found.estimate.value < found.estimate.high
    kept = known(values, clusters)
    assert (found.n_items, found.n_excluded) == (len(kept), 60 - len(kept))
    assert found.n_clusters == len({cluster for _, cluster in kept})
    if name != "pooled":  # it was made without a way to tell ties
        assert found.n_ties == sum(row[0] == 0 for row, _ in kept)


@pytest.mark.parametrize("name", HOWS)
def test_p_is_that_of_all_flips(name, drawn):
    values, clusters = drawn
    values = np.where(np.isnan(values).any(1)[:, None], np.nan, values)
    found = measure(part(values, clusters, HOWS[name]))
    groups = by_cluster(values, clusters).values()
    first = [
        [np.sign(row[0]) if name.startswith("share") else row[0] for row in group]
        for group in groups
    ]
    sums = [sum(one) / (len(one) if name in ("share of clusters", "equal") else 1) for one in first]
    observed = abs(sum(sums))
    flips = itertools.product((-1, 1), repeat=len(sums))
    totals = [abs(sum(f * s for f, s in zip(flip, sums, strict=True))) for flip in flips]
    expected = sum(total >= observed - 1e-9 for total in totals) / len(totals)
    assert found.p_value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", HOWS)
def test_identical_models_differ_by_exactly_nothing(name, drawn):
    values, clusters = drawn
    one = part(values, clusters, HOWS[name])
    found = measure_change(one, part(values.copy(), clusters, HOWS[name]))
    ends = found.difference.estimate
    assert (ends.value, ends.low, ends.high, found.difference.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("how", [SHARE, SHARE_OF_CLUSTERS])
def test_that_few_items_kept_their_sides_is_no_proof_that_all_do(how):
    """Of eight that are alike, up to z^2 / (n + z^2) of all others could be unlike them."""
    before = np.linspace(0.1, 0.8, 8)[:, None]
    found = measure_change(*(part(side, range(8), how) for side in (before, 1.5 * before)))
    ends = found.difference.estimate
    assert (ends.value, found.difference.p_value) == (0, 1)
    n = 8 * (1.959964 / 2.364624) ** 2  # t with 7 degrees of freedom
    assert ends.high == pytest.approx(3.841459 / (n + 3.841459), abs=1e-4)
    assert ends.low == pytest.approx(-ends.high)


def test_what_lies_further_than_there_is_anything_is_not_detectable():
    gaps = np.array([[1.0, 1.0, 1.0]] * 3 + [[-1.0, -1.0, -1.0]] * 3).reshape(-1, 1)
    clusters = np.repeat(list("abcdef"), 3)
    for how in (SHARE, SHARE_OF_CLUSTERS):
        found = measure(part(gaps, clusters, how))
        assert found.estimate.low > 0 and found.mde80 is None
    signed = np.stack([gaps[:, 0], np.ones(18)], axis=1)
    assert measure(part(signed, clusters, formula(ratio, 0.0, "", (-1.0, 1.0)))).mde80 is None
    assert measure(part(signed, clusters, formula(ratio, 0.0))).mde80 > 1


@pytest.mark.parametrize("name", ["pooled", "equal", "share of clusters"])
def test_a_change_is_of_the_items_that_both_have(name, drawn):
    before, clusters = drawn
    before = np.where(np.isnan(before).any(1)[:, None], np.nan, before)
    rng = np.random.default_rng(9)
    after = before + rng.normal(0.5, 1, before.shape)
    after[:4] = np.nan
    order = rng.permutation(60)[:50]  # another order, and ten items fewer
    found = measure_change(
        part(before, clusters, HOWS[name]),
        part(after[order], [clusters[i] for i in order], HOWS[name], ids=map(str, order)),
    )
    both = [i for i in order if not np.isnan(before[i]).any() and not np.isnan(after[i]).any()]
    old, new = (by_force(name, side[both], [clusters[i] for i in both]) for side in (before, after))
    assert found.difference.estimate.value == pytest.approx(new - old, abs=1e-12)
    assert found.difference.n_items == len(both)


def test_clusters_of_one_size_count_alike_anyway():
    rng = np.random.default_rng(4)
    values, clusters = rng.normal(0.3, 1, (80, 1)), np.repeat([f"t{i}" for i in range(16)], 5)
    pooled, equal = (measure(part(values, clusters, how)) for how in (SHARE, SHARE_OF_CLUSTERS))
    for one, other in (
        (pooled.estimate.low, equal.estimate.low),
        (pooled.estimate.high, equal.estimate.high),
        (pooled.mde80, equal.mde80),
        (pooled.p_value, equal.p_value),
    ):
        assert one == pytest.approx(other, rel=1e-9)


def test_a_large_cluster_does_not_outvote_the_others():
    """One term of 40 for the stereotype, four terms of one against it."""
    values, clusters = [[1.0]] * 40 + [[-1.0]] * 4, ["big"] * 40 + list("abcd")
    assert measure(part(values, clusters, SHARE)).estimate.value == pytest.approx(40 / 44)
    assert measure(part(values, clusters, SHARE_OF_CLUSTERS)).estimate.value == pytest.approx(0.2)


def test_shuffling_exchanges_sides_of_whole_clusters_and_no_counts():
    values = np.stack([np.arange(1.0, 41), np.arange(1.0, 41)], axis=1)
    one = part(values, np.repeat(list("abcdefgh"), 5), RATIO)
    mixed = shuffled(one, seed=3)
    assert np.array_equal(mixed.values[:, 1], values[:, 1])
    signs = (mixed.values[:, 0] / values[:, 0]).reshape(8, 5)
    assert (signs == signs[:, :1]).all() and set(signs.ravel()) == {-1.0, 1.0}
    assert np.array_equal(one.values, values)
    still = shuffled(dataclasses.replace(one, how=dataclasses.replace(RATIO, flips=0)), seed=3)
    assert np.array_equal(still.values, values)


@pytest.mark.parametrize("name", HOWS)
def test_nothing_known_gives_no_number(name):
    nothing = part(np.full((6, 2), np.nan), list("aabbcc"), HOWS[name])
    assert measure(nothing) is None
    assert measure_change(nothing, nothing) is None
    some = part(np.ones((2, 2)), list("ab"), HOWS[name], ids=("x", "y"))
    assert measure_change(nothing, some) is None  # no item in both


def test_what_is_not_tested_has_no_p():
    rng = np.random.default_rng(1)
    found = measure(part(rng.random((20, 2)), range(20), formula(ratio, 0.0)))
    assert found.p_value is None and found.mde80 is not None


def test_rows_of_unequal_number_are_refused():
    with pytest.raises(BadOption, match="as many clusters"):
        part(np.ones((3, 1)), "ab", GAP)


@pytest.mark.parametrize("odd", [0.0, 0.1, 1 / 3])
def test_rounding_is_no_spread(odd):
    """Eleven clusters alike and one apart: a third of the resamples miss it, and have no spread."""
    rows = np.stack([np.full(12, -1.0), np.ones(12)], axis=1)
    rows[3, 0] = odd
    found = resample(rows, ratio)
    assert (found.errors == 0).mean() == pytest.approx((11 / 12) ** 12, abs=0.02)
    told = interval(found, bounds=(-1, 1), items=48)
    assert told.method.startswith("wilson") and told.high < 0
    assert math.isclose(found.value, rows[:, 0].mean())
