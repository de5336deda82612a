"""Two checkpoints compared, from files: what stayed, what changed and what kind of change it is."""

import json
import math
import shutil

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from weights.build import stored, write_file, write_shards
from weights.range_server import serving

from inspector.errors import BadOption
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.compare import compare
from inspector.weights.tensor_change import STATUSES

LLAMA = {"model_type": "llama", "num_attention_heads": 4, "num_hidden_layers": 2}
BERT_STEPS = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F64": np.float64}
Q = "model.layers.0.self_attn.q_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"
NORM = "model.norm.weight"


def kept(dtype, values):
    return stored(dtype, values.astype(BERT_STEPS[dtype]) if dtype in BERT_STEPS else values)


def save(folder, arrays, dtype="F32", config=LLAMA):
    folder.mkdir(parents=True)
    tensors = {n: a if isinstance(a, tuple) else kept(dtype, a) for n, a in arrays.items()}
    write_file(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def small():
    """A model of a few tensors."""
    rng = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (60, 32), Q: (32, 32), DOWN: (32, 48), NORM: (32,)}
    return {
        name: rng.normal(0, 0.02, shape).astype(np.float32).astype(ml_dtypes.bfloat16)
        for name, shape in shapes.items()
    }


def plain(arrays):
    return {name: values.astype(np.float32) for name, values in arrays.items()}


def compared(tmp_path, base, tuned, dtype="F32", **options):
    one = open_checkpoint(save(tmp_path / "base", base, dtype))
    other = open_checkpoint(save(tmp_path / "tuned", tuned, dtype))
    return compare(one, other, **options)


def by_name(result):
    return {record.name: record for record in result}


def minilm_copy(minilm, tmp_path, change=lambda name, values: values):
    """The real checkpoint with every tensor put through `change`."""
    arrays = load_file(minilm / "model.safetensors")
    tensors = {
        name: stored("I64", values)
        if values.dtype == np.int64
        else stored("F32", np.ascontiguousarray(change(name, values), dtype=np.float32))
        for name, values in arrays.items()
    }
    folder = tmp_path / "copy"
    folder.mkdir()
    write_file(folder / "model.safetensors", tensors)
    shutil.copy(minilm / "config.json", folder)
    return folder


def test_minilm_against_itself_is_identical_and_is_not_read(minilm):
    checkpoint = open_checkpoint(minilm)
    result = compare(checkpoint, open_checkpoint(minilm))
    assert {record.status for record in result} == {"identical"}
    assert result.summary["class"] == "identical"
    assert result.coverage.tensors_measured == len(checkpoint.tensors)
    assert result.coverage.bytes_read == 0
    assert result.summary["equal_files"] == ["model.safetensors"]


def test_minilm_against_its_copy_is_identical_by_its_bytes(minilm, tmp_path):
    folder = minilm_copy(minilm, tmp_path)
    result = compare(open_checkpoint(minilm), open_checkpoint(folder))
    assert {record.status for record in result} == {"identical"}
    assert result.summary["equal_files"] == []
    size = (minilm / "model.safetensors").stat().st_size
    assert 0.99 < result.coverage.bytes_read / (2 * size) < 1.06


def test_minilm_through_bfloat16_and_back_differs_by_rounding_only(minilm, tmp_path):
    def through(name, values):
        return values.astype(ml_dtypes.bfloat16)

    folder = minilm_copy(minilm, tmp_path, through)
    result = compare(open_checkpoint(minilm), open_checkpoint(folder))
    moved = [r for r in result if r.status != "identical"]
    assert len(moved) > 90
    assert all(r.rounding_only and r.ulp_dtype == "BF16" for r in moved)
    assert result.summary["class"] == "rounding_only"
    matrix = by_name(result)["encoder.layer.0.attention.self.query.weight"]
    assert (matrix.status, matrix.delta_rank_estimate) == ("changed", 0)
    assert matrix.relative_change == pytest.approx(matrix.relative_change_noise, rel=0.02)
    assert "Rounding alone" in matrix.note


