"""Rounding errors against plain numpy, against the reference values, and where they must not be."""

import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from weights import quantised
from weights.build import bf16, stored, write_file

from inspector.errors import BadOption
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.grid_noise import noise_energy
from inspector.weights.grids import GRIDS, NF4, decibels, round_to
from inspector.weights.lattice import find_lattice
from inspector.weights.quantization import ONE_BIT, quantize

# reference values: N(0, .02), 1024 x 4096: relative error, dB
REFERENCE = {
    "int8-row": (0.0087, 41.2),
    "int4-row": (0.157, 16.1),
    "int4-g128": (0.117, 18.6),
    "int4-g64": (0.108, 19.4),
    "int4-g32": (0.097, 20.3),
    "int4-asym-g128": (0.0998, 20.0),
    "int4-asym-g64": (0.0897, 20.9),
    "int4-asym-g32": (0.0782, 22.1),
    "int3-asym-g128": (0.214, 13.4),
    "int2-asym-g128": (0.501, 6.0),
    "bf16": (0.00166, 55.6),
    "fp16": (0.00021, 73.7),
    "e4m3-tensor": (0.0265, 31.5),
    "e4m3": (0.0330, 29.6),
    "e5m2": (0.0527, 25.6),
    "mxfp4": (0.114, 18.9),
    "nvfp4": (0.095, 20.4),
    "nf4-g64": (0.092, 20.7),
    "int8-tensor": (0.0125, 38.1),
}
TOLERANCE = {"int8-tensor": 0.6}
FLOATS = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
}
DRAW = np.random.default_rng


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return DRAW(seed).normal(0, 0.02, shape).astype(np.float32)


def energy(values: np.ndarray) -> float:
    return float(np.square(values.astype(np.float64)).sum())


@pytest.fixture(scope="module")
def gaussian() -> np.ndarray:
    return normal(1024, 4096)


def test_the_table_has_every_reference_format():
    assert GRIDS.keys() == REFERENCE.keys()


@pytest.mark.parametrize("name", REFERENCE)
def test_gaussian_errors_are_those_of_the_reference(gaussian, name):
    relative, db = REFERENCE[name]
    grid, within = GRIDS[name], TOLERANCE.get(name, 0.1)
    signal = energy(gaussian)
    error = round_to(grid, gaussian).energy
    assert decibels(error, signal) == pytest.approx(db, abs=within)
    assert math.sqrt(error / signal) == pytest.approx(relative, rel=0.04)
    noise = noise_energy(grid, 1024, 4096, math.sqrt(signal / gaussian.size))
    assert decibels(noise, 1.0) == pytest.approx(db, abs=within)


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("shape", [(700, 384), (300, 200), (2000, 100)])
@pytest.mark.parametrize("rms", [0.003, 3.0])
def test_the_noise_reference_is_what_gaussians_of_that_shape_lose(name, shape, rms):
    """Over four draws; per tensor a single largest value decides, so that draws differ more."""
    grid = GRIDS[name]
    draws = [DRAW(seed).normal(0, rms, shape).astype(np.float32) for seed in range(4)]
    measured = [round_to(grid, x).energy / energy(x) for x in draws]
    expected = noise_energy(grid, *shape, rms)
    lost = 10 * math.log10(np.mean(measured) / expected)
    assert abs(lost) < (0.6 if grid.span == "tensor" else 0.1)


def plain(name: str, x: np.ndarray) -> np.ndarray:
    """Rounded values, one group at a time, straight from the conventions."""
    grid = GRIDS[name]
    x = x.astype(np.float64)
    if grid.kind == "float" and grid.span == "none":
        rounded = torch.from_numpy(x.astype(np.float32)).clamp(-grid.top, grid.top)
        return rounded.to(FLOATS[name]).double().numpy()
    if grid.span == "tensor":
        absmax = np.abs(x).max()
        if grid.kind == "symmetric":
            return np.clip(np.rint(x / (absmax / 127)), -128, 127) * (absmax / 127)
        scaled = torch.from_numpy((x / (absmax / 448)).astype(np.float32))
        return scaled.to(torch.float8_e4m3fn).double().numpy() * (absmax / 448)
    out = np.empty_like(x)
    size = grid.group or x.shape[1]
    fp4 = np.array(sorted({*quantised.FP4}))
    tensor = np.abs(x).max() / 6 / 448
    for r in range(len(x)):
        for start in range(0, x.shape[1], size):
            part = x[r, start : start + size]
            top, low, high = np.abs(part).max(), part.min(), part.max()
            if grid.kind == "symmetric":
                most = 2 ** (grid.bits - 1) - 1
                scale = top / most
                q = np.clip(np.rint(part / scale), -most - 1, most) * scale
            elif grid.kind == "affine":
                scale = (high - low) / (2**grid.bits - 1) or 1.0
                q = low + np.clip(np.rint((part - low) / scale), 0, 2**grid.bits - 1) * scale
            else:
                table = np.array(NF4) if grid.kind == "table" else fp4
                scale = top
                if name == "mxfp4":
                    scale = 2.0 ** (math.floor(math.log2(top)) - 2)
                if name == "nvfp4":
                    held = torch.tensor(top / 6 / tensor).to(torch.float8_e4m3fn)
                    scale = float(held) * tensor
                nearest = np.abs(part[:, None] / scale - table).argmin(axis=1)
                q = table[nearest] * scale
            out[r, start : start + size] = q
    return out


