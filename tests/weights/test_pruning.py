"""What pruning would take from whole checkpoints, against sorting their weights."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from inspector.weights import gaussian
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.curves import GRID
from inspector.weights.matrices import load, matrices
from inspector.weights.pruning import SPARSITIES, PrunedMatrix, prune
from tests.weights.build import bf16, stored, write_file

FIELDS = {0.1: "energy_10", 0.25: "energy_25", 0.5: "energy_50", 0.7: "energy_70", 0.9: "energy_90"}
Q = "model.layers.{}.self_attn.q_proj.weight"
NORM = "model.layers.{}.input_layernorm.weight"


def in_dtype(dtype: str, values: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    if dtype == "BF16":
        return dtype, values.shape, bf16(values).tobytes()
    return stored(dtype, values.astype({"F16": "f2", "F32": "f4", "F64": "f8"}[dtype]))


def as_read(dtype: str, values: np.ndarray) -> np.ndarray:
    if dtype == "BF16":
        return (bf16(values).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.astype({"F16": "f2", "F32": "f4", "F64": "f8"}[dtype]).astype(np.float64)


def save(folder: Path, tensors: dict[str, np.ndarray], dtype: str = "F32", family: str = "llama"):
    write_file(
        folder / "model.safetensors", {name: in_dtype(dtype, x) for name, x in tensors.items()}
    )
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    return prune(open_checkpoint(folder))


def lost_at(values: np.ndarray, sparsity: float) -> float:
    """Energy of the smallest weights by sorting; the number of them is whole."""
    squares = np.sort(values.astype(np.float64).ravel() ** 2)
    count = sparsity * len(squares)
    assert count == pytest.approx(round(count))
    return math.fsum(squares[: round(count)]) / math.fsum(squares)


def gaussian_matrix(rows: int, columns: int, seed: int = 0, std: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, std, (rows, columns))


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_a_gaussian_matrix_loses_what_is_published(dtype, tmp_path):
    values = gaussian_matrix(1000, 2000)
    (record,) = save(tmp_path, {Q.format(0): values}, dtype)
    assert (record.name, record.layer, record.role) == (Q.format(0), 0, "q")
    assert (record.rows, record.columns) == (1000, 2000)
    assert record.zeros == (as_read(dtype, values) == 0).sum()
    for sparsity, field in FIELDS.items():
        energy = getattr(record, field)
        assert energy == pytest.approx(lost_at(as_read(dtype, values), sparsity), rel=1e-12)
        assert energy == pytest.approx(getattr(record, f"{field}_noise"), abs=1e-3)
    assert record.cost_2_4 == pytest.approx(0.1324, abs=1e-3)
    assert record.cost_4_8 == pytest.approx(0.1033, abs=1e-3)
    assert record.sparsity_1pct == pytest.approx(record.sparsity_1pct_noise, abs=2e-3)
    assert record.threshold_50 == pytest.approx(record.threshold_50_noise, rel=5e-3)
    assert record.threshold_90 == pytest.approx(record.threshold_90_noise, rel=5e-3)
    assert record.threshold_50_noise == pytest.approx(0.6745 * 0.02, rel=5e-3)
    assert (record.nm_2_4, record.row_2_4, record.column_2_4) == (False, 0, 0)


def pruned_2_4(values: np.ndarray, axis: int = 1) -> np.ndarray:
    """The two smallest of each four along an axis set to zero."""
    moved = np.moveaxis(values.copy(), axis, -1)
    groups = moved.reshape(-1, 4)
    np.put_along_axis(groups, np.argsort(np.abs(groups), axis=1)[:, :2], 0.0, axis=1)
    return np.moveaxis(groups.reshape(moved.shape), -1, axis)


def test_a_matrix_that_follows_2_4_costs_nothing(tmp_path):
    found = save(tmp_path, {Q.format(0): pruned_2_4(gaussian_matrix(64, 256))})
    (record,) = found
    assert (record.nm_2_4, record.kept_2_4, record.row_2_4, record.column_2_4) == (
        True,
        1,
        None,
        None,
    )
    assert (record.nm_4_8, record.cost_2_4, record.cost_4_8) == (True, 0, 0)
    assert record.zero_fraction == 0.5
    assert record.kept_2_4_random == pytest.approx(11 / 16, abs=1e-3)
    (told,) = [f for f in found.findings if f.id.startswith("PR-")]
    assert (told.id, told.where) == ("PR-NM", Q.format(0))


def test_one_violated_group_is_located(tmp_path):
    values = pruned_2_4(gaussian_matrix(64, 256))
    values[37, 100:104] = 1.0
    found = save(tmp_path, {Q.format(0): values})
    (record,) = found
    assert (record.nm_2_4, record.row_2_4, record.column_2_4) == (False, 37, 100)
    assert record.kept_2_4 == 1 - 1 / (64 * 64)
    assert record.cost_2_4 == pytest.approx(2 / (values.astype(np.float32) ** 2).sum(), rel=1e-4)
    (told,) = [f for f in found.findings if f.id.startswith("PR-")]
    assert told.id == "PR-NM-BROKEN"
    assert told.evidence == {"broken": 1, "groups": 4096, "first": [37, 100]}


def test_patterns_lie_along_the_inputs_whatever_the_file_holds(tmp_path):
    """GPT-2 stores [in, out]: its groups run down the rows of the file."""
    weight = pruned_2_4(gaussian_matrix(64, 256), axis=0)
    names = {"h.0.mlp.c_fc.weight": weight, "h.0.attn.c_attn.weight": gaussian_matrix(64, 192)}
    found = save(tmp_path, names, family="gpt2")
    by_name = {r.name: r for r in found}
    up = by_name["h.0.mlp.c_fc.weight"]
    assert (up.rows, up.columns, up.nm_2_4, up.cost_2_4) == (256, 64, True, 0)
    assert {r.role for r in found} == {"q", "k", "v", "up"}


def test_chance_makes_no_pattern(tmp_path):
    """Of very sparse matrices nearly all groups fit: that is no finding."""
    values = gaussian_matrix(256, 256)
    values[np.random.default_rng(0).random(values.shape) < 0.96] = 0
    found = save(tmp_path, {Q.format(0): values})
    assert found[0].kept_2_4 > 0.985
    assert found[0].kept_2_4 == pytest.approx(found[0].kept_2_4_random, abs=2e-3)
    assert [f.id for f in found.findings if f.id.startswith("PR-")] == []


def test_the_structure_of_zeros_is_set_against_chance(tmp_path):
    values = gaussian_matrix(64, 128)
    values[5] = values[:, 7] = 0
    values[16:32, 32:48] = 0
    (record,) = save(tmp_path, {Q.format(0): values})
    assert record.zeros == 128 + 64 + 256 - 1 - 0
    assert (record.zero_rows, record.zero_columns, record.zero_blocks) == (1, 1, 1)
    random = (record.zero_rows_random, record.zero_columns_random, record.zero_blocks_random)
    assert max(random) < 1e-30


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_groups_are_what_sorting_all_their_weights_gives(dtype, tmp_path):
    tensors = {
        Q.format(0): gaussian_matrix(20, 200, 0, 0.02),
        Q.format(1): gaussian_matrix(30, 200, 1, 0.1),
        "model.layers.1.mlp.down_proj.weight": gaussian_matrix(20, 400, 2, 0.01) ** 3 * 1e4,
        "model.embed_tokens.weight": gaussian_matrix(50, 200, 3, 1.0),
    }
    found = save(tmp_path, tensors, dtype)
    read = {name: as_read(dtype, values) for name, values in tensors.items()}
    members = {
        ("model", None, None): list(read),
        ("blocks", None, None): list(read)[:3],
        ("layer", 0, None): list(read)[:1],
        ("layer", 1, None): list(read)[1:3],
        ("layer", None, None): list(read)[3:],
        ("role", None, "q"): list(read)[:2],
        ("role", None, "down"): list(read)[2:3],
        ("role", None, "embedding"): list(read)[3:],
    }
    groups = {(g.by, g.layer, g.role): g for g in found.summary["groups"]}
    assert groups.keys() == members.keys()
    noise = gaussian.energy_lost(np.array(GRID))
    for key, names in members.items():
        group, parts = groups[key], [read[name] for name in names]
        total = sum((part**2).sum() for part in parts)
        whole = np.concatenate([part.ravel() for part in parts])
        assert (group.matrices, group.parameters) == (len(parts), len(whole))
        assert group.energy == pytest.approx(total, rel=1e-12)
        assert group.energy_error == 0 if dtype == "BF16" else group.energy_error < 1e-5
        for i, sparsity in enumerate(GRID):
            exact = lost_at(whole, sparsity)
            assert exact - 1e-14 <= group.energy_global[i] <= exact + group.energy_error + 1e-14
            uniform = sum(lost_at(part, sparsity) * (part**2).sum() for part in parts) / total
            assert group.energy_uniform[i] == pytest.approx(uniform, rel=1e-12, abs=1e-18)
            assert group.energy_global[i] <= group.energy_uniform[i] + group.energy_error + 1e-14
            cut = np.sort(np.abs(whole))[max(math.ceil(sparsity * len(whole) - 1e-9) - 1, 0)]
            wide = 0 if dtype == "BF16" else 2**-10
            assert cut * (sparsity > 0) <= group.thresholds[i] <= cut * (1 + wide)
        np.testing.assert_allclose(group.energy_noise, noise)
        if len(parts) == 1:
            np.testing.assert_allclose(group.energy_global_noise, noise, atol=1e-9)
    scales = groups["role", None, "q"]  # Gaussians, one five times the other
    assert scales.energy_global_noise[10] < 0.7 * scales.energy_noise[10]
    assert scales.energy_global[10] == pytest.approx(scales.energy_global_noise[10], rel=0.05)


def test_a_norm_of_zeros_that_means_one_changes_no_order(tmp_path):
    """Gemma stores gain - 1: zeros are the identity, and as good as ones in Llama."""
    values = gaussian_matrix(32, 64)
    found = {}
    for family, gains in (("gemma", 0.0), ("llama", 1.0), ("gemma", 1.0)):
        folder = tmp_path / f"{family}{gains}"
        folder.mkdir()
        norms = {NORM.format(0): np.full(64, gains), "model.norm.weight": np.ones(64)}
        (found[family, gains],) = save(folder, {Q.format(0): values, **norms}, family=family)
    identity, ones = found["gemma", 0.0], found["llama", 1.0]
    assert identity == ones
    assert identity.norm == NORM.format(0)
    assert identity.no_norm is None
    assert identity.energy_50_proxy == identity.energy_50_rows
    assert identity.output_50_proxy == identity.output_50_rows
    assert identity.output_50_rows == pytest.approx(identity.energy_50_rows, rel=1e-12)
    assert found["gemma", 1.0].output_50_rows == pytest.approx(identity.output_50_rows, rel=1e-12)


def test_gains_change_what_goes(tmp_path):
    values = gaussian_matrix(32, 64).astype(np.float32)
    gains = np.random.default_rng(1).lognormal(0, 1, 64).astype(np.float32)
    norms = {NORM.format(0): gains, "model.norm.weight": np.ones(64)}
    (record,) = save(tmp_path, {Q.format(0): values, **norms})
    squares = values.astype(np.float64) ** 2
    goes = np.argsort(np.abs(values) * gains, axis=1)[:, :32]
    lost = np.take_along_axis(squares, goes, axis=1).sum() / squares.sum()
    assert record.energy_50_proxy == pytest.approx(lost, rel=1e-12)
    assert record.energy_50_proxy > record.energy_50_rows
    assert record.output_50_proxy < record.output_50_rows


def test_a_post_norm_model_has_no_proxy_and_says_why(minilm):
    found = prune(open_checkpoint(minilm), where=r"layer\.0\.")
    assert len(found) == 6
    for record in found:
        assert record.energy_50_proxy is None
        assert ("post-norm" in record.no_norm) == (record.role in ("q", "k", "v", "up"))


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("mixtral", {"expert_gate": 8, "expert_up": 8, "expert_down": 8, "router": 2}),
        ("gpt_oss", {"expert_gate": 8, "expert_up": 8, "expert_down": 8, "router": 2}),
        ("phi3", {"q": 2, "k": 2, "v": 2, "gate": 2, "up": 2}),
    ],
)
def test_experts_and_parts_are_matrices_of_their_own(name, roles, make):
    checkpoint = open_checkpoint(make(name).folder)
    found = prune(checkpoint)
    assert found.coverage.tensors_measured + len(found.coverage.skipped) == len(checkpoint.tensors)
    for role, count in roles.items():
        assert sum(r.role == role for r in found) == count
    with checkpoint.reader() as reader:
        for matrix, record in zip(matrices(checkpoint)[0], found, strict=True):
            values = np.asarray(load(matrix, reader))
            assert (record.name, record.rows, record.columns) == (matrix.name, *values.shape)
            assert record.energy_50 == pytest.approx(lost_at(values, 0.5), rel=1e-12)


def test_minilm(minilm):
    found = prune(open_checkpoint(minilm))
    values = load_file(minilm / "model.safetensors")
    assert len(found) == 40
    assert found.coverage.tensors_total == 104
    assert found.coverage.parameters_measured == sum(
        v.size for v in values.values() if v.ndim == 2 and v.dtype == np.float32
    )
    assert {s.reason for s in found.coverage.skipped} and len(found.coverage.skipped) == 64
    for record in list(found)[3:9]:
        for sparsity, field in FIELDS.items():
            squares = np.sort(values[record.name].astype(np.float64).ravel() ** 2)
            sums = np.concatenate([[0], np.cumsum(squares)])
            want = np.interp(sparsity * len(squares), np.arange(len(sums)), sums) / sums[-1]
            assert getattr(record, field) == pytest.approx(want, rel=1e-9)
    model = found.summary["groups"][0]
    assert (model.by, model.matrices) == ("model", 40)
    assert model.energy_error < 1e-6
    json.loads(found.to_json())
    assert list(found.to_frame().columns[:3]) == ["name", "layer", "role"]


def test_the_order_and_number_of_workers_change_nothing(minilm):
    checkpoint = open_checkpoint(minilm)
    one, four = (prune(checkpoint, where="layer.[01]", workers=n) for n in (1, 4))
    assert one.records == four.records
    assert one.summary == four.summary


def test_what_cannot_be_measured_is_named_and_costs_no_other_its_record(tmp_path):
    values = gaussian_matrix(8, 16)
    broken = values.copy()
    broken[3, 5] = np.nan
    endless = values.copy()
    endless[2, 1] = -np.inf
    tensors = {
        Q.format(0): values,
        Q.format(1): broken,
        Q.format(2): np.zeros((8, 16)),
        Q.format(3): values * 1e200,
        "a\nb": endless,
        "model.norm.weight": np.ones(16),
    }
    found = save(tmp_path, tensors, "F64")
    assert [r.name for r in found] == [Q.format(0), Q.format(2)]
    reasons = {s.name: s.reason for s in found.coverage.skipped}
    assert set(reasons) == {Q.format(1), Q.format(3), "a\\x0ab", "model.norm.weight"}
    assert "NaN" in reasons[Q.format(1)] and "[3, 5]" in reasons[Q.format(1)]
    assert "infinite" in reasons["a\\x0ab"] and "[2, 1]" in reasons["a\\x0ab"]
    told = {f.where: f.id for f in found.findings if f.id.startswith(("WT-", "PR-"))}
    assert told == {
        Q.format(1): "WT-NAN",
        "a\\x0ab": "WT-INF",
        Q.format(3): "WT-RANGE",
        Q.format(2): "PR-NOENERGY",
    }
    nothing = found[1]
    assert nothing.zero_fraction == 1
    assert nothing.zero_rows == nothing.zero_rows_random == 8
    for field in (*FIELDS.values(), "sparsity_1pct", "cost_2_4", "cost_4_8", "output_50_proxy"):
        assert getattr(nothing, field) is None
    dead = next(g for g in found.summary["groups"] if g.layer == 2)
    assert (dead.energy_global, dead.energy_uniform, dead.sparsity_1pct) == (None, None, None)
    model = found.summary["groups"][0]
    assert (model.parameters, model.zeros) == (256, 128)
    assert model.energy_global[10] == 0
    assert found.coverage.tensors_measured == 2
    json.loads(found.to_json())


def test_progress_and_an_empty_choice(tmp_path):
    save(tmp_path, {Q.format(0): gaussian_matrix(4, 4), Q.format(1): gaussian_matrix(4, 4)})
    seen = []
    found = prune(
        open_checkpoint(tmp_path), where=r"layers\.1", progress=lambda *at: seen.append(at)
    )
    assert seen == [(1, 1, Q.format(1))]
    assert [g.by for g in found.summary["groups"]] == ["model", "blocks", "layer", "role"]
    nothing = prune(open_checkpoint(tmp_path), where="no such tensor")
    assert (len(nothing), nothing.summary["groups"]) == (0, [])


def test_every_number_about_energy_has_its_reference():
    fields = set(PrunedMatrix.__dataclass_fields__)
    assert set(FIELDS) == set(SPARSITIES)
    for field in (*FIELDS.values(), "sparsity_1pct", "cost_2_4", "cost_4_8", "threshold_50"):
        assert f"{field}_noise" in fields
