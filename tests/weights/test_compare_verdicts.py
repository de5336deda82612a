"""What a comparison says of the whole: no claim goes further than what was seen."""

import json

import ml_dtypes
import numpy as np
import pytest

from inspector.weights import unpack
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.compare import compare
from tests.weights.build import stored, write_file

LLAMA = {"model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2}
EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"
MATRICES = [f"model.layers.{i}.self_attn.{x}_proj.weight" for i in (0, 1) for x in "qkvo"]
BIASES = [name.replace("weight", "bias") for name in MATRICES]
STORED = {
    np.float32: "F32",
    np.float16: "F16",
    ml_dtypes.bfloat16: "BF16",
    ml_dtypes.float8_e4m3fn: "F8_E4M3",
}


@pytest.fixture
def base():
    rng = np.random.default_rng(0)
    shapes = {EMBEDDING: (120, 96), NORM: (96,)}
    shapes |= dict.fromkeys(MATRICES, (96, 96)) | dict.fromkeys(BIASES, (96,))
    return {name: rng.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def verdict(tmp_path):
    """The comparison of two models, each {name: values}."""

    def save(folder, arrays):
        folder.mkdir()
        tensors = {n: stored(STORED[a.dtype.type], a) for n, a in arrays.items()}
        write_file(folder / "model.safetensors", tensors)
        (folder / "config.json").write_text(json.dumps(LLAMA))
        return open_checkpoint(folder)

    def make(base, tuned):
        return compare(save(tmp_path / "base", base), save(tmp_path / "tuned", tuned))

    return make


def rounded(arrays):
    return {name: values.astype(ml_dtypes.bfloat16) for name, values in arrays.items()}


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_value_that_breaks_is_a_change(verdict, base, broken, swapped):
    tuned = base | {MATRICES[0]: base[MATRICES[0]].copy()}
    tuned[MATRICES[0]][3, 4] = broken
    result = verdict(tuned, base) if swapped else verdict(base, tuned)
    record = next(r for r in result if r.name == MATRICES[0])
    assert record.changed_fraction == pytest.approx(1 / 96**2)
    assert (record.not_finite, record.pattern) == (1, None)
    assert "All other values are the same" in record.note
    assert result.summary["class"] == "targeted"
    assert "not finite (see the findings): 1." in result.summary["verdict"]


def test_all_values_broken_is_no_silence(verdict, base):
    tuned = base | {NORM: np.full(96, np.nan, dtype=np.float32)}
    record = next(r for r in verdict(base, tuned) if r.name == NORM)
    assert (record.changed_fraction, record.not_finite) == (1.0, 96)


def test_overflow_in_a_narrower_dtype_is_not_rounding(verdict, base):
    wide = base | {NORM: np.full(96, 70000, dtype=np.float32)}
    with np.errstate(over="ignore"):
        tuned = {name: values.astype(np.float16) for name, values in wide.items()}
    result = verdict(wide, tuned)
    record = next(r for r in result if r.name == NORM)
    assert not record.rounding_only
    assert result.summary["class"] != "rounding_only"


def test_broken_values_that_stay_broken_are_no_change(verdict, base):
    base[NORM][0] = np.nan
    result = verdict(rounded(base), {n: v.astype(np.float32) for n, v in rounded(base).items()})
    assert result.summary["class"] == "identical"


def test_rounding_is_claimed_only_of_what_equals_the_other_rounded(verdict, base):
    result = verdict(base, rounded(base))
    assert result.summary["class"] == "rounding_only"
    assert "by rounding alone" in result.summary["verdict"]
    assert all("rounded to the nearest BF16" in record.note for record in result)


def test_one_step_of_the_same_dtype_may_be_training(verdict, base):
    patterns = rounded(base)
    tuned = patterns | {NORM: (patterns[NORM].view(np.uint16) + 1).view(ml_dtypes.bfloat16)}
    result = verdict(patterns, tuned)
    record = next(r for r in result if r.name == NORM)
    assert record.rounding_only  # what the field says: no value is more than one step away
    for text in (record.note, result.summary["verdict"]):
        assert "rounding alone" not in text.lower()
        assert "a change too small to tell" in text


def test_more_rows_and_nothing_else_is_no_training(verdict, base):
    tuned = base | {EMBEDDING: np.concatenate([base[EMBEDDING], base[EMBEDDING][:8]])}
    result = verdict(base, tuned)
    assert result.summary["class"] == "extended"
    record = next(r for r in result if r.name == EMBEDDING)
    assert (record.status, record.pattern) == ("reshaped", None)


def test_values_moved_or_multiplied_were_not_trained(verdict, base):
    order = np.random.default_rng(1).permutation(96)
    tuned = base | {
        MATRICES[0]: base[MATRICES[0]][order],
        MATRICES[1]: base[MATRICES[1]][:, order],
        MATRICES[2]: np.ascontiguousarray(base[MATRICES[2]].T),
        NORM: base[NORM] * 3,
    }
    result = verdict(base, tuned)
    assert result.summary["class"] == "rearranged"
    assert "nothing was trained" in result.summary["verdict"]


def test_nothing_in_common_is_said(verdict, base):
    one, other = {NORM: base[NORM]}, {EMBEDDING: base[EMBEDDING]}
    assert "no tensor in common" in verdict(one, other).summary["verdict"]


def test_where_nothing_is_chosen_nothing_is_claimed(tmp_path):
    demo = open_checkpoint("demo:planted")
    said = compare(demo, demo, where="no such name").summary["verdict"]
    assert said.startswith("There is nothing to compare")


def test_what_could_not_be_compared_is_no_part_of_the_verdict(tmp_path, base):
    folders = []
    for which in ("base", "tuned"):
        folder = tmp_path / which
        folder.mkdir()
        write_file(folder / "model.safetensors", {n: stored("F32", a) for n, a in base.items()})
        folders.append(folder)
    whole = (folders[1] / "model.safetensors").read_bytes()
    (folders[1] / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    result = compare(*map(open_checkpoint, folders))
    skipped = len(result.coverage.skipped)
    assert 0 < skipped < len(base)
    said = result.summary["verdict"]
    assert said.startswith("What could be compared holds the same values.")
    assert f"could not be compared: {skipped}." in said


@pytest.mark.parametrize("rank", [1, 8])
def test_a_merge_between_two_rounded_models_keeps_its_rank(verdict, base, rank):
    rng = np.random.default_rng(rank)
    tuned = dict(base)
    for name in MATRICES:
        update = rng.normal(size=(96, rank)) @ rng.normal(size=(rank, 96))
        tuned[name] = (base[name] + update * 1e-3 / update.std()).astype(np.float32)
    result = verdict(rounded(base), rounded(tuned))
    assert result.summary["class"] == "lora_like"
    assert {r.delta_rank_estimate for r in result if r.name in MATRICES} == {rank}


def test_training_that_rounding_nearly_hides_is_no_merge(verdict, base):
    rng = np.random.default_rng(2)
    tuned = {name: values + rng.normal(0, 2e-5, values.shape) for name, values in base.items()}
    for name in MATRICES:  # one direction leads, as gradients have one
        tuned[name] += 7e-5 * np.outer(*rng.normal(size=(2, 96))) / np.sqrt(2)
    tuned = {name: values.astype(np.float32) for name, values in tuned.items()}
    result = verdict(base, rounded(tuned))
    assert result.summary["class"] == "continued_pretraining"
    notes = [r.note for r in result if r.name in MATRICES and r.delta_rank_estimate]
    assert notes
    assert all("or training of which the rest is lost in rounding" in note for note in notes)


def test_a_few_trained_rows_are_no_merge(verdict, base):
    tuned = base | {EMBEDDING: base[EMBEDDING].copy()}
    tuned[EMBEDDING][:5] += np.random.default_rng(3).normal(0, 1e-3, (5, 96)).astype(np.float32)
    result = verdict(base, tuned)
    record = next(r for r in result if r.name == EMBEDDING)
    assert (record.rows_changed, record.pattern) == (5, None)
    assert result.summary["class"] == "targeted"


def scaled_fp8(values, block=96):
    """Codes and scales of square blocks."""
    blocks = values.reshape(len(values) // block, block, -1, block)
    scales = (np.abs(blocks).max(axis=(1, 3)) / 448).astype(np.float32)
    codes = (blocks / scales[:, None, :, None]).reshape(values.shape)
    return codes.astype(ml_dtypes.float8_e4m3fn), scales


def quantised(base, change=lambda scales: scales, block=96, codes_of=MATRICES):
    tuned = dict(base)
    for name in codes_of:
        tuned[name], scales = scaled_fp8(base[name], block)
        if (changed := change(scales)) is not None:
            tuned[f"{name}_scale_inv"] = changed
    return tuned


def test_a_quantised_copy_is_told_as_one(verdict, base):
    result = verdict(base, quantised(base))
    assert result.summary["class"] == "requantised"
    assert "small training would look the same" in result.summary["verdict"]


def test_same_codes_and_same_scales_are_identical(verdict, base):
    result = verdict(quantised(base), quantised(base))
    assert result.summary["class"] == "identical"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda scales: scales * 2, "is 1 times as large"),
        (lambda scales: scales * 0, "is 1 times as large"),
        (lambda scales: scales * 100, "99 times as large"),
        (lambda scales: scales * np.float32(np.nan), "not finite"),
    ],
)
def test_same_codes_with_other_scales_are_no_identical_tensors(verdict, base, change, said):
    result = verdict(quantised(base), quantised(base, change))
    found = [r for r in result if r.name in MATRICES]
    assert {r.status for r in found} == {"changed"}
    assert all(said in r.note for r in found)
    assert result.summary["class"] not in ("identical", "requantised", "rounding_only")


def test_same_codes_of_which_one_lost_its_scales_are_not_compared(verdict, base):
    result = verdict(quantised(base), quantised(base, lambda _: None))
    assert not {r.name for r in result} & set(MATRICES)
    assert {s.name for s in result.coverage.skipped} == set(MATRICES)


def test_scales_in_another_file_count_too(tmp_path, base):
    """Of one shard with the codes, that both have, and one with the scales, that differs."""
    names = MATRICES[:2]
    folders = []
    for which in (1, 2):
        folder = tmp_path / str(which)
        folder.mkdir()
        tensors = quantised({n: base[n] for n in names}, lambda s, by=which: s * by, 96, names)
        scales = {n: stored("F32", a) for n, a in tensors.items() if n.endswith("_inv")}
        codes = {n: stored("F8_E4M3", a) for n, a in tensors.items() if n in names}
        write_file(folder / "b.safetensors", scales)
        if which == 1:
            write_file(folder / "a.safetensors", codes)
        else:
            (folder / "a.safetensors").hardlink_to(tmp_path / "1" / "a.safetensors")
        shards = dict.fromkeys(codes, "a.safetensors") | dict.fromkeys(scales, "b.safetensors")
        index = {"metadata": {}, "weight_map": shards}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        folders.append(folder)
    result = compare(*map(open_checkpoint, folders))
    assert {r.status for r in result if r.name in names} == {"changed"}


def test_blocks_of_gpt_oss_are_compared_with_what_they_stand_for(tmp_path):
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    blocks = rng.integers(0, 256, (2, 96, 2, 16), dtype=np.uint8)
    scales = rng.integers(118, 122, (2, 96, 2), dtype=np.uint8)
    config = {"model_type": "gpt_oss", "num_hidden_layers": 1, "num_local_experts": 2}
    packed = {f"{name}_blocks": stored("U8", blocks), f"{name}_scales": stored("U8", scales)}
    decoded = unpack.E2M1[unpack.nibbles(blocks)] * np.exp2(scales - 127.0)[..., None]
    plain = decoded.reshape(2, 96, 64).swapaxes(1, 2).astype(np.float32)  # [experts, in, out]
    opened = []
    for which, tensors in (("packed", packed), ("plain", {name: stored("F32", plain)})):
        folder = tmp_path / which
        folder.mkdir()
        write_file(folder / "model.safetensors", tensors)
        (folder / "config.json").write_text(json.dumps(config))
        opened.append(open_checkpoint(folder))
    for pair in (opened, opened[::-1]):
        result = compare(*pair)
        record = next(r for r in result if r.name.startswith(name) and "scales" not in r.name)
        assert (record.status, record.changed_fraction) == ("retyped", 0)
        assert record.base_shape == record.tuned_shape == (2, 64, 96)
        assert result.summary["class"] == "identical"


def test_zeroed_scales_are_no_copy(verdict, base):
    result = verdict(quantised(base), quantised(base, lambda scales: scales * 0))
    assert all(r.pattern is None for r in result if r.name in MATRICES)


def test_the_rounding_of_both_models_is_no_rank(tmp_path, verdict):
    """At this size the noise of two roundings lies beyond what one can reach."""
    rng = np.random.default_rng(4)
    one = rng.normal(0, 0.02, (512, 1024)).astype(np.float32)
    update = rng.normal(size=(512, 8)) @ rng.normal(size=(8, 1024))
    other = (one + update * 1e-3 / update.std()).astype(np.float32)
    name = "model.layers.0.mlp.up_proj.weight"
    record = verdict(rounded({name: one}), rounded({name: other}))[0]
    assert (record.delta_rank_estimate, record.pattern) == (8, "low-rank update")


def test_a_change_of_full_rank_is_not_called_one_of_low_rank(verdict, base):
    rng = np.random.default_rng(5)
    tuned = {n: (v + rng.normal(0, 0.01, v.shape)).astype(np.float32) for n, v in base.items()}
    for record in verdict(base, tuned):
        assert "low rank" not in record.note and "merged" not in record.note


def test_a_trained_model_kept_transposed_is_compared_transposed(verdict, base):
    rng = np.random.default_rng(6)
    wide = {f"h.{i}.mlp.c_fc.weight": rng.normal(0, 0.02, (64, 96)) for i in range(2)}
    tuned = {name: values.T + rng.normal(0, 1e-3, (96, 64)) for name, values in wide.items()}
    as_32 = [{n: v.astype(np.float32) for n, v in one.items()} for one in (wide, tuned)]
    result = verdict(*as_32)
    for record in result:
        assert record.status == "reshaped" and "the base transposed" in record.note
        assert record.relative_change == pytest.approx(0.05, rel=0.05)
    assert result.summary["class"] == "continued_pretraining"


def test_tensors_that_changed_places_are_called_copies_alone(verdict, base):
    one, other = MATRICES[:2]
    result = verdict(base, base | {one: base[other], other: base[one]})
    for record in result:
        if record.name in (one, other):
            assert record.pattern == "copy" and record.note.startswith("Its bytes are those of")
    assert "repeat others of the base: 2." in result.summary["verdict"]