def test_a_rank_8_update_merged_into_minilm_reads_as_rank_8(minilm, tmp_path):
    rng = np.random.default_rng(0)

    def merged(name, values):
        if not name.endswith(("query.weight", "value.weight")):
            return values
        left, right = rng.normal(size=(values.shape[0], 8)), rng.normal(size=(8, values.shape[1]))
        update = left @ right
        return values + update * 1e-3 / update.std()

    result = compare(
        open_checkpoint(minilm), open_checkpoint(minilm_copy(minilm, tmp_path, merged))
    )
    updated = [r for r in result if r.status == "changed"]
    assert len(updated) == 12
    for record in updated:
        assert (record.delta_rank_estimate, record.pattern) == (8, "low-rank update")
        assert "merged rank-8 update" in record.note
    assert result.summary["class"] == "lora_like"
    assert "look like merged updates of rank 8: 12." in result.summary["verdict"]


def test_minilm_with_other_prefixes_is_renamed(minilm, tmp_path):
    arrays = load_file(minilm / "model.safetensors")
    tensors = {
        f"bert.{name}": stored("I64" if values.dtype == np.int64 else "F32", values)
        for name, values in arrays.items()
    }
    folder = tmp_path / "renamed"
    folder.mkdir()
    write_file(folder / "model.safetensors", tensors)
    result = compare(open_checkpoint(minilm), open_checkpoint(folder))
    assert {record.status for record in result} == {"renamed"}
    assert {r.name: r.renamed_from for r in result} == {f"bert.{name}": name for name in arrays}
    assert all(r.relative_change == 0 for r in result)


def test_every_status(tmp_path, small):
    base = plain(small) | {"old.weight": np.ones((3, 3), dtype=np.float32)}
    tuned = plain(small) | {"new.weight": np.zeros((5, 3), dtype=np.float32)}
    tuned[Q] = tuned[Q] + np.float32(0.01)
    tuned[DOWN] = kept("BF16", tuned[DOWN])
    tuned["model.embed_tokens.weight"] = tuned["model.embed_tokens.weight"][:50]
    result = compared(tmp_path, base, tuned)
    statuses = {record.name: record.status for record in result}
    assert statuses == {
        "model.embed_tokens.weight": "reshaped",
        Q: "changed",
        DOWN: "retyped",
        NORM: "identical",
        "new.weight": "added",
        "old.weight": "removed",
    }
    counts = dict.fromkeys(STATUSES, 1) | {"renamed": 0}
    assert result.summary["statuses"] == counts
    assert json.loads(result.to_json())["schema"] == "inspector.compare/1"


def test_numbers_equal_those_of_numpy(tmp_path, small):
    base = plain(small)
    rng = np.random.default_rng(1)
    tuned = {n: v + rng.normal(0, 1e-3, v.shape).astype(np.float32) for n, v in base.items()}
    result = compared(tmp_path, base, tuned)
    for record in result:
        a, b = (x[record.name].astype(np.float64) for x in (base, tuned))
        assert record.relative_change == pytest.approx(
            np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-12
        )
        assert record.max_abs_change == np.abs(b - a).max()
        assert record.changed_fraction == (a != b).mean()
        assert record.bias_shift == pytest.approx((b - a).mean(), rel=1e-9)
        if a.ndim == 2:
            singular = np.linalg.svd(b - a, compute_uv=False)
            energy = np.square(singular)
            assert record.delta_stable_rank == pytest.approx(energy.sum() / energy[0], rel=1e-5)
            assert record.delta_rank_99 == np.searchsorted(energy.cumsum(), 0.99 * energy.sum()) + 1
            assert record.delta_rank_estimate == min(a.shape)


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_saved_in_a_narrower_dtype_is_retyped_by_rounding_only(tmp_path, small, dtype):
    rng = np.random.default_rng(2)
    base = {n: rng.normal(0, 0.02, v.shape).astype(np.float32) for n, v in small.items()}
    result = compared(tmp_path, base, {n: kept(dtype, v) for n, v in base.items()})
    assert {(r.status, r.rounding_only) for r in result} == {("retyped", True)}
    assert result.summary["class"] == "rounding_only"
    back = compare(open_checkpoint(tmp_path / "tuned"), open_checkpoint(tmp_path / "base"))
    assert {(r.status, r.rounding_only) for r in back} == {("retyped", True)}


