"""Dead, saturated, repeated and extreme parts: what is planted is found, and nothing else."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from weights.build import bf16, stored, write_file
from weights.llama_file import CONFIG, DIM, HIDDEN, WIDTH, Values, llama, write
from weights.tiny_models import Tiny

from inspector.results import Records
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.extremes import farthest
from inspector.weights.neuron_records import Neurons
from inspector.weights.neurons import neurons
from inspector.weights.super_weights import SUPER_WEIGHTS, published

Make = Callable[[str], Tiny]
MLP = "model.layers.0.mlp"


def of(folder: Path, values: Values, config: dict[str, Any] | None = None) -> Records[Neurons]:
    return neurons(open_checkpoint(write(folder / "m", values, config)))


def record(result: Records[Neurons], name: str) -> Neurons:
    return next(one for one in result if one.name == name)


def ids(result: Records[Neurons]) -> list[str]:
    return [f.id for f in result.findings if f.id.startswith("NU-")]


def test_a_sound_model_has_no_findings(tmp_path: Path) -> None:
    result = of(tmp_path, llama())
    assert ids(result) == []
    assert len(result) == 14
    assert result.coverage.parameters_measured == result.coverage.parameters_total
    assert result.summary["copies"] == ()
    assert result.summary["parallel_total"] == 0
    assert [mlp.dead for mlp in result.summary["units"]] == [0, 0]
    for one in result:
        assert one.extreme_z is not None
        assert abs(one.extreme_z) < 1.5 * (one.extreme_z_noise or 0)


@pytest.mark.parametrize("model", ["minilm", "demo:planted", "demo:balanced"])
def test_trained_models_have_no_dead_or_repeated_parts(model: str, minilm: Path) -> None:
    result = neurons(open_checkpoint(minilm if model == "minilm" else model))
    assert set(ids(result)) <= {"NU-SUPER-WEIGHT"}
    assert json.loads(result.to_json())["schema"] == "inspector.neurons/1"
    assert not result.summary["heads_skipped"]


def test_the_largest_weight_of_minilm_is_found_by_place(minilm: Path) -> None:
    from safetensors.numpy import load_file

    result = neurons(open_checkpoint(minilm), where=r"layer\.\d\.output\.dense")
    first = result.summary["super_weights"][0]
    values = load_file(minilm / "model.safetensors")[first.name].astype(np.float64)
    assert values[first.row, first.column] == first.value
    assert abs(values).max() == abs(first.value)
    assert first.z == pytest.approx((first.value - values.mean()) / values.std(), rel=1e-9)
    assert (first.layer, first.row, first.column) == (0, 99, 856)


def test_dead_units_by_either_side(tmp_path: Path) -> None:
    values = llama()
    values[f"{MLP}.up_proj.weight"][3] = 0  # silu(gate) * 0
    values[f"{MLP}.gate_proj.weight"][[3, 5]] = 0  # silu(0) * up
    values[f"{MLP}.down_proj.weight"][:, [5, 9]] = 0
    result = of(tmp_path, values)
    mlp = result.summary["units"][0]
    assert (mlp.dead, mlp.dead_in, mlp.dead_out, mlp.dead_at) == (3, 2, 2, (3, 5, 9))
    assert record(result, f"{MLP}.gate_proj.weight").dead_out == 2
    assert record(result, f"{MLP}.down_proj.weight").dead_in == 2
    assert ids(result) == ["NU-DEAD"] * 3 + ["NU-DEAD-UNIT"]
    finding = next(f for f in result.findings if f.id == "NU-DEAD-UNIT")
    assert finding.evidence["first"] == [3, 5, 9]


@pytest.mark.parametrize("seed", range(5))
def test_dead_units_are_those_that_move_nothing(seed: int, tmp_path: Path) -> None:
    """By what each unit adds to the output of the block, over inputs drawn at random."""
    generator = np.random.default_rng(seed)
    values = llama(1)
    gate, up, down = (values[f"{MLP}.{role}_proj.weight"] for role in ("gate", "up", "down"))
    for matrix in (gate, up, down.T):
        matrix[generator.random(HIDDEN) < 0.2] = 0
    for role in ("gate", "up"):
        bias = generator.standard_normal(HIDDEN) * (generator.random(HIDDEN) < 0.5)
        values[f"{MLP}.{role}_proj.bias"] = bias.astype(np.float32)
    mlp = of(tmp_path, values).summary["units"][0]
    x = generator.standard_normal((50, WIDTH))
    gates = x @ gate.T + values[f"{MLP}.gate_proj.bias"]
    hidden = gates / (1 + np.exp(-gates)) * (x @ up.T + values[f"{MLP}.up_proj.bias"])
    moves = np.ptp(hidden, axis=0) * np.linalg.norm(down, axis=0)
    assert mlp.dead == np.count_nonzero(moves == 0)
    assert mlp.dead_at == tuple(np.flatnonzero(moves == 0)[:20])


def test_rows_of_zeros_with_a_bias_are_alive_behind_a_gate(tmp_path: Path) -> None:
    values = llama(1)
    values[f"{MLP}.up_proj.weight"][3] = 0
    values[f"{MLP}.up_proj.bias"] = np.ones(HIDDEN, dtype=np.float32)
    mlp = of(tmp_path, values).summary["units"][0]
    assert mlp.dead == 0


def test_saturated_units_and_only_before_an_activation(tmp_path: Path) -> None:
    values = llama(1)
    lengths = np.linalg.norm(values[f"{MLP}.gate_proj.weight"], axis=1)
    bias = np.zeros(HIDDEN, dtype=np.float32)
    bias[[2, 4, 6]] = lengths[[2, 4, 6]] * np.array([4.1, -4.1, 3.9])
    values[f"{MLP}.gate_proj.bias"] = bias
    values[f"{MLP}.up_proj.bias"] = np.full(HIDDEN, 100, dtype=np.float32)
    values["model.layers.0.self_attn.q_proj.bias"] = np.full(WIDTH, 100, dtype=np.float32)
    result = of(tmp_path, values)
    mlp = result.summary["units"][0]
    assert (mlp.always_on, mlp.always_off, mlp.saturated_at) == (1, 1, (2, 4))
    assert record(result, f"{MLP}.gate_proj.weight").saturating == 2
    assert record(result, f"{MLP}.up_proj.weight").saturating is None
    assert record(result, "model.layers.0.self_attn.q_proj.weight").saturating is None
    told = next(f for f in result.findings if f.id == "NU-SATURATED")
    assert "silu makes of it about 0 below" in told.statement
    # what the threshold promises: such a unit keeps its sign on inputs of unit variance
    inputs = np.random.default_rng(0).standard_normal((20_000, WIDTH))
    seen = inputs @ values[f"{MLP}.gate_proj.weight"][[2, 4]].T + bias[[2, 4]]
    assert (seen[:, 0] < 0).mean() < 1e-3
    assert (seen[:, 1] > 0).mean() < 1e-3


def test_duplicate_units_need_all_that_feeds_them(tmp_path: Path) -> None:
    values = llama(1)
    for role in ("up", "gate"):
        values[f"{MLP}.{role}_proj.weight"][10] = values[f"{MLP}.{role}_proj.weight"][4]
    values[f"{MLP}.up_proj.weight"][20] = -3 * values[f"{MLP}.up_proj.weight"][21]
    result = of(tmp_path, values)
    mlp = result.summary["units"][0]
    assert (mlp.duplicates, mlp.duplicates_at) == (1, (10,))
    up = record(result, f"{MLP}.up_proj.weight")
    assert (up.duplicates_out, up.anti_parallel_out, up.scaled_out) == (1, 1, 0)
    pairs = result.summary["parallel"]
    assert {(p.axis, p.like, p.number, p.relation) for p in pairs if p.name == up.name} == {
        ("out", 4, 10, "duplicate"),
        ("out", 20, 21, "anti-parallel"),
    }
    assert result.summary["parallel_total"] == 3


def transposed(folder: Path, tiny: Tiny) -> Path:
    """The same GPT-2 with every Conv1D stored the way of a Linear."""
    folder.mkdir()
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    write_file(
        folder / "model.safetensors",
        {
            name: stored("F32", np.ascontiguousarray(v.T) if name.endswith(turned) else v)
            for name, v in tiny.values.items()
        },
    )
    (folder / "config.json").write_text(json.dumps(tiny.config))
    return folder


def test_conv1d_and_linear_give_the_same_report(make: Make, tmp_path: Path) -> None:
    tiny = make("gpt2")
    tiny = dataclasses.replace(tiny, values={n: v.copy() for n, v in tiny.values.items()})
    name = "transformer.h.1.mlp.c_fc.weight"
    tiny.values[name][:, 5] = 0
    tiny.values["transformer.h.0.mlp.c_proj.weight"][7] = 0
    tiny.values["transformer.h.0.attn.c_attn.weight"][:, 70] = tiny.values[
        "transformer.h.0.attn.c_attn.weight"
    ][:, 68]
    plain = tmp_path / "conv1d"
    plain.mkdir()
    write_file(plain / "model.safetensors", {n: stored("F32", v) for n, v in tiny.values.items()})
    (plain / "config.json").write_text(json.dumps(tiny.config))
    one = neurons(open_checkpoint(plain))
    other = neurons(open_checkpoint(transposed(tmp_path / "linear", tiny)))
    assert record(one, name).rows == 4 * record(one, name).columns
    assert record(one, name).dead_out == 1
    assert record(one, "transformer.h.0.mlp.c_proj.weight").dead_in == 1
    assert record(one, "transformer.h.0.attn.c_attn.weight[v]").duplicates_out == 1
    first, second = one.to_dict(), other.to_dict()
    for part in ("findings", "coverage"):
        assert first[part] == second[part]
    assert close(first["records"], second["records"])
    assert close(first["summary"], second["summary"])


def close(one: Any, other: Any) -> bool:
    """Equal but for the rounding of sums taken in another order."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float):
        return one == pytest.approx(other, rel=1e-6, abs=1e-6)
    return bool(one == other)