@pytest.mark.parametrize("name", REFERENCE)
@settings(max_examples=20)
@given(data=st.data())
def test_every_format_agrees_with_plain_numpy(name, data):
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 300))
    rng = DRAW(data.draw(st.integers(0, 999)))
    spread = data.draw(st.sampled_from([1e-3, 0.02, 1.0, 30.0]))
    x = (rng.standard_t(3, (rows, columns)) * spread).astype(np.float32)
    found = round_to(GRIDS[name], x)
    error = np.abs(x - plain(name, x))
    nothing = 1e-12 * float(np.abs(x).max())
    assert found.energy == pytest.approx(energy(error), rel=1e-6, abs=x.size * nothing**2)
    assert found.worst == pytest.approx(error.max(), rel=1e-6, abs=nothing)
    assert error[found.row, found.column] == pytest.approx(error.max(), rel=1e-6, abs=nothing)


@pytest.mark.parametrize("name", REFERENCE)
def test_constant_and_zero_groups_are_no_trouble(name):
    x = np.zeros((3, 256), np.float32)
    assert round_to(GRIDS[name], x).energy == 0.0
    x[1] = 0.5
    assert round_to(GRIDS[name], x).energy == pytest.approx(0.0, abs=1e-12 if "8" in name else 1)


def test_one_outlier_costs_the_tensor_but_no_other_group():
    x = normal(256, 512)
    struck = x.copy()
    struck[100, 300] = 50 * 0.02
    lost = {
        name: decibels(round_to(GRIDS[name], x).energy, 1.0)
        - decibels(round_to(GRIDS[name], struck).energy, 1.0)
        for name in ("int8-tensor", "int8-row", "int4-g32")
    }
    assert lost["int8-tensor"] > 3 * ONE_BIT - 2  # 50 sigma where 4.9 is the usual largest: 20 dB
    assert lost["int8-row"] < 4
    assert lost["int4-g32"] < 0.5
    for rows in (slice(0, 100), slice(101, 256)):  # every other row is as before
        one, other = (round_to(GRIDS["int4-g128"], a[rows]).energy for a in (x, struck))
        assert one == other


def test_bits_per_weight_count_the_scales():
    assert GRIDS["int4-g128"].bits_per_weight(10, 256) == 4 + 16 / 128
    assert GRIDS["int4-asym-g128"].bits_per_weight(10, 256) == 4 + 32 / 128
    assert GRIDS["mxfp4"].bits_per_weight(10, 256) == 4.25
    assert GRIDS["nvfp4"].bits_per_weight(10, 256) == 4.5 + 32 / 2560
    assert GRIDS["int8-row"].bits_per_weight(10, 256) == 8 + 16 / 256
    assert GRIDS["bf16"].bits_per_weight(10, 256) == 16
    assert GRIDS["int4-g128"].bits_per_weight(10, 130) == 4 + 2 * 16 / 130  # a short last group


# Lattices: values that were quantised before


def dequantised(x: np.ndarray, group: int, bits: int, symmetric: bool) -> np.ndarray:
    parts = x.reshape(-1, group).astype(np.float64)
    if symmetric:
        scale = np.abs(parts).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
        return (np.rint(parts / scale) * scale).reshape(x.shape).astype(np.float32)
    low = parts.min(axis=1, keepdims=True)
    scale = (parts.max(axis=1, keepdims=True) - low) / (2**bits - 1)
    return (np.rint((parts - low) / scale) * scale + low).reshape(x.shape).astype(np.float32)