def test_a_lossless_change_of_dtype_changes_no_value(tmp_path, small):
    base = {n: kept("BF16", v.astype(np.float32)) for n, v in small.items()}
    result = compared(tmp_path, base, plain(small))
    assert {(r.status, r.changed_fraction) for r in result} == {("retyped", 0.0)}
    assert result.summary["class"] == "identical"


def test_next_neighbours_in_bfloat16_are_one_step_away(tmp_path):
    patterns = np.arange(0, 0x7F00, dtype=np.uint16)
    both = np.concatenate([patterns, patterns | 0x8000])
    base = {NORM: stored("BF16", both), Q: stored("BF16", np.array([[1, 0x8000]], np.uint16))}
    tuned = {
        NORM: stored("BF16", both + np.uint16(1)),
        Q: stored("BF16", np.array([[0x8001, 0]], np.uint16)),
    }
    found = by_name(compared(tmp_path, base, tuned))
    assert (found[NORM].ulp_median, found[NORM].ulp_max) == (1, 1)
    assert found[NORM].rounding_only
    assert found[Q].ulp_max == 2  # from the least number over zero to the greatest under it
    assert found[Q].changed_fraction == 0.5  # the two zeros are one value


def test_only_the_signs_of_zeros(tmp_path, small):
    zeros = np.zeros((4, 4), dtype=np.float32)
    record = by_name(compared(tmp_path, {Q: zeros}, {Q: -zeros}))[Q]
    assert (record.status, record.changed_fraction) == ("changed", 0)
    assert record.pattern == "only the signs of zeros"
    assert record.relative_change is None  # of nothing


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda w: 2 * w, "scale only"),
        (lambda w: 1.1 * w, "scale only"),
        (lambda w: -w, "sign flip"),
        (lambda w: w * np.where(np.arange(len(w)) < 3, -1, 1)[:, None], "some signs flipped"),
        (lambda w: np.roll(w, 5, axis=0), "rows in another order"),
        (lambda w: np.roll(w, 5, axis=1), "columns in another order"),
        (lambda w: np.roll(w, 7), "values in another order"),
        (lambda w: w.T, "transposed"),
        (lambda w: w + np.outer(np.linspace(-1, 1, len(w)), np.full(w.shape[1], 0.01)), None),
    ],
)
@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_what_a_change_amounts_to(tmp_path, small, change, pattern, dtype):
    base = {DOWN: small[DOWN].astype(np.float32)}
    tuned = {DOWN: np.ascontiguousarray(change(base[DOWN]))}
    record = by_name(compared(tmp_path, base, tuned, dtype))[DOWN]
    assert record.pattern == (pattern or "low-rank update")
    assert not record.rounding_only
    assert record.note


def test_tripled_values_say_by_how_much(tmp_path, small):
    base = plain(small)
    record = by_name(compared(tmp_path, base, {n: v * 3 for n, v in base.items()}))[Q]
    assert "multiplied by 3." in record.note
    assert record.cosine == pytest.approx(1, abs=1e-12)
    assert record.relative_change == pytest.approx(2, rel=1e-6)


def test_added_rows_leave_the_common_ones_to_be_compared(tmp_path, small):
    base = plain(small)
    name = "model.embed_tokens.weight"
    more = np.concatenate([base[name], np.ones((4, 32), dtype=np.float32)])
    record = by_name(compared(tmp_path, base, base | {name: more}))[name]
    assert (record.status, record.relative_change, record.changed_fraction) == ("reshaped", 0, 0)
    assert "the first 60 rows" in record.note
    assert (record.base_shape, record.tuned_shape) == ((60, 32), (64, 32))