def test_a_layer_stored_twice_is_one_line(tmp_path: Path) -> None:
    values = llama(4)
    for name in [n for n in values if n.startswith("model.layers.1.")]:
        values[name.replace("layers.1.", "layers.3.")] = values[name].copy()
    result = of(tmp_path, values)
    copies = [copy for copy in result.summary["copies"] if not copy.what.startswith("head")]
    assert [(c.what, c.layer, c.like_layer, c.exact) for c in copies] == [("layer", 3, 1, True)]
    heads = [copy for copy in result.summary["copies"] if copy.what.startswith("head")]
    assert {(c.layer, c.like_layer, c.index == c.like_index) for c in heads} == {(3, 1, True)}
    assert len(heads) == 16
    assert any("layer 3 repeats layer 1 exactly" in f.statement for f in result.findings)


def test_a_layer_copied_and_trained_on(tmp_path: Path) -> None:
    values = llama(3)
    moved = llama(3, seed=9)
    for name in [n for n in values if n.startswith("model.layers.0.")]:
        other = name.replace("layers.0.", "layers.2.")
        values[other] = values[name] + 0.3 * moved[name]  # cosine 1 / sqrt(1 + .09) = .958
    result = of(tmp_path, values)
    layer = next(copy for copy in result.summary["copies"] if copy.what == "layer")
    assert (layer.layer, layer.like_layer, layer.exact) == (2, 0, False)
    assert layer.cosine == pytest.approx(0.958, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 4), (1, 8), (4, 8), (1, 32)])
