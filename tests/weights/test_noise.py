"""Noise of one shape against closed forms, the published table and draws of dense matrices."""

import math

import numpy as np
import pytest

from inspector.weights import noise, spectral
from inspector.weights.shape_noise import shape_noise

ASPECTS = (1, 2, 4, 8)


def gaussian(rows: int, columns: int, seed: int, std: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)) * std


@pytest.mark.parametrize(
    ("aspect", "median"),
    [(1, 0.65278), (1 / 2, 0.83047), (1 / 4, 0.91600), (1 / 8, 0.95817), (1 / 16, 0.97913)],
)
def test_bulk_median_is_the_published_one(aspect: float, median: float) -> None:
    assert noise.bulk_median(aspect) ** 2 == pytest.approx(median, abs=2e-5)


@pytest.mark.parametrize(
    ("long", "stable", "participation", "effective", "energy"),
    [
        (1024, 0.2500, 0.5000, 0.8050, 0.6065),
        (2048, 0.3431, 0.6667, 0.9261, 0.7788),
        (4096, 0.4444, 0.8000, 0.9662, 0.8825),
        (8192, 0.5458, 0.8889, 0.9838, 0.9394),
        (16384, 0.6400, 0.9412, 0.9920, 0.9692),
    ],
)
def test_reference_is_the_closed_form(long, stable, participation, effective, energy) -> None:
    found = noise.reference(long, 1024)
    assert found.stable_rank / 1024 == pytest.approx(stable, abs=6e-5)
    assert found.participation / 1024 == pytest.approx(participation, abs=6e-5)
    assert found.effective_rank / 1024 == pytest.approx(effective, abs=6e-5)
    assert found.effective_rank_energy / 1024 == pytest.approx(energy, abs=6e-5)


@pytest.mark.parametrize("long", [1024, 2048])
def test_a_dense_draw_has_the_measures_of_the_reference(long: int) -> None:
    singular = spectral.singular_values(gaussian(1024, long, seed=long))
    expected = noise.reference(1024, long)
    assert spectral.stable_rank(singular) == pytest.approx(expected.stable_rank, rel=0.02)
    assert spectral.participation(singular) == pytest.approx(expected.participation, rel=0.01)
    assert spectral.effective_rank(singular) == pytest.approx(expected.effective_rank, rel=0.01)
    assert spectral.effective_rank_energy(singular) == pytest.approx(
        expected.effective_rank_energy, rel=0.01
    )
    assert noise.noise_std(singular, 1024, long) == pytest.approx(0.02, rel=0.01)
    assert singular[0] == pytest.approx(noise.edge(1024, long, 0.02), rel=0.01)


def test_bidiagonal_draws_are_distributed_as_dense_ones() -> None:
    """Means of every ordered singular value over many draws of both kinds agree."""
    rng = np.random.default_rng(5)
    draws, rows, columns = 400, 40, 64
    quick = np.array([noise.draw(columns, rows, rng) for _ in range(draws)])
    dense = np.linalg.svd(rng.standard_normal((draws, rows, columns)), compute_uv=False)
    error = np.hypot(quick.std(axis=0), dense.std(axis=0)) / math.sqrt(draws)
    gap = np.abs(quick.mean(axis=0) - dense.mean(axis=0)) / error
    assert gap.max() < 4.5
    assert np.sqrt(np.mean(gap**2)) < 2


def test_a_draw_is_not_changed_by_turning_the_shape() -> None:
    first, second = (noise.draw(*s, np.random.default_rng(0)) for s in ((9, 30), (30, 9)))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("aspect", ASPECTS)
def test_noise_has_no_spikes_and_its_distance_stays_below_the_limit(aspect: int) -> None:
    """Of 100 draws at most one has a spike or another distance; a dense one has neither."""
    short, long = 128, 128 * aspect
    limit = shape_noise(short, long).distance_limit
    rng = np.random.default_rng(aspect)
    wrong = 0
    for _ in range(100):
        singular = noise.draw(short, long, rng)
        std = noise.noise_std(singular, short, long)
        spikes = noise.spikes(singular, short, long, std)
        wrong += spikes > 0 or noise.distance(singular, short, long, std) > limit
    assert wrong <= 1


