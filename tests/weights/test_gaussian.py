"""What pruning takes from a Gaussian: the published values, a second derivation, and draws."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from inspector.weights import gaussian
from inspector.weights.magnitudes import magnitudes, union

TABLE = {  # sparsity: energy lost, relative error, threshold in standard deviations
    0.1: (0.0005, 0.023, 0.1257),
    0.25: (0.0083, 0.091, 0.3186),
    0.5: (0.0713, 0.267, 0.6745),
    0.7: (0.2167, 0.465, 1.0364),
    0.9: (0.5607, 0.749, 1.6449),
}


@pytest.mark.parametrize("sparsity", TABLE)
def test_the_published_table(sparsity):
    energy, error, threshold = TABLE[sparsity]
    lost = gaussian.energy_lost(np.array([sparsity]))
    t = gaussian.threshold_of(np.array([sparsity]))
    assert lost[0] == pytest.approx(energy, abs=6e-5)
    assert lost[0] ** 0.5 == pytest.approx(error, abs=6e-4)
    assert t[0] == pytest.approx(threshold, abs=6e-5)
    assert lost[0] == pytest.approx(sparsity - 2 * t[0] * stats.norm.pdf(t[0]), abs=1e-14)


def test_the_ends():
    assert gaussian.energy_lost(np.array([0.0, 1.0])).tolist() == [0, 1]


def test_the_way_back():
    for share in (1e-6, 0.01, 0.3, 0.9):
        sparsity = gaussian.sparsity_losing(share)
        assert gaussian.energy_lost(np.array([sparsity]))[0] == pytest.approx(share, rel=1e-10)


@pytest.mark.parametrize(("keep", "group", "published"), [(2, 4, 0.1324), (4, 8, 0.1033)])
def test_patterns_by_order_statistics(keep, group, published):
    """The published costs, and the mean square of each of the lost order statistics."""

    def square(rank: int) -> float:
        order = stats.beta(rank, group - rank + 1)
        return quad(lambda u: stats.halfnorm.ppf(u) ** 2 * order.pdf(u), 0, 1, limit=200)[0]

    cost = gaussian.pattern_cost(keep, group)
    assert cost == pytest.approx(published, abs=6e-5)
    assert cost == pytest.approx(sum(map(square, range(1, group - keep + 1))) / group, abs=1e-7)


def test_one_threshold_over_equal_scales_changes_nothing():
    points = (0.05, 0.5, 0.9)
    mixed = gaussian.mixed_energy_lost([100, 300], [1.0, 3.0], points)
    np.testing.assert_allclose(mixed, gaussian.energy_lost(np.array(points)), rtol=1e-10)


def test_one_threshold_over_differing_scales_by_drawing():
    draw = np.random.default_rng(0)
    parts = [draw.normal(0, s, n) for s, n in ((0.02, 300_000), (0.1, 100_000), (1.0, 40_000))]
    parts.append(np.zeros(60_000))
    points = (0.05, 0.12, 0.3, 0.6, 0.9, 0.99)
    found = union([magnitudes(part) for part in parts])
    mixed = gaussian.mixed_energy_lost(
        [len(p) for p in parts], [float((p**2).sum()) for p in parts], points
    )
    np.testing.assert_allclose(mixed, found.energy_lost(points), atol=2e-3)
    assert mixed[1] < 1e-9  # only the zeros