def test_shapes_with_nothing_in_common_say_so(tmp_path, small):
    base = plain(small)
    record = by_name(compared(tmp_path, base, base | {Q: base[Q][:, :30].copy()}))[Q]
    assert (record.status, record.relative_change, record.cosine) == ("reshaped", None, None)
    assert "nothing" in record.note


def test_a_few_changed_rows_are_counted(tmp_path, small):
    name = "model.embed_tokens.weight"
    base = plain(small)
    tuned = base[name].copy()
    tuned[[3, 7, 8]] += 0.5
    record = by_name(compared(tmp_path, base, base | {name: tuned}))[name]
    assert record.rows_changed == 3
    assert "Only 3 of 60 rows changed" in record.note


def test_a_copied_layer_is_told(tmp_path, small):
    base = plain(small)
    new = "model.layers.2.mlp.down_proj.weight"
    record = by_name(compared(tmp_path, base, base | {new: base[DOWN]}))[new]
    assert (record.status, record.pattern, record.renamed_from) == ("added", "copy", DOWN)
    assert DOWN in record.note


def test_layers_that_moved_up_are_told(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"model.layers.{i}.mlp.down_proj.weight" for i in range(4)]
    base = {name: rng.normal(size=(8, 8)).astype(np.float32) for name in names}
    tuned = {names[0]: base[names[0]], names[1]: base[names[2]], names[2]: base[names[3]]}
    found = by_name(compared(tmp_path, base, tuned))
    assert [found[n].renamed_from for n in names[:3]] == [None, names[2], names[3]]
    assert found[names[3]].status == "removed"


def test_values_that_are_not_finite_are_told_and_the_rest_compared(tmp_path, small):
    base, tuned = plain(small), plain(small)
    tuned[Q] = tuned[Q] + np.float32(0.01)
    tuned[Q][3, 4] = np.nan
    base[NORM] = base[NORM].copy()
    base[NORM][0] = np.inf
    result = compared(tmp_path, base, tuned)
    record = by_name(result)[Q]
    assert (record.not_finite, record.changed_fraction) == (1, 1.0)
    assert record.max_abs_change == pytest.approx(0.01, rel=1e-3)
    assert (record.delta_rank_estimate, record.delta_stable_rank) == (None, None)
    told = {(f.id, f.where) for f in result.findings}
    assert {("CP-BROKEN", Q), ("CP-SPECTRUM", Q), ("CP-NOTFINITE", NORM)} <= told


def test_what_cannot_be_read_is_skipped_by_name(tmp_path, small):
    complex_numbers = np.arange(8, dtype=np.complex64)
    base = plain(small) | {"x": ("C64", (8,), complex_numbers.tobytes())}
    tuned = plain(small) | {"x": ("C64", (8,), (complex_numbers + 1).tobytes())}
    result = compared(tmp_path, base, tuned)
    assert [s.name for s in result.coverage.skipped] == ["x"]
    assert "x" not in by_name(result)
    assert result.coverage.tensors_total == result.coverage.tensors_measured + 1


def test_fused_tensors_have_a_rank_for_each_part(tmp_path):
    rng = np.random.default_rng(0)
    name = "transformer.h.0.attn.c_attn.weight"
    base = {name: rng.normal(0, 0.02, (32, 96)).astype(np.float32)}
    tuned = base[name].copy()
    tuned[:, 64:] += np.outer(rng.normal(size=32), rng.normal(size=32)).astype(np.float32) * 1e-2
    config = {"model_type": "gpt2", "n_head": 4, "n_embd": 32}
    one = save(tmp_path / "base", base, config=config)
    other = save(tmp_path / "tuned", {name: tuned}, config=config)
    result = compare(open_checkpoint(one), open_checkpoint(other))
    ranks = {p["name"]: p["delta_rank_estimate"] for p in result.summary["pieces"]}
    assert ranks == {f"{name}[q]": 0, f"{name}[k]": 0, f"{name}[v]": 1}
    assert by_name(result)[name].delta_rank_estimate == 1