@pytest.mark.parametrize("long", [512, 2048])
def test_a_spike_is_found_from_its_visible_size_on(long: int) -> None:
    """A rank-1 signal at 1.5 times the threshold is found, and lies where theory puts it."""
    short, std = 512, 0.02
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 1)))[0] for n in (short, long))
    base = gaussian(short, long, seed=3, std=std)
    for factor, expected in ((0.5, 0), (1.5, 1), (2.0, 1), (5.0, 1)):
        signal = factor * noise.visible(short, long, std)
        singular = spectral.singular_values(base + signal * left @ right.T)
        found = noise.spikes(singular, short, long, noise.noise_std(singular, short, long))
        assert found == expected
        if factor > 1:
            assert singular[0] == pytest.approx(noise.lifted(signal, short, long, std), rel=0.04)


def test_lifted_meets_the_edge_at_the_visible_size() -> None:
    smallest = noise.visible(100, 400, 2.0)
    assert noise.lifted(smallest, 100, 400, 2.0) == noise.edge(100, 400, 2.0)
    assert noise.lifted(smallest * 1.0001, 100, 400, 2.0) == pytest.approx(
        noise.edge(100, 400, 2.0), rel=1e-6
    )


def test_threshold_lies_beyond_the_edge_and_grows_with_the_margin() -> None:
    edge = noise.edge(300, 700, 0.5)
    values = [noise.threshold(300, 700, 0.5, margin) for margin in (0.0, 0.98, 2.02, 3.27)]
    assert values[0] == pytest.approx(edge)
    assert values == sorted(values)
    assert values[-1] < 1.03 * edge


def test_distance_sees_a_bulk_that_is_not_noise() -> None:
    rng = np.random.default_rng(0)
    flat = np.ones(256)
    half = np.sort(np.concatenate([noise.draw(128, 512, rng), np.full(128, 1e-3)]))[::-1]
    limit = shape_noise(256, 512).distance_limit
    for singular in (flat, half):
        std = noise.noise_std(singular, 256, 512)
        assert noise.distance(singular, 256, 512, std) > 2 * limit


def test_shape_noise_without_draws_is_the_closed_form_and_claims_no_alpha() -> None:
    drawn, closed = shape_noise(1024, 2048), shape_noise(1024, 2048, draws=False)
    assert closed.alpha is closed.alpha_low is closed.alpha_high is None
    assert closed.draws == 0 < drawn.draws
    for name in ("stable_rank", "participation", "effective_rank", "effective_rank_energy"):
        assert getattr(closed, name) == pytest.approx(getattr(drawn, name), rel=0.02)
    assert closed.distance_limit == pytest.approx(drawn.distance_limit, rel=0.35)
    assert drawn.alpha_low < drawn.alpha < drawn.alpha_high


@pytest.mark.soak
@pytest.mark.parametrize("aspect", ASPECTS)
def test_noise_stays_noise_on_dense_matrices(aspect: int) -> None:
    limit = shape_noise(512, 512 * aspect).distance_limit
    clean = found = claimed = 0
    std = 0.02
    for seed in range(100):
        base = gaussian(512, 512 * aspect, seed, std)
        rng = np.random.default_rng(1000 + seed)
        left, right = (np.linalg.qr(rng.standard_normal((n, 1)))[0] for n in base.shape)
        for factor in (0.0, 0.5, 1.5):
            signal = factor * noise.visible(*base.shape, std)
            singular = spectral.singular_values(base + signal * left @ right.T)
            sigma = noise.noise_std(singular, *base.shape)
            spikes = noise.spikes(singular, *base.shape, sigma)
            if factor == 0.0:
                clean += spikes == 0 and noise.distance(singular, *base.shape, sigma) <= limit
            elif factor == 0.5:
                claimed += spikes > 0
            else:
                found += spikes > 0
    assert clean >= 99
    assert found >= 95
    assert claimed <= 1