def test_matrices_of_few_values_are_no_copies(shape: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"model.layers.{i}.gate.weight": stored("F32", rng.standard_normal(shape, np.float32))
        for i in range(80)
    }
    write_file(tmp_path / "model.safetensors", arrays)
    assert neurons(open_checkpoint(tmp_path)).summary["copies"] == ()


def test_one_head_copied_within_and_across_layers(tmp_path: Path) -> None:
    values = llama(2)
    start = "model.layers.{}.self_attn.{}_proj.weight"
    # head 6 of layer 1 as head 1 of layer 0: its q and o, and the kv head it uses
    for role, one, other in (("q", 1, 6), ("k", 0, 1), ("v", 0, 1)):
        source = values[start.format(0, role)][one * DIM : (one + 1) * DIM]
        values[start.format(1, role)][other * DIM : (other + 1) * DIM] = source
    o = values[start.format(0, "o")][:, DIM : 2 * DIM]
    values[start.format(1, "o")][:, 6 * DIM : 7 * DIM] = -2 * o
    result = of(tmp_path, values)
    found = {
        (c.what, c.layer, c.index, c.like_layer, c.like_index, round(c.cosine, 6), c.exact)
        for c in result.summary["copies"]
    }
    assert found == {("head ov", 1, 6, 0, 1, -1.0, False), ("head qk", 1, 6, 0, 1, 1.0, True)}