def test_experts_have_a_rank_each(tmp_path):
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.experts.down_proj"
    base = rng.normal(0, 0.02, (3, 16, 24)).astype(np.float32)
    tuned = base.copy()
    tuned[1] += np.outer(rng.normal(size=16), rng.normal(size=24)).astype(np.float32) * 1e-2
    result = compared(tmp_path, {name: base}, {name: tuned})
    ranks = [piece["delta_rank_estimate"] for piece in result.summary["pieces"]]
    assert ranks == [0, 1, 0]


def test_shards_and_threads_do_not_matter(tmp_path, small):
    base = plain(small)
    tuned = {name: values * np.float32(1.01) + np.float32(1e-3) for name, values in base.items()}
    one = open_checkpoint(save(tmp_path / "base", base))
    names = list(tuned)
    parts = [{n: kept("F32", tuned[n]) for n in part} for part in (names[::2], names[1::2])]
    sharded = open_checkpoint(write_shards(tmp_path / "shards", parts))
    other = open_checkpoint(save(tmp_path / "tuned", tuned))
    whole = by_name(compare(one, other, workers=1))
    assert by_name(compare(one, sharded, workers=3)) == whole


def test_a_choice_of_names(tmp_path, small):
    base = plain(small)
    result = compared(tmp_path, base, base, where="self_attn")
    assert [record.name for record in result] == [Q]
    with pytest.raises(BadOption):
        compare(open_checkpoint(tmp_path / "base"), open_checkpoint(tmp_path / "tuned"), "(")


def test_progress_ends_at_the_whole(tmp_path, small):
    seen = []
    base = plain(small)
    compared(tmp_path, base, base, progress=lambda *told: seen.append(told))
    size = sum(values.nbytes for values in base.values())
    assert seen[-1][:2] == (size, size)
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)


def test_two_demo_models_of_one_start_are_kin():
    result = compare(open_checkpoint("demo:planted"), open_checkpoint("demo:balanced"))
    assert {record.status for record in result} == {"changed"}
    assert result.summary["class"] == "continued_pretraining"
    assert not any(record.rounding_only for record in result)
    layers = {group.group for group in result.summary["layers"]}
    assert layers == {"outside the layers", "layer 0", "layer 1", "layer 2"}
    assert sum(group.tensors for group in result.summary["roles"]) == len(result)


def test_models_of_the_same_shapes_and_nothing_else_in_common(tmp_path, small):
    rng = np.random.default_rng(9)
    fresh = {n: rng.normal(0, 0.02, v.shape).astype(np.float32) for n, v in small.items()}
    result = compared(tmp_path, plain(small), fresh)
    assert result.summary["class"] == "full_retrain"
    assert result.summary["size"]["mean_relative_change"] == pytest.approx(math.sqrt(2), rel=0.1)


def test_a_new_layer_is_another_architecture(tmp_path, small):
    base = plain(small)
    new = {"model.layers.2.mlp.down_proj.weight": np.ones((32, 48), dtype=np.float32)}
    assert compared(tmp_path, base, base | new).summary["class"] == "architecture_change"


def test_training_of_one_small_part_is_targeted(tmp_path, small):
    base = plain(small)
    rng = np.random.default_rng(0)
    tuned = base | {NORM: base[NORM] + rng.normal(0, 0.1, 32).astype(np.float32)}
    assert compared(tmp_path, base, tuned).summary["class"] == "targeted"