def as_bf16(x: np.ndarray) -> np.ndarray:
    return (bf16(x).astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("stored_as", [as_bf16, lambda x: x], ids=["bf16", "f32"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("group", [16, 32, 64, 128, 1024])
def test_quantised_values_are_recognised_with_their_group(group, bits, symmetric, stored_as):
    x = stored_as(dequantised(normal(256, 1024), group, bits, symmetric))
    found = find_lattice(x)
    assert found is not None
    assert found.bits == bits
    assert (found.span, found.group) == (("row", None) if group == 1024 else ("group", group))


def test_eight_bits_are_recognised_where_many_values_share_a_scale():
    x = normal(256, 1024)
    by_row = find_lattice(as_bf16(dequantised(x, 1024, 8, True)))
    by_tensor = find_lattice(as_bf16(dequantised(x, x.size, 8, True)))
    assert (by_row.span, by_row.bits) == ("row", 8)
    assert (by_tensor.span, by_tensor.bits) == ("tensor", 8)


@pytest.mark.parametrize(("dtype", "mantissa"), [("e4m3", 3), ("e5m2", 2)])
def test_small_floats_are_recognised_by_their_bits(dtype, mantissa):
    cast = torch.from_numpy(normal(64, 256)).to(FLOATS[dtype]).float().numpy()
    found = find_lattice(cast)
    assert (found.bits, found.mantissa) == (8, mantissa)
    assert find_lattice(as_bf16(plain("mxfp4", normal(8, 256)).astype(np.float32))).bits == 4


@pytest.mark.parametrize("columns", [16, 64, 100, 384, 768, 1000, 4096])
@pytest.mark.parametrize("kind", ["normal", "laplace", "uniform", "pruned", "heavy"])
def test_plain_values_lie_on_no_lattice(columns, kind):
    rng = DRAW(3)
    draw = {"laplace": rng.laplace, "uniform": lambda *a: rng.uniform(-0.05, 0.05, a[2])}
    x = draw.get(kind, rng.normal)(0, 0.02, (400, columns))
    if kind == "heavy":
        x *= rng.standard_t(2, x.shape)
    if kind == "pruned":
        x[np.abs(x) < np.quantile(np.abs(x), 0.9)] = 0
    assert find_lattice(x.astype(np.float32)) is None
    assert find_lattice(as_bf16(x.astype(np.float32))) is None
    half = x.astype(np.float16).astype(np.float32)
    assert find_lattice(half) is None


# The whole of a checkpoint


def opened(folder: Path, tensors: dict, config: dict | None = None) -> Checkpoint:
    write_file(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | (config or {})))
    return open_checkpoint(folder)


NAME = "model.layers.0.mlp.down_proj.weight"
OTHER = "model.layers.1.mlp.down_proj.weight"


def test_records_of_a_real_model(minilm):
    found = quantize(open_checkpoint(minilm))
    assert len(found) == 40 * len(GRIDS)
    assert found.coverage.tensors_measured == 40
    by = {(r.name, r.format): r for r in found}
    pooler = [r for r in found if r.name.startswith("pooler")]  # never trained: Gaussian
    assert [r.format for r in pooler if r.db_lost is None] == ["fp16"]  # and drawn in fp16,
    for record in pooler:  # whose steps BF16's rounding feels
        within = {"int8-tensor": 1.5, "bf16": 0.2}.get(record.format, 0.1)
        assert record.db_lost is None or abs(record.db_lost) < within
    down = by["encoder.layer.0.output.dense.weight", "int8-tensor"]
    assert down.db_lost > 25
    assert by["encoder.layer.0.output.dense.weight", "int8-row"].db_lost < 12
    outliers = [f for f in found.findings if f.id == "QT-OUTLIERS"]
    assert "encoder.layer.0.output.dense.weight" in {f.where for f in outliers}
    formats = {f.format: f for f in found.summary["formats"]}
    total = sum(r.rows * r.columns * r.db_lost for r in found if r.format == "nvfp4")
    size = sum(r.rows * r.columns for r in found if r.format == "nvfp4")
    assert formats["nvfp4"].db_lost_weighted == pytest.approx(total / size)
    assert formats["int8-tensor"].worst[0] == "encoder.layer.0.output.dense.weight"
    assert {p.layer for p in found.summary["layers"]} == set(range(6))
    assert found.summary["lattices"] == []
    json.loads(found.to_json())


def test_only_the_formats_asked_for_and_unknown_ones_are_refused(tmp_path):
    checkpoint = opened(tmp_path, {NAME: stored("F32", normal(8, 100))})
    found = quantize(checkpoint, formats=["nvfp4", "int4-g64", "nvfp4"])
    assert [(r.format, r.group, r.last_group) for r in found] == [
        ("nvfp4", 16, 4),
        ("int4-g64", 64, 36),
    ]
    with pytest.raises(BadOption, match="int5"):
        quantize(checkpoint, formats=["int5"])


def test_what_cannot_be_measured_is_named_and_costs_no_other(tmp_path):
    broken = normal(8, 64)
    broken[3, 3] = np.nan
    tensors = {
        NAME: stored("F32", broken),
        OTHER: stored("F32", normal(8, 64)),
        OTHER.replace("down", "up"): stored("F32", np.zeros((8, 64), np.float32)),
    }
    found = quantize(opened(tmp_path, tensors))
    assert {r.name for r in found} == {OTHER}
    reasons = {s.name: s.reason for s in found.coverage.skipped}
    assert "[3, 3]" in reasons[NAME]
    assert [(f.id, f.severity, f.where) for f in found.findings] == [("WT-NAN", "error", NAME)]
    assert "zero" in reasons[OTHER.replace("down", "up")]


def test_values_already_on_the_grid_lose_nothing_and_it_is_told(tmp_path):
    x = as_bf16(normal(16, 128))
    found = quantize(opened(tmp_path, {NAME: stored("BF16", bf16(x))}), formats=["bf16"])
    assert (found[0].relative_error, found[0].sqnr_db, found[0].db_lost) == (0.0, None, None)
    assert "QT-EXACT" in {f.id for f in found.findings}
    assert found.summary["formats"][0].sqnr_db is None


def test_an_int4_model_stored_as_bf16_is_recognised(tmp_path):
    x = dequantised(normal(64, 512), 128, 4, True)
    tensors = {NAME: stored("BF16", bf16(x)), OTHER: stored("BF16", bf16(normal(64, 512)))}
    found = quantize(opened(tmp_path, tensors), formats=["int8-row"])
    (lattice,) = found.summary["lattices"]
    assert (lattice["name"], lattice["bits"], lattice["group"]) == (NAME, 4, 128)
    (told,) = [f for f in found.findings if f.id == "QT-LATTICE"]
    assert told.where == NAME
    assert "group of 128 inputs" in told.statement


def test_numbers_beyond_fp16_are_told(tmp_path):
    x = normal(8, 64)
    x[2, 5] = 70_000
    found = quantize(opened(tmp_path, {NAME: stored("F32", x)}), formats=["fp16", "bf16"])
    assert [r.clipped for r in found] == [1, 0]
    assert (found[0].max_error_row, found[0].max_error_column) == (2, 5)
    assert found[0].max_error == pytest.approx(70_000 - 65_504)
    assert "QT-RANGE" in {f.id for f in found.findings}


def test_groups_lie_along_the_inputs_whatever_the_file_holds(tmp_path):
    """GPT-2's Conv1D holds [in, out]: the same matrix turned gives the same numbers."""
    x = normal(64, 192)
    x[:, 7] *= 20  # one input channel of outliers
    name = "h.0.attn.c_attn.weight"
    config = {"model_type": "gpt2", "n_head": 4, "n_embd": 64, "n_layer": 1}
    turned = opened(tmp_path, {name: stored("F32", x)}, config)
    found = {(r.role, r.format): r for r in quantize(turned, formats=["int4-g32", "int8-row"])}
    for i, role in enumerate("qkv"):
        part = np.ascontiguousarray(x[:, 64 * i : 64 * (i + 1)].T)
        for name, grid in (("int4-g32", GRIDS["int4-g32"]), ("int8-row", GRIDS["int8-row"])):
            wanted = math.sqrt(round_to(grid, part).energy / energy(part))
            assert found[role, name].relative_error == pytest.approx(wanted, rel=1e-9)


def test_quantised_checkpoints_are_judged_by_the_values_they_stand_for(tmp_path):
    source = normal(200, 256)
    codes, scales, values = quantised.fp8_blocks(source, 128, 128)
    names = {NAME: codes, f"{NAME}_scale_inv": stored("F32", scales)}
    names[OTHER] = quantised.fp8(source)[0]
    found = quantize(opened(tmp_path, names), formats=["int4-g128"])
    (record,) = found
    wanted = math.sqrt(round_to(GRIDS["int4-g128"], values).energy / energy(values))
    assert record.relative_error == pytest.approx(wanted, rel=1e-9)
    ids = {f.id: f.severity for f in found.findings}
    assert ids["QT-PACKED"] == "info"
    assert ids["QT-SCALE"] == "error"
    assert OTHER in {s.name for s in found.coverage.skipped}
    assert found.summary["stored_as"] == ["fp8 (F8_E4M3) with F32 scales per 128 x 128"]


def test_a_scale_that_is_nan_is_an_error_and_no_silence(tmp_path):
    values, scales = normal(64, 64), np.full((1, 1), np.nan, dtype=np.float32)
    codes = values.astype(ml_dtypes.float8_e4m3fn)
    tensors = {NAME: stored("F8_E4M3", codes), f"{NAME}_scale_inv": stored("F32", scales)}
    found = quantize(opened(tmp_path, tensors))
    assert not found.records
    assert "WT-NAN" in {f.id for f in found.findings if f.severity == "error"}


def test_numbers_beyond_float32_are_told(tmp_path):
    found = quantize(
        opened(tmp_path, {NAME: stored("F64", normal(8, 64).astype(np.float64) * 1e40)})
    )
    assert not found.records
    assert "WT-RANGE" in {f.id for f in found.findings}
