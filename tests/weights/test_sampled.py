"""Estimates from random blocks: how often the stated ranges hold the truth."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import inspector
from inspector.errors import BadOption
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.sampled import SampledStatistics, band, sampled_scan
from inspector.weights.tally import QUANTILES
from tests.weights.build import BITS, random_bytes, stored, write_file, write_shards
from tests.weights.range_server import serving

RUNS = 100
NAMES = [f"q{round(100 * q):02d}" for q in QUANTILES]
SCAN_NAMES = ("mean", "std", *NAMES)


def opened(folder: Path, values: np.ndarray) -> Checkpoint:
    path = folder / "model.safetensors"
    return inspector.open(write_file(path, {"w": stored("F32", values.astype(np.float32))}))


def holds(record: object, name: str, truth: float) -> bool:
    low, high = getattr(record, f"{name}_low"), getattr(record, f"{name}_high")
    return (low is None or low <= truth) and (high is None or truth <= high)


def coverage(
    checkpoint: Checkpoint, budget: int, runs: int = RUNS
) -> tuple[dict[str, float], list[SampledStatistics]]:
    """The share of draws in which each range holds the truth, and all quantiles at once."""
    truth = inspector.scan(checkpoint)[0]
    drawn = [sampled_scan(checkpoint, budget, seed=seed)[0] for seed in range(runs)]
    hits = {
        name: [holds(record, name, getattr(truth, name)) for record in drawn] for name in SCAN_NAMES
    }
    shares = {name: float(np.mean(hit)) for name, hit in hits.items()}
    shares["all quantiles"] = float(np.mean(np.all([hits[name] for name in NAMES], axis=0)))
    return shares, drawn


def correlated(rng: np.random.Generator) -> np.ndarray:
    """Rows whose scales differ: blocks of rows are alike inside and unlike each other."""
    return rng.normal(size=(3000, 256)) * rng.lognormal(0, 1, size=(3000, 1))


def shifted(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(3000, 256)) + rng.normal(size=(3000, 1))


def rising(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(3000, 256)) * np.linspace(0.2, 5, 3000)[:, None]


def padded(rng: np.random.Generator) -> np.ndarray:
    values = rng.normal(size=(3000, 256))
    values[-300:] = 0
    return values


def by_column(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(96, 8192)) * rng.lognormal(0, 1, size=8192)


@pytest.mark.parametrize("budget", [20_000, 200_000])
@pytest.mark.parametrize("draw", [correlated, shifted, rising, padded, by_column])
def test_true_quantiles_lie_in_the_stated_band(
    draw: Callable[[np.random.Generator], np.ndarray], budget: int, tmp_path: Path
) -> None:
    checkpoint = opened(tmp_path, draw(np.random.default_rng(5)))
    runs = RUNS if draw is correlated else 40
    shares, drawn = coverage(checkpoint, budget, runs)
    assert shares["all quantiles"] >= 0.95
    assert shares["mean"] >= 0.9
    assert shares["std"] >= 0.6  # see SampledStatistics
    assert {record.bytes_read <= budget for record in drawn} == {True}
    assert np.median([record.band for record in drawn]) < (0.15 if budget > 100_000 else 0.35)


def test_without_the_correction_the_band_would_be_wrong(tmp_path: Path) -> None:
    """The same draws against the band of as many single values."""
    checkpoint = opened(tmp_path, correlated(np.random.default_rng(5)))
    values = np.sort(
        np.fromfile(checkpoint.storage.place + "/model.safetensors", np.float32)[-3000 * 256 :]
    )
    _, drawn = coverage(checkpoint, 200_000, 40)
    inside = []
    for record in drawn:
        naive = math.sqrt(math.log(2 / 0.05) / (2 * record.values))
        below = [np.searchsorted(values, getattr(record, n), side="right") for n in NAMES]
        shares = np.array(below) / len(values)
        inside.append(np.all(np.abs(shares - QUANTILES) <= naive))
    assert np.mean(inside) < 0.8
    assert np.median([record.design_effect for record in drawn]) > 10


def test_single_values_alike_have_no_design_effect(tmp_path: Path) -> None:
    checkpoint = opened(tmp_path, np.random.default_rng(0).normal(size=(2000, 256)))
    shares, drawn = coverage(checkpoint, 200_000)
    assert min(shares.values()) >= 0.9
    assert 1 <= np.median([record.design_effect for record in drawn]) < 2
    plain = math.sqrt(math.log(2 / 0.05) / (2 * 50_000))
    assert plain * 0.8 < np.median([record.band for record in drawn]) < plain * 2


def test_band_against_the_formula() -> None:
    """Equal blocks: no design effect; blocks of one value each: every block is one value."""
    alike = [np.arange(1000.0)] * 40
    assert band(alike, 1.0).design_effect == 1.0
    one = [np.full(1000, float(i)) for i in range(40)]
    found = band(one, 1.0)
    assert found.design_effect > 900
    assert found.width == pytest.approx(math.sqrt(math.log(40) / (2 * 40)), rel=0.1)
    assert band(one, 0.25).width == pytest.approx(found.width / 2)
    assert band(one, 0.0).width == 0


def test_small_tensors_are_exact_and_equal_the_scan(tmp_path: Path) -> None:
    """Also every dtype, NaN and infinities, a scalar and an empty tensor."""
    tensors = {dtype: (dtype, (6, 32), random_bytes(dtype, 192, i)) for i, dtype in enumerate(BITS)}
    tensors["scalar"] = stored("F32", np.array(1.5, np.float32))
    tensors["empty"] = stored("BF16", np.zeros((0, 7), np.uint16))
    checkpoint = inspector.open(write_file(tmp_path / "model.safetensors", tensors))
    result = sampled_scan(checkpoint, 10**6)
    assert result.coverage.bytes_read == result.coverage.bytes_total
    assert "WT-SAMPLED" not in {f.id for f in result.findings}
    for got, want in zip(result, inspector.scan(checkpoint), strict=True):
        assert (got.name, got.role, got.layer, got.shape) == (
            want.name,
            want.role,
            want.layer,
            want.shape,
        )
        assert got.exact
        assert (got.nan, got.inf, got.unseen) == (want.nan, want.inf, 0)
        for name in NAMES:
            low, value, high = (getattr(got, f"{name}{end}") for end in ("_low", "", "_high"))
            assert low == value == high == getattr(want, name)
        for name in ("mean", "std"):
            value, exact = getattr(got, name), getattr(want, name)
            low, high = getattr(got, f"{name}_low"), getattr(got, f"{name}_high")
            if value is not None and exact is not None:
                assert value == pytest.approx(exact, rel=1e-9)
                assert low == pytest.approx(value) and high == pytest.approx(value)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Small and large tensors in two shards, one with NaN, one of a dtype that is not read."""
    rng = np.random.default_rng(2)
    nan = rng.normal(size=(500, 400)).astype(np.float32)
    nan[::2] = np.nan
    first = {
        "norm": stored("F32", rng.normal(size=64).astype(np.float32)),
        "big": stored("F32", rng.normal(size=(1000, 300)).astype(np.float32)),
        "nan": stored("F32", nan),
    }
    second = {
        "half": stored("F16", rng.normal(size=(800, 300)).astype(np.float16)),
        "complex": ("C64", (4,), bytes(32)),
    }
    return write_shards(tmp_path / "m", [first, second])


