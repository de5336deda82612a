"""Quantised checkpoints come back as the values they stand for, or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from weights import quantised
from weights.build import Stored, stored, write_file

from inspector.errors import CheckpointError
from inspector.results import worst
from inspector.weights import unpack
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.matrices import blocks, load, matrices
from inspector.weights.packed import find_packed, packed_findings, read_packed

NF4 = np.array(
    [-1, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0]
    + [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1],
    dtype=np.float32,
)
LAYER = "model.layers.0.mlp.down_proj."
RNG = np.random.default_rng


def written(folder: Path, tensors: dict[str, Stored], config: dict | None = None) -> Checkpoint:
    write_file(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | (config or {})))
    return open_checkpoint(folder)


def layer(tensors: dict[str, Stored]) -> dict[str, Stored]:
    return {LAYER + name: tensor for name, tensor in tensors.items()}


def only(checkpoint: Checkpoint) -> np.ndarray:
    """The one matrix of a checkpoint, whole and in blocks."""
    (matrix,), _ = matrices(checkpoint)
    with checkpoint.reader() as reader:
        values = load(matrix, reader)
        tall = values if matrix.rows >= matrix.columns else values.T
        np.testing.assert_array_equal(np.concatenate(list(blocks(matrix, reader))), tall)
    assert values.shape == (matrix.rows, matrix.columns)
    assert values.dtype == np.float32
    return values


def test_fp8_blocks_of_which_the_last_are_cut_short(tmp_path):
    source = RNG(0).normal(0, 0.02, (576, 300)).astype(np.float32)
    codes, scales, values = quantised.fp8_blocks(source, 128, 128)
    tensors = layer({"weight": codes, "weight_scale_inv": stored("F32", scales)})
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    checkpoint = written(tmp_path, tensors, config)
    read = only(checkpoint)
    np.testing.assert_array_equal(read, values)
    assert read.std() == pytest.approx(source.std(), rel=0.03)
    (told,) = packed_findings(find_packed(checkpoint))
    assert (told.id, told.severity) == ("QT-PACKED", "info")
    assert "per 128 x 128" in told.statement


@pytest.mark.parametrize("stated", [[128, 128], [64, 32], None])
def test_fp8_blocks_follow_the_config_and_else_the_usual_size(tmp_path, stated):
    high, wide = stated or (128, 128)
    source = RNG(1).normal(0, 0.02, (200, 300)).astype(np.float32)
    codes, scales, values = quantised.fp8_blocks(source, high, wide)
    config = {"quantization_config": {"weight_block_size": stated}} if stated else {}
    tensors = layer({"weight": codes, "weight_scale_inv": stored("F32", scales)})
    np.testing.assert_array_equal(only(written(tmp_path, tensors, config)), values)


def test_a_scale_that_is_missing_is_an_error_and_no_number(tmp_path):
    source = RNG(0).normal(0, 0.02, (64, 32)).astype(np.float32)
    codes, *_ = quantised.fp8_blocks(source, 128, 128)
    checkpoint = written(tmp_path, layer({"weight": codes}))
    found, skipped = matrices(checkpoint)
    assert found == []
    assert "without" in skipped[0].reason
    findings = packed_findings(find_packed(checkpoint))
    assert [f.id for f in findings] == ["QT-SCALE"]
    assert worst(findings) == "error"
    packed = find_packed(checkpoint)[LAYER + "weight"]
    with checkpoint.reader() as reader, pytest.raises(CheckpointError, match="weight_scale"):
        read_packed(packed, reader)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (12,), (12, 1), (1, 8), (12, 2), (3, 4)])
@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "I8"])
@pytest.mark.parametrize("name", ["weight_scale", "weight_scale_inv", "scale_weight"])
def test_scales_of_every_shape_are_multiplied(tmp_path, shape, dtype, name):
    rng = RNG(2)
    if dtype == "I8":
        worth = rng.integers(-128, 128, (12, 8)).astype(np.float32)
        codes = stored("I8", worth.astype(np.int8))
    else:
        codes, worth = quantised.fp8(rng.normal(0, 50, (12, 8)), dtype)
    scale = rng.uniform(1e-4, 1e-3, shape).astype(np.float32)
    grid = scale.reshape(12, 1) if shape == (12,) else np.atleast_2d(scale)
    grid = np.kron(grid, np.ones((12 // grid.shape[0], 8 // grid.shape[1]), np.float32))
    checkpoint = written(tmp_path, layer({"weight": codes, name: stored("F32", scale)}))
    np.testing.assert_array_equal(only(checkpoint), worth * grid)


@pytest.mark.parametrize("dtype", ["U8", "F8_E8M0"])
def test_byte_scales_are_powers_of_two(tmp_path, dtype):
    rng = RNG(3)
    codes, worth = quantised.fp8(rng.normal(0, 50, (6, 96)))
    exponents = rng.integers(100, 130, (6, 3)).astype(np.uint8)
    tensors = layer({"weight": codes, "weight_scale_inv": (dtype, (6, 3), exponents.tobytes())})
    wanted = worth * np.repeat(2.0 ** (exponents.astype(float) - 127), 32, axis=1)
    np.testing.assert_array_equal(only(written(tmp_path, tensors)), wanted)


def test_int8_of_bitsandbytes_and_with_zero_points(tmp_path):
    rng = RNG(4)
    codes = rng.integers(-127, 128, (6, 8)).astype(np.int8)
    rows = rng.uniform(0.1, 1, 6).astype(np.float32)
    tensors = layer({"weight": stored("I8", codes), "SCB": stored("F32", rows)})
    wanted = codes * rows[:, None] / 127
    np.testing.assert_allclose(only(written(tmp_path, tensors)), wanted, rtol=1e-6)
    zeros = rng.integers(-20, 20, (6, 1)).astype(np.int8)
    tensors = layer(
        {
            "weight": stored("I8", codes),
            "weight_scale": stored("F32", rows[:, None]),
            "weight_zero_point": stored("I8", zeros),
        }
    )
    wanted = (codes.astype(np.float32) - zeros) * rows[:, None]
    np.testing.assert_array_equal(only(written(tmp_path, tensors)), wanted)


@pytest.mark.parametrize("dtype", ["F4", "F8_E4M3", "I8"])
@pytest.mark.parametrize("scale", ["I32", "I64"])
def test_scales_that_are_no_scales_are_told_and_not_used(tmp_path, dtype, scale):
    columns = 64 if dtype == "F4" else 32
    held = np.zeros((6, 32), np.uint8).tobytes()
    wide = stored(scale, np.ones((6, columns // 16), scale.replace("I", "int").lower()))
    tensors = layer({"weight": (dtype, (6, columns), held), "weight_scale": wide})
    checkpoint = written(tmp_path, tensors)
    assert matrices(checkpoint)[0] == []
    (told,) = packed_findings(find_packed(checkpoint))
    assert (told.id, told.severity) == ("QT-UNREAD", "warning")


GPT_OSS = {
    "model_type": "gpt_oss",
    "num_local_experts": 3,
    "num_hidden_layers": 1,
    "quantization_config": {"quant_method": "mxfp4"},
}


def test_mxfp4_blocks_equal_transformers_expert_by_expert(tmp_path):
    rng = RNG(5)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    held = rng.integers(0, 256, (3, 20, 2, 16)).astype(np.uint8)
    scales = rng.integers(100, 130, (3, 20, 2)).astype(np.uint8)
    tensors = {f"{name}_blocks": stored("U8", held), f"{name}_scales": stored("U8", scales)}
    checkpoint = written(tmp_path, tensors, GPT_OSS)
    wanted = convert_moe_packed_tensors(
        torch.from_numpy(held), torch.from_numpy(scales), dtype=torch.float32
    ).numpy()  # [experts, in, out], gate in even columns, up in odd ones
    found, skipped = matrices(checkpoint)
    assert [s.name for s in skipped] == [f"{name}_scales"]
    assert [(m.expert, m.role) for m in found] == [
        (e, role) for e in range(3) for role in ("expert_gate", "expert_up")
    ]
    with checkpoint.reader() as reader:
        for matrix in found:
            start = 0 if matrix.role == "expert_gate" else 1
            expert = wanted[matrix.expert][:, start::2].T
            assert (matrix.rows, matrix.columns) == expert.shape == (10, 64)
            np.testing.assert_array_equal(load(matrix, reader), expert)
        packed = find_packed(checkpoint)[f"{name}_blocks"]
        np.testing.assert_array_equal(read_packed(packed, reader), wanted.transpose(0, 2, 1))


def fp4_layer(rng: np.random.Generator, group: int) -> tuple[np.ndarray, np.ndarray]:
    codes = rng.integers(0, 16, (6, 64)).astype(np.uint8)
    return quantised.fp4_bytes(codes), np.array(quantised.FP4, np.float32)[codes]


@pytest.mark.parametrize("divided", [False, True], ids=["weight_scale_2", "weight_global_scale"])
def test_nvfp4_takes_both_scales(tmp_path, divided):
    rng = RNG(6)
    held, worth = fp4_layer(rng, 16)
    group, scale = quantised.fp8(rng.uniform(10, 400, (6, 4)))
    second = np.array([1500.0 if divided else 1 / 1500], np.float32)
    name = "weight_packed" if divided else "weight"
    other = "weight_global_scale" if divided else "weight_scale_2"
    tensors = {name: stored("U8", held), "weight_scale": group, other: stored("F32", second)}
    wanted = worth * np.repeat(scale, 16, axis=1) / 1500
    np.testing.assert_allclose(only(written(tmp_path, layer(tensors))), wanted, rtol=1e-6)
    del tensors[other]
    findings = packed_findings(find_packed(written(tmp_path, layer(tensors))))
    assert [f.id for f in findings] == ["QT-SCALE"]


@pytest.mark.parametrize("dtype", ["U8", "I8", "F4"])
def test_mxfp4_beside_its_scales(tmp_path, dtype):
    rng = RNG(7)
    held, worth = fp4_layer(rng, 32)
    exponents = rng.integers(100, 130, (6, 2)).astype(np.uint8)
    shape = (6, 64) if dtype == "F4" else (6, 32)
    tensors = layer(
        {"weight": (dtype, shape, held.tobytes()), "weight_scale": stored("U8", exponents)}
    )
    wanted = worth * np.repeat(2.0 ** (exponents.astype(float) - 127), 32, axis=1)
    np.testing.assert_array_equal(only(written(tmp_path, tensors)), wanted)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", ["gptq", "gptq_v2"])
def test_gptq_in_the_order_of_activations(tmp_path, bits, version):
    rng = RNG(8)
    group_of = rng.permutation(np.repeat(np.arange(4), 16))
    tensors, values = quantised.gptq(32, 64, bits, group_of, rng, plus=int(version == "gptq"))
    config = {"quantization_config": {"quant_method": "gptq", "checkpoint_format": version}}
    checkpoint = written(tmp_path, layer(tensors), config)
    np.testing.assert_array_equal(only(checkpoint), values)
    (told,) = packed_findings(find_packed(checkpoint))
    assert f"int{bits}" in told.statement
    assert ("less one" in told.statement) == (version == "gptq")


def test_gptq_without_an_index_groups_neighbours(tmp_path):
    tensors, values = quantised.gptq(32, 64, 4, np.repeat(np.arange(4), 16), RNG(8))
    del tensors["g_idx"]
    np.testing.assert_array_equal(only(written(tmp_path, layer(tensors))), values)


@pytest.mark.parametrize("helper", ["scales", "qzeros"])
def test_gptq_without_scales_or_zeros_is_not_read(tmp_path, helper):
    tensors, _ = quantised.gptq(32, 64, 4, np.repeat(np.arange(4), 16), RNG(8))
    del tensors[helper]
    found = find_packed(written(tmp_path, layer(tensors)))
    assert [f.id for f in packed_findings(found)] == ["QT-SCALE"]


def test_an_index_of_groups_that_do_not_exist_is_refused(tmp_path):
    tensors, _ = quantised.gptq(32, 64, 4, np.repeat(np.arange(4), 16), RNG(8))
    tensors["g_idx"] = stored("I32", np.full(64, 4, np.int32))
    checkpoint = written(tmp_path, layer(tensors))
    (matrix,), _ = matrices(checkpoint)
    with checkpoint.reader() as reader, pytest.raises(CheckpointError, match="g_idx"):
        load(matrix, reader)


def test_awq_puts_columns_back_in_order(tmp_path):
    tensors, values = quantised.awq(16, 64, 32, RNG(9))
    checkpoint = written(tmp_path, layer(tensors))
    np.testing.assert_array_equal(only(checkpoint), values)
    assert "AWQ" in packed_findings(find_packed(checkpoint))[0].statement


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero_points", [False, True])
def test_words_of_compressed_tensors(tmp_path, bits, zero_points):
    tensors, values = quantised.int_words(6, 70, bits, 16, zero_points, RNG(10))
    config = {"quantization_config": {"group_size": 16}}
    np.testing.assert_array_equal(only(written(tmp_path, layer(tensors), config)), values)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("columns", [64, 33])
def test_four_bits_of_bitsandbytes(tmp_path, nested, columns):
    tensors, values = quantised.bitsandbytes(5, columns, NF4, nested, RNG(11))
    read = only(written(tmp_path, layer(tensors)))
    np.testing.assert_allclose(read, values, rtol=1e-6)


def test_stacked_fp8_experts_come_one_by_one(tmp_path):
    rng = RNG(12)
    config = {"model_type": "qwen3_moe", "num_experts": 3}
    codes, worth = quantised.fp8(rng.normal(0, 50, (3, 8, 12)))
    scales = rng.uniform(1e-4, 1e-3, (3, 2, 3)).astype(np.float32)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    tensors = {name: codes, f"{name}_scale_inv": stored("F32", scales)}
    checkpoint = written(tmp_path, tensors, config)
    wanted = worth * np.repeat(np.repeat(scales, 4, axis=1), 4, axis=2)
    found, _ = matrices(checkpoint)
    with checkpoint.reader() as reader:
        for matrix in found:
            half = np.s_[:4] if matrix.role == "expert_gate" else np.s_[4:]
            np.testing.assert_array_equal(load(matrix, reader), wanted[matrix.expert][half])


def test_heads_and_fused_parts_are_those_of_the_model_it_stands_for(tmp_path, make):
    """A fused GPTQ tensor falls into the same matrices as its plain form."""
    phi3 = make("phi3")
    name = "model.layers.0.self_attn.qkv_proj"
    rows, columns = phi3.values[f"{name}.weight"].shape
    tensors, values = quantised.gptq(rows, columns, 4, np.repeat(np.arange(2), 16), RNG(13))
    packed = written(tmp_path, {f"{name}.{k}": t for k, t in tensors.items()}, phi3.config)
    plain_folder = tmp_path / "plain"
    plain_folder.mkdir()
    plain = written(plain_folder, {f"{name}.weight": stored("F32", values)}, phi3.config)
    one, other = matrices(packed)[0], matrices(plain)[0]
    assert [(m.role, m.heads, m.rows, m.layer) for m in one] == [
        (m.role, m.heads, m.rows, m.layer) for m in other
    ]
    assert [m.role for m in one] == ["q", "k", "v"]
    with packed.reader() as first, plain.reader() as second:
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(load(a, first), load(b, second))


def test_plain_checkpoints_hold_no_codes(minilm):
    assert find_packed(open_checkpoint(minilm)) == {}


@given(st.data())
def test_words_hold_codes_of_any_width(data):
    bits = data.draw(st.integers(1, 8))
    rows, n = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 100))
    codes = RNG(data.draw(st.integers(0, 99))).integers(0, 1 << bits, (rows, n))
    packed = quantised.pack_words(codes, bits)
    np.testing.assert_array_equal(unpack.words(packed, bits, n), codes)


SCHEMES = {
    "fp8": lambda: {
        "weight": quantised.fp8(RNG(0).normal(0, 9, (6, 64)))[0],
        "weight_scale_inv": stored("F32", np.ones((6, 2), np.float32)),
    },
    "nvfp4": lambda: {
        "weight": stored("U8", fp4_layer(RNG(0), 16)[0]),
        "weight_scale": quantised.fp8(np.ones((6, 4)))[0],
        "weight_scale_2": stored("F32", np.ones(1, np.float32)),
    },
    "gptq": lambda: quantised.gptq(32, 64, 4, np.repeat(np.arange(4), 16), RNG(0))[0],
    "awq": lambda: quantised.awq(16, 64, 32, RNG(0))[0],
    "words": lambda: quantised.int_words(6, 70, 4, 16, True, RNG(0))[0],
    "table": lambda: quantised.bitsandbytes(5, 64, NF4, True, RNG(0))[0],
    "blocks": lambda: {
        "weight_blocks": stored("U8", np.zeros((6, 2, 16), np.uint8)),
        "weight_scales": stored("U8", np.zeros((6, 2), np.uint8)),
    },
}
SIZES = {"U8": 1, "I8": 1, "F8_E4M3": 1, "F16": 2, "F32": 4, "I32": 4, "I64": 8}


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
def test_shapes_that_lie_never_crash(tmp_path_factory, scheme, data):
    """One tensor of a scheme has another shape, dtype or content: a problem, or values."""
    tensors = SCHEMES[scheme]()
    name = data.draw(st.sampled_from(sorted(tensors)))
    dtype = data.draw(st.sampled_from(sorted(SIZES)))
    sizes = st.integers(0, 70) | st.sampled_from([1, 2, 4, 6, 8, 16, 32, 64])
    shape = data.draw(st.lists(sizes, max_size=3).map(tuple) | st.just(tensors[name][1]))
    count = int(np.prod(shape)) * SIZES[dtype]
    tensors[name] = (dtype, shape, RNG(data.draw(st.integers(0, 9))).bytes(count))
    checkpoint = written(tmp_path_factory.mktemp("lies"), layer(tensors))
    found, _ = matrices(checkpoint)
    packed_findings(find_packed(checkpoint))
    with checkpoint.reader() as reader, np.errstate(all="ignore"):
        for matrix in found:
            try:
                assert load(matrix, reader).shape == (matrix.rows, matrix.columns)
            except CheckpointError:
                continue
