"""Spectra of whole checkpoints: noise stays noise, a spike is a spike, nothing is left unsaid."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from weights.tiny_models import Tiny

from inspector.weights import noise, spectral
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.matrices import load, matrices
from inspector.weights.shape_noise import shape_noise
from inspector.weights.spectrum import NOISE, measure, reading, spectrum
from tests.weights.build import bf16, stored, write_file

Make = Callable[[str], Tiny]


def write(folder: Path, **arrays: np.ndarray) -> Path:
    tensors = {name: stored("F32", x.astype(np.float32)) for name, x in arrays.items()}
    write_file(folder / "model.safetensors", tensors)
    return folder


def test_minilm_in_full(minilm: Path) -> None:
    found = spectrum(open_checkpoint(minilm), replicates=0)
    assert len(found) == 40
    assert found.coverage.parameters_measured == 22_682_112
    verdicts = {record.name: record.verdict for record in found}
    assert [name for name, said in verdicts.items() if said == NOISE] == ["pooler.dense.weight"]
    assert verdicts["embeddings.token_type_embeddings.weight"] == "too small to tell"
    checkpoint = open_checkpoint(minilm)
    with checkpoint.reader() as reader:
        for matrix in matrices(checkpoint, "layer.3")[0]:
            dense = load(matrix, reader).astype(np.float64)
            oracle = np.linalg.svd(dense, compute_uv=False)
            np.testing.assert_allclose(found.singular[matrix.name], oracle, rtol=1e-6)


def test_every_number_stands_beside_that_of_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((96, 192)) * 0.02
    left, right = (np.linalg.qr(rng.standard_normal((n, 1)))[0] for n in base.shape)
    spiked = base + 3 * noise.visible(*base.shape, 0.02) * left @ right.T
    low_rank = rng.standard_normal((96, 8)) @ rng.standard_normal((8, 192))
    checkpoint = open_checkpoint(write(tmp_path, noise=base, spiked=spiked, low=low_rank))
    found = {record.name: record for record in spectrum(checkpoint, replicates=20)}
    assert found["noise"].verdict == NOISE
    assert (found["noise"].mp_spikes, found["noise"].snr) == (0, 0.0)
    assert found["noise"].alpha_reading == "noise"
    assert found["spiked"].verdict == "spikes above noise"
    assert found["spiked"].mp_spikes == 1
    assert 0.05 < found["spiked"].snr < 1
    assert found["low"].verdict == "structured"
    assert found["low"].rank == 8
    assert found["low"].condition is None
    assert found["low"].alpha is None
    for name in ("noise", "spiked"):
        record = found[name]
        assert record.alpha_noise_low <= record.alpha_noise <= record.alpha_noise_high
        assert record.stable_rank_noise == pytest.approx(96 / (1 + 0.5**0.5) ** 2, rel=0.1)


@pytest.mark.parametrize("factor", [1e-4, 50.0])
def test_only_norms_follow_the_scale(factor: float) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((64, 128)) * (1 + rng.pareto(3, (64, 1)))
    reference = shape_noise(64, 128)
    first, scaled = (
        measure(spectral.singular_values(x), 64, 128, reference, 10)
        for x in (matrix, factor * matrix)
    )
    free = ("alpha", "alpha_low", "alpha_high", "alpha_ks", "snr", "stable_rank", "mp_distance")
    for name in free:
        assert scaled[name] == pytest.approx(first[name], rel=1e-9)
    assert scaled["verdict"] == first["verdict"]
    assert scaled["mp_spikes"] == first["mp_spikes"]
    for name in ("spectral_norm", "frobenius_norm", "rms", "mp_edge", "spectral_norm_noise"):
        assert scaled[name] == pytest.approx(factor * first[name], rel=1e-9)


def test_norms_are_those_of_numpy() -> None:
    matrix = np.random.default_rng(2).standard_normal((40, 70))
    fields = measure(spectral.singular_values(matrix), 40, 70, None, 0)
    assert fields["spectral_norm"] == pytest.approx(np.linalg.norm(matrix, 2))
    assert fields["frobenius_norm"] == pytest.approx(np.linalg.norm(matrix))
    assert fields["rms"] == pytest.approx(np.sqrt(np.mean(matrix**2)))
    eigenvalues = np.linalg.svd(matrix, compute_uv=False) ** 2
    alpha = fields["alpha"]
    assert fields["alpha_weighted"] == pytest.approx(alpha * np.log10(eigenvalues[0]))
    assert fields["log_alpha_norm"] == pytest.approx(np.log10((eigenvalues**alpha).sum()))


def test_twenty_draws_of_noise_are_noise_and_never_under_trained(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    arrays = {f"w{i}": rng.standard_normal((128, 256)) * 0.02 for i in range(20)}
    for record in spectrum(open_checkpoint(write(tmp_path, **arrays)), replicates=20):
        assert (record.verdict, record.alpha_reading) == (NOISE, "noise")


def test_no_reading_where_alpha_crosses_a_threshold() -> None:
    assert reading([6.9, 6.5, 7.2, 3.0], is_noise=False).startswith("no verdict")
    assert reading([1.5, 1.2, 1.9, None], is_noise=False) == "below 2"
    assert reading([3.0, 2.5, 4.0, 3.1], is_noise=False) == "2 to 6"
    assert reading([8.0, None, None, 7.0], is_noise=False) == "above 6"


def test_heads_are_measured_by_their_own_rows_and_columns(make: Make) -> None:
    tiny = make("llama")
    found = spectrum(open_checkpoint(tiny.folder), heads=True, replicates=0)
    block = "model.layers.1.self_attn."
    k, o = (tiny.values[f"{block}{role}_proj.weight"].astype(float) for role in "ko")
    expected = {
        f"{block}k_proj.weight[head 1]": k[8:16],
        f"{block}o_proj.weight[head 2]": o[:, 16:24],
    }
    for name, piece in expected.items():
        record = next(r for r in found if r.name == name)
        singular = np.linalg.svd(piece, compute_uv=False)
        np.testing.assert_allclose(found.singular[name], singular, rtol=1e-6)
        assert (record.rows, record.columns) == (8, 32)
        assert record.spectral_norm == pytest.approx(singular[0])
    per_layer = [r.head for r in found if r.layer == 0 and r.head is not None]
    assert len(per_layer) == 4 + 2 + 2 + 4


@pytest.mark.parametrize("name", ["gpt_oss", "llama", "gpt2", "bert", "mixtral"])
def test_whatever_is_no_matrix_is_named(name: str, make: Make) -> None:
    """3-D experts, grouped queries, Conv1D and ties: all matrices, and a reason for the rest."""
    tiny = make(name)
    found = spectrum(open_checkpoint(tiny.folder), replicates=0)
    wide = sum(x.size for n, x in tiny.values.items() if x.ndim > 1 and "bias" not in n)
    assert found.coverage.parameters_measured == wide
    named = {skipped.name for skipped in found.coverage.skipped}
    assert named == {n for n, x in tiny.values.items() if x.ndim < 2 or "bias" in n}


def test_a_matrix_that_is_not_finite_costs_no_other_its_spectrum(tmp_path: Path) -> None:
    good = np.random.default_rng(0).standard_normal((20, 30))
    bad = good.copy()
    bad[3, 4] = np.nan
    found = spectrum(open_checkpoint(write(tmp_path, good=good, bad=bad)), replicates=0)
    assert [record.name for record in found] == ["good"]
    assert [(s.name, "NaN" in s.reason) for s in found.coverage.skipped] == [("bad", True)]
    assert [f.id for f in found.findings if f.id.startswith("SP")] == ["SP-SKIPPED"]
    assert found.coverage.tensors_total == 2


def test_a_matrix_of_zeros_says_so(tmp_path: Path) -> None:
    found = spectrum(open_checkpoint(write(tmp_path, empty=np.zeros((30, 40)))), replicates=0)
    assert found[0].verdict == "all zero"
    assert found[0].stable_rank is None
    json.loads(found.to_json())


@pytest.mark.parametrize("scale", [1e-160, 1e-200, 1e-300])
def test_values_whose_squares_vanish_are_not_called_zero(scale: float, tmp_path: Path) -> None:
    tiny = scale * np.random.default_rng(0).standard_normal((30, 40))
    write_file(tmp_path / "model.safetensors", {"tiny": stored("F64", tiny)})
    found = spectrum(open_checkpoint(tmp_path), replicates=0)
    assert found.records == ()
    assert "squares" in found.coverage.skipped[0].reason


def test_the_same_with_any_number_of_workers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"w{i}": rng.standard_normal((20 + i, 40)) for i in range(6)}
    checkpoint = open_checkpoint(write(tmp_path, **arrays))
    one, three = (spectrum(checkpoint, replicates=5, workers=n).records for n in (1, 3))
    assert one == three
    assert [record.name for record in one] == list(arrays)


def test_bf16_is_widened_without_loss(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((30, 50)) * 1e-30
    data = bf16(x)
    write_file(tmp_path / "model.safetensors", {"w": ("BF16", x.shape, data.tobytes())})
    exact = (data.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    found = spectrum(open_checkpoint(tmp_path), replicates=0)
    np.testing.assert_allclose(
        found.singular["w"] * 1e30, np.linalg.svd(exact * 1e30, compute_uv=False), rtol=1e-9
    )