def test_budget_is_kept_and_shared(model: Path) -> None:
    result = sampled_scan(inspector.open(model), 300_000)
    read = {record.name: record.bytes_read for record in result}
    assert read["norm"] == 256
    shares = [read[name] for name in ("big", "nan", "half")]
    assert max(shares) - min(shares) < 0.02 * max(shares)
    assert 0.97 * 300_000 < sum(read.values()) <= 300_000
    assert result.coverage.bytes_read == result.summary["bytes_read"] == sum(read.values())
    assert [one.name for one in result.coverage.skipped] == ["complex"]
    assert {record.name for record in result if record.exact} == {"norm"}
    told = {f.id: f for f in result.findings if f.where != "checkpoint"}
    assert told["WT-NAN"].where == "nan"
    assert abs(told["WT-NAN"].evidence["count"] / told["WT-NAN"].evidence["values"] - 0.5) < 0.05
    assert "WT-SAMPLED" in {f.id for f in result.findings}
    assert result.source.seed == 0
    result.to_json()
    assert len(result.to_frame()) == 4


def test_seed_and_selection_decide_what_is_drawn(model: Path) -> None:
    checkpoint = inspector.open(model)
    first = sampled_scan(checkpoint, 100_000, seed=3)
    assert sampled_scan(checkpoint, 100_000, seed=3).records == first.records
    other = sampled_scan(checkpoint, 100_000, seed=4)
    assert other[1].mean != first[1].mean
    alone = sampled_scan(checkpoint, first[1].bytes_read, where="^big$", seed=3)
    assert alone.records == (first[1],)  # whatever else is drawn


@pytest.mark.parametrize("budget", [0, -1])
def test_budget_of_nothing_is_refused(budget: int, model: Path) -> None:
    with pytest.raises(BadOption, match="at least 1 byte"):
        sampled_scan(inspector.open(model), budget)


def test_budget_of_next_to_nothing_names_what_it_leaves_out(model: Path) -> None:
    result = sampled_scan(inspector.open(model), 400)
    reasons = {one.name: one.reason for one in result.coverage.skipped}
    assert reasons.keys() | {record.name for record in result} == {
        *("norm", "big", "nan", "half", "complex")
    }
    assert "sample more" in reasons["big"]


def test_minilm_far_away_costs_what_was_budgeted(minilm: Path) -> None:
    """The same estimates as here, few bytes, and every range around the scan's number."""
    near = inspector.open(minilm)
    files = {f"/m/{path.name}": path.read_bytes() for path in minilm.iterdir() if path.is_file()}
    with serving(files) as served:
        checkpoint = inspector.open(f"{served.url}/m")
        served.requests.clear()
        far = sampled_scan(checkpoint, 4_000_000)
        asked = served.asked("model.safetensors")
    assert far.records == sampled_scan(near, 4_000_000).records
    assert sum(r.end - r.begin + 1 for r in asked) < 3 * far.coverage.bytes_read
    assert far.coverage.bytes_read <= 4_000_000
    exact = {record.name: record for record in inspector.scan(near)}
    held = [
        all(holds(record, name, getattr(exact[record.name], name)) for name in NAMES)
        for record in far
    ]
    assert np.mean(held) >= 0.95