def test_scaled_fp8_is_read_through_its_scales(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.02, (64, 64)).astype(np.float32)
    scale = np.abs(values).max() / 448
    codes = (values / scale).astype(ml_dtypes.float8_e4m3fn)
    tuned = {Q: stored("F8_E4M3", codes), f"{Q}_scale": kept("F32", np.array([scale]))}
    config = LLAMA | {"quantization_config": {"quant_method": "fp8"}}
    one = save(tmp_path / "base", {Q: values})
    other = save(tmp_path / "tuned", tuned, config=config)
    record = by_name(compare(open_checkpoint(one), open_checkpoint(other)))[Q]
    assert record.status == "retyped"
    assert record.relative_change == pytest.approx(0.0265, rel=0.1)  # per-tensor E4M3 of a Gaussian
    assert record.ulp_median is None
    assert "quantised" in record.note


def test_names_from_files_are_shown_harmless(tmp_path):
    name = "layers.0.\x1b[31m.weight"
    values = np.ones((4, 4), dtype=np.float32)
    bad = values.copy()
    bad[0, 0] = np.nan
    result = compared(tmp_path, {name: values}, {name: bad})
    record = result[0]
    assert record.name == name
    texts = [record.note, *(f.where + f.statement for f in result.findings)]
    assert all("\x1b" not in text for text in texts)


def test_a_merge_below_the_rounding_floor_says_so(tmp_path):
    rng = np.random.default_rng(0)
    base = rng.normal(0, 0.02, (512, 512)).astype(ml_dtypes.bfloat16).astype(np.float32)
    update = rng.normal(size=(512, 8)) @ rng.normal(size=(8, 512))
    tuned = (base + update * 8.6e-6 / update.std()).astype(np.float32)
    result = compared(tmp_path, {Q: base}, {Q: tuned}, "BF16")
    record = by_name(result)[Q]
    assert (record.delta_rank_estimate, record.pattern) == (0, None)
    assert record.changed_fraction == pytest.approx(0.096, abs=0.01)
    assert "Below the BF16 rounding floor" in record.note
    assert "show nothing beyond the rounding floor: 1." in result.summary["verdict"]


def served(*folders):
    return {
        f"/{i}/{path.name}": path.read_bytes()
        for i, folder in enumerate(folders)
        for path in folder.iterdir()
        if path.is_file()
    }


def test_two_checkpoints_far_away_give_the_numbers_of_local_ones(tmp_path, small):
    base = plain(small)
    tuned = base | {Q: base[Q] * np.float32(1.01), "new.weight": base[DOWN]}
    near = compared(tmp_path, base, tuned)
    with serving(served(tmp_path / "base", tmp_path / "tuned")) as server:
        one, other = (open_checkpoint(f"{server.url}/{i}/") for i in (0, 1))
        far = compare(one, other)
        assert len(server.requests) == 10  # opening 4, all tensors 2, looking for the copy 4
    assert far.records == near.records
    assert far.coverage == near.coverage


def test_files_far_away_with_one_hash_are_not_read(tmp_path, small):
    save(tmp_path / "base", plain(small))
    with serving(served(tmp_path / "base", tmp_path / "base")) as server:
        one, other = (open_checkpoint(f"{server.url}/{i}/") for i in (0, 1))
        asked = len(server.requests)
        result = compare(one, other)
        assert len(server.requests) == asked
    assert {record.status for record in result} == {"identical"}
    assert result.coverage.bytes_read == 0


def test_the_tied_second_copy_that_is_gone_is_named_as_one(tmp_path, small):
    embedding = "model.embed_tokens.weight"
    tied = plain(small) | {"lm_head.weight": plain(small)[embedding]}
    one = save(tmp_path / "base", tied, config=LLAMA | {"tie_word_embeddings": True})
    other = save(tmp_path / "tuned", plain(small), config=LLAMA | {"tie_word_embeddings": True})
    result = compare(open_checkpoint(one), open_checkpoint(other))
    record = by_name(result)["lm_head.weight"]
    assert record.status == "removed"
    assert f"It repeats {embedding}" in record.note