def test_experts_of_an_up_cycled_model(make: Make, tmp_path: Path) -> None:
    tiny = make("mixtral")
    values = dict(tiny.values)
    for name in list(values):
        if ".experts.3." in name and ".layers.1." in name:
            values[name] = values[name.replace("experts.3.", "experts.0.")]
    folder = tmp_path / "m"
    folder.mkdir()
    write_file(folder / "model.safetensors", {n: stored("F32", v) for n, v in values.items()})
    (folder / "config.json").write_text(json.dumps(tiny.config))
    result = neurons(open_checkpoint(folder))
    copies = result.summary["copies"]
    assert [(c.what, c.layer, c.index, c.like_index, c.exact) for c in copies] == [
        ("expert", 1, 3, 0, True)
    ]
    assert "expert 3 of layer 1 repeats expert 0 of layer 1 exactly" in [
        f.statement for f in result.findings
    ]
    assert len(result.summary["units"]) == 8


@pytest.mark.parametrize("name", ["gpt_oss", "llama4_text", "dbrx", "qwen3_moe", "bert", "phi3"])
def test_every_mlp_and_expert_has_its_units(name: str, make: Make) -> None:
    tiny = make(name)
    result = neurons(open_checkpoint(tiny.folder))
    experts = {"gpt_oss": 8, "llama4_text": 10, "dbrx": 8, "qwen3_moe": 8}.get(name, 2)
    mlps = result.summary["units"]
    assert len(mlps) == experts
    biased = name in ("gpt_oss", "bert")
    assert {mlp.always_on is not None for mlp in mlps} == {biased}
    assert result.coverage.parameters_measured == sum(r.rows * r.columns for r in result)


def test_the_bias_of_a_stacked_expert_is_its_own(make: Make, tmp_path: Path) -> None:
    tiny = make("gpt_oss")
    name = "model.layers.1.mlp.experts.gate_up_proj_bias"
    values = {**tiny.values, name: np.zeros_like(tiny.values[name])}
    values[name][2, 2 * 7] = 1000  # gates are the even ones: unit 7 of expert 2
    folder = tmp_path / "m"
    folder.mkdir()
    write_file(folder / "model.safetensors", {n: stored("F32", v) for n, v in values.items()})
    (folder / "config.json").write_text(json.dumps(tiny.config))
    mlps = neurons(open_checkpoint(folder)).summary["units"]
    hit = {(m.layer, m.expert): m.saturated_at for m in mlps if m.layer == 1 and m.always_on}
    assert hit == {(1, 2): (7,)}


def test_a_dead_head(tmp_path: Path) -> None:
    values = llama(1)
    values["model.layers.0.self_attn.o_proj.weight"][:, 2 * DIM : 3 * DIM] = 0
    result = of(tmp_path, values)
    head = result.summary["heads"][2]
    assert head.ov_norm == 0
    assert head.ov_effective_rank is head.copying is None
    assert set(ids(result)) == {"NU-DEAD", "NU-DEAD-HEAD"}
    assert json.loads(result.to_json())["summary"]["heads"][2]["copying"] is None


def test_extreme_weights_by_place(tmp_path: Path) -> None:
    values = llama(1)
    name = f"{MLP}.down_proj.weight"
    values[name][30, 71] = -1.0
    result = of(tmp_path, values)
    one = record(result, name)
    assert (one.extreme_row, one.extreme_column, one.extreme_value) == (30, 71, -1.0)
    wide = values[name].astype(np.float64)
    assert one.extreme_z == pytest.approx((-1 - wide.mean()) / wide.std(), rel=1e-9)
    assert one.extreme_z_noise == pytest.approx(farthest(wide.size))
    candidate = result.summary["super_weights"][0]
    rows, columns = (np.linalg.norm(wide, axis=axis) for axis in (1, 0))
    expected = rows[30] / np.median(rows) * columns[71] / np.median(columns)
    assert candidate.score == pytest.approx(abs(one.extreme_z) * expected, rel=1e-9)
    assert ids(result) == ["NU-SUPER-WEIGHT"]


def test_the_most_extreme_are_those_of_a_full_sort(tmp_path: Path) -> None:
    result = of(tmp_path, llama(2))
    extremes = result.summary["extremes"]
    values = llama(2)
    for name, array in values.items():
        mine = [(e.row, e.column) for e in extremes if e.name == name]
        apart = np.abs(array.astype(np.float64) - array.mean(dtype=np.float64))
        order = np.argsort(-apart, axis=None, kind="stable")[: len(mine)]
        assert mine == [divmod(int(i), array.shape[1]) for i in order]


