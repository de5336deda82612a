"""OV and QK without a width x width product, against that product."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import NotEnoughData
from inspector.weights import circuits, spectral
from inspector.weights.circuits import circuit, copying, cosine, root


def factors(seed: int, size: int, left: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((size, left)), generator.standard_normal((size, right))


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(2, 40), st.integers(2, 40))
def test_norms_and_singular_values_are_those_of_the_product(
    seed: int, size: int, left: int, right: int
) -> None:
    a, b = factors(seed, size, left, right)
    found = circuit(root(a), root(b), (left, right))
    singular = np.linalg.svd(a.T @ b, compute_uv=False)
    rank = min(size, left, right)
    assert found.norm == pytest.approx(np.linalg.norm(a.T @ b), rel=1e-9)
    assert found.top == pytest.approx(singular[0], rel=1e-9)
    assert found.stable_rank == pytest.approx(spectral.stable_rank(singular[:rank]), rel=1e-6)
    assert found.effective_rank == pytest.approx(spectral.effective_rank(singular[:rank]), rel=1e-5)
    mine = np.linalg.svd(root(a) @ root(b).T, compute_uv=False)[:rank]
    assert np.allclose(mine, singular[:rank], atol=1e-7 * singular[0], rtol=1e-9)


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(8, 40))
def test_copying_is_that_of_all_eigenvalues_of_the_product(
    seed: int, size: int, width: int
) -> None:
    o, v = factors(seed, size, width, width)
    values = np.linalg.eigvals(o.T @ v)  # width - size of them are zero
    assert copying(o, v) == pytest.approx(values.real.sum() / np.abs(values).sum(), abs=1e-9)


def test_copying_of_heads_that_copy_and_that_turn_the_sign() -> None:
    o, _ = factors(0, 8, 64, 64)
    assert copying(o, o) == pytest.approx(1)
    assert copying(o, -o) == pytest.approx(-1)
    assert copying(o, np.zeros_like(o)) is None
    assert copying(o, o[:, :32]) is None


@given(st.integers(0, 2**32), st.floats(0, 2))
def test_cosine_is_that_of_the_products(seed: int, share: float) -> None:
    a, b = factors(seed, 6, 30, 20)
    c, d = factors(seed + 1, 6, 30, 20)
    c, d = a + share * c, b + share * d
    one, other = (a.T @ b).ravel(), (c.T @ d).ravel()
    expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert cosine((a, b), (c, d)) == pytest.approx(expected, abs=1e-9)


def test_a_head_of_zeros_has_no_ranks() -> None:
    a, b = factors(0, 4, 16, 16)
    found = circuit(root(np.zeros_like(a)), root(b), (16, 16))
    assert (found.norm, found.top, found.norm_noise) == (0, 0, 0)
    assert found.stable_rank is found.effective_rank is found.effective_rank_energy is None
    assert cosine((np.zeros_like(a), b), (a, b)) is None


@pytest.mark.parametrize(("size", "width"), [(16, 64), (32, 384)])
def test_noise_is_what_fresh_random_heads_give(size: int, width: int) -> None:
    expected = circuits.noise(size, width, width)
    ranks, energies, scores, ratios = [], [], [], []
    for seed in range(100):
        o, v = factors(1000 + seed, size, width, width)
        found = circuit(root(o), root(v), (width, width))
        ranks.append(found.effective_rank)
        energies.append(found.effective_rank_energy)
        scores.append(copying(o, v))
        ratios.append(found.norm / found.norm_noise)
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)
    assert np.mean(ranks) == pytest.approx(expected.effective_rank, rel=0.01)
    assert np.mean(energies) == pytest.approx(expected.effective_rank_energy, rel=0.02)
    assert np.std(scores) == pytest.approx(expected.copying_std, rel=0.5)
    assert abs(np.mean(scores)) < 4 * expected.copying_std / np.sqrt(100)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e60])
def test_values_that_no_product_can_hold_are_refused(value: float) -> None:
    a, _ = factors(0, 4, 16, 16)
    a[1, 2] = value
    with pytest.raises(NotEnoughData, match="absurdly large"):
        root(a)