@pytest.mark.parametrize(
    ("count", "reference"), [(1e4, 3.98), (1e6, 4.96), (1e7, 5.39), (1e8, 5.79)]
)
def test_how_far_chance_reaches(count: float, reference: float) -> None:
    assert farthest(int(count)) == pytest.approx(reference, abs=0.01)
    assert farthest(int(count)) == pytest.approx(norm.ppf((1 + 2 ** (-1 / count)) / 2), abs=1e-6)


def test_published_super_weights() -> None:
    assert len(SUPER_WEIGHTS) == 22
    assert published(2, 3968, 7003, (4096, 11008)) == ("llama-7B",)
    assert published(1, 2070, 7310, (4096, 14336)) == ("Mistral-7B-v0.1",)
    assert published(1, 2070, 7310, (4096, 11008)) == ()
    assert published(None, 0, 0, (1, 1)) == ()
    for weight in SUPER_WEIGHTS:
        assert 0 <= weight.row < weight.rows
        assert 0 <= weight.column < weight.columns


def test_a_published_super_weight_is_known_again(tmp_path: Path) -> None:
    """The matrix of OLMo-1B's shape, in bfloat16, with larger weights elsewhere."""
    values = np.random.default_rng(0).normal(0, 0.02, (2048, 8192)).astype(np.float32)
    values[1764, 1710] = 0.2
    values[np.arange(8), np.arange(8)] = 0.3  # none of the farthest five is the published one
    folder = tmp_path / "m"
    folder.mkdir()
    name = "model.layers.1.mlp.down_proj.weight"
    write_file(folder / "model.safetensors", {name: stored("BF16", bf16(values))})
    (folder / "config.json").write_text(json.dumps({**CONFIG, "model_type": "olmo"}))
    result = neurons(open_checkpoint(folder))
    known = [one for one in result.summary["super_weights"] if one.published]
    assert [(k.row, k.column, k.published) for k in known] == [(1764, 1710, ("OLMo-1B-0724",))]
    assert any("OLMo-1B-0724" in f.statement for f in result.findings)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_none_costs_one_matrix(value: float, tmp_path: Path) -> None:
    values = llama(1)
    values[f"{MLP}.up_proj.weight"][1, 2] = value
    result = of(tmp_path, values)
    assert len(result) == 6
    assert result.summary["units"] == ()
    assert [s.name for s in result.coverage.skipped] == [f"{MLP}.up_proj.weight"]
    assert ids(result) == ["NU-SKIPPED"]


def test_hostile_names_are_shown_plain(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.down_proj\u202e\x1b[31m.weight"
    result = of(tmp_path, {name: np.zeros((8, 8), dtype=np.float32)})
    assert result[0].name == name
    told = [f for f in result.findings if f.id.startswith("NU-")]
    assert told
    for finding in told:
        assert "\x1b" not in finding.where + finding.statement
        assert "\u202e" not in finding.where + finding.statement


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_tiny_matrices(shape: tuple[int, int], tmp_path: Path) -> None:
    array = np.arange(1, 1 + shape[0] * shape[1], dtype=np.float32).reshape(shape)
    result = of(tmp_path, {"model.layers.0.mlp.down_proj.weight": array})
    assert (result[0].rows, result[0].columns) == shape
    assert (result[0].extreme_z is None) == (shape == (1, 1))


def test_progress_counts_everything_once_and_can_end_the_work(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "m", llama(2)))
    seen: list[tuple[int, int]] = []
    neurons(checkpoint, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == [(i, 16) for i in range(1, 17)]

    def stop(done: int, _total: int, _name: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        neurons(checkpoint, progress=stop)


def test_same_records_with_any_number_of_workers(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "m", llama(2)))
    first, second = (neurons(checkpoint, workers=workers) for workers in (1, 4))
    assert first.records == second.records
    assert first.summary == second.summary


def test_where_asks_for_some(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "m", llama(2)))
    result = neurons(checkpoint, where=r"layers\.1\.mlp")
    assert len(result) == 3
    assert result.summary["heads"] == ()
    assert len(result.summary["units"]) == 1
