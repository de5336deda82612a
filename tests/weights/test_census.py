"""The census adds up: every population is that of its tensors taken together."""

import dataclasses
import json
import math

import numpy as np
import pytest

from inspector.weights.census import Census, GroupStatistics
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.scan import Scan, scan
from inspector.weights.tally import tally_counts
from tests.weights import reference
from tests.weights.build import Stored, bf16, random_bytes, stored, write_file

LAYERS = 8
CONFIG = {"model_type": "llama", "num_hidden_layers": LAYERS, "hidden_size": 16}


def llama(dtype: str, seed: int = 0) -> dict[str, Stored]:
    """A small model of the usual names, with a bias, a buffer and a scale."""
    rng = np.random.default_rng(seed)

    def drawn(std: float, *shape: int, centre: float = 0.0) -> Stored:
        x = rng.normal(centre, std, shape).astype(np.float32)
        return ("BF16", shape, bf16(x).tobytes()) if dtype == "BF16" else stored("F32", x)

    made = {"model.embed_tokens.weight": drawn(0.05, 50, 16)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        made[f"{layer}.self_attn.q_proj.weight"] = drawn(0.02, 16, 16)
        made[f"{layer}.self_attn.q_proj.bias"] = drawn(0.2, 16)
        made[f"{layer}.self_attn.o_proj.weight"] = drawn(0.02, 16, 16)
        made[f"{layer}.self_attn.rotary_emb.inv_freq"] = drawn(0.0, 4, centre=1e6)
        made[f"{layer}.mlp.up_proj.weight"] = drawn(0.03, 64, 16)
        made[f"{layer}.mlp.up_proj.weight_scale_inv"] = drawn(0.0, 1, 1, centre=1e6)
        made[f"{layer}.input_layernorm.weight"] = drawn(0.01, 16, centre=1.0)
    made["model.norm.weight"] = drawn(0.01, 16, centre=1.0)
    return made


def scanned(folder, tensors: dict[str, Stored]) -> Scan:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    write_file(folder / "model.safetensors", tensors)
    return scan(open_checkpoint(folder))


def members(result: Scan, group: GroupStatistics) -> list[str]:
    """Names of the tensors a group is of, by their own records."""
    asked = {
        "model": (),
        "kind": ("kind",),
        "role": ("role",),
        "layer": ("layer",),
        "layer and kind": ("layer", "kind"),
    }[group.by]
    return [
        record.name
        for record in result
        if record.kind not in ("buffer", "scale")
        and all(getattr(record, field) == getattr(group, field) for field in asked)
    ]


@pytest.fixture(scope="module", params=["BF16", "F32", "mixed"])
def model(request, tmp_path_factory) -> tuple[Scan, dict[str, Stored]]:
    tensors = llama("F32" if request.param == "F32" else "BF16")
    if request.param == "mixed":
        for name, tensor in llama("F32", seed=1).items():
            if "up_proj" in name:
                tensors[name] = tensor
        x = np.frombuffer(tensors["model.norm.weight"][2], np.uint16).copy()
        x[:3] = 0x7FC0, 0x7F80, 0x0001  # NaN, infinity, a subnormal
        tensors["model.norm.weight"] = stored("BF16", x)
        tensors["model.layers.0.mlp.down_proj.weight"] = (
            "F8_E4M3",
            (16, 64),
            random_bytes("F8_E4M3", 1024),
        )
    return scanned(tmp_path_factory.mktemp("model") / "m", tensors), tensors


def test_every_population_is_that_of_its_tensors(model):
    result, tensors = model
    for group in result.summary["census"]:
        names = members(result, group)
        assert len(names) == group.tensors > 0
        every = np.concatenate([reference.values(tensors[n][0], tensors[n][2]) for n in names])
        x = every[np.isfinite(every)]
        assert group.parameters == len(every)
        assert group.bytes == sum(len(tensors[n][2]) for n in names)
        assert group.zeros == (x == 0).sum()
        assert group.nan == np.isnan(every).sum()
        assert group.inf == np.isinf(every).sum()
        records = {record.name: record for record in result}
        assert group.subnormals == sum(records[n].subnormals for n in names)
        assert (group.min, group.max) == (x.min(), x.max())
        for field, want in reference.moments(x).items():
            close = pytest.approx(
                want, rel=1e-12, abs=1e-12 if field in ("skewness", "kurtosis") else 1e-17
            )
            assert getattr(group, field) == close, field
        quantiles = np.quantile(x, reference.LEVELS, method="inverted_cdf")
        assert group.quantile_error is not None
        if all(tensors[n][0] != "F32" for n in names):
            assert group.quantile_error == 0
        for field, want in zip(reference.FIELDS, quantiles.tolist(), strict=True):
            assert abs(getattr(group, field) - want) <= group.quantile_error, field
        assert group.quantile_error <= 2.0**-8 * np.abs(quantiles).max()


def test_populations_add_up_to_the_model(model):
    result, _ = model
    census = result.summary["census"]
    (whole,) = (group for group in census if group.by == "model")
    assert whole.share == 1.0
    assert whole.parameters == sum(
        r.parameters for r in result if r.kind not in ("buffer", "scale")
    )
    for by in ("kind", "role", "layer", "layer and kind"):
        groups = [group for group in census if group.by == by]
        assert math.fsum(group.share for group in groups) == pytest.approx(1.0, abs=1e-12)
        for field in ("tensors", "parameters", "bytes", "zeros", "nan", "inf", "subnormals"):
            assert sum(getattr(group, field) for group in groups) == getattr(whole, field), (
                by,
                field,
            )
    assert {group.kind for group in census if group.by == "kind"} == {
        "weight",
        "bias",
        "norm",
        "embedding",
    }
    assert {group.layer for group in census if group.by == "layer"} == {*range(LAYERS), None}


def test_a_second_name_of_a_matrix_is_counted_once(tmp_path):
    write_file(tmp_path / "model.safetensors", llama("BF16"))
    checkpoint = open_checkpoint(tmp_path)
    census = Census()
    counts = np.bincount([0, 1, 0x3F80], minlength=1 << 16).astype(np.uint64)
    entry, other, *_ = checkpoint.tensors
    placement = checkpoint.architecture.placements[entry.name]
    census.add(entry, placement, tally_counts("BF16", counts))
    alias = dataclasses.replace(placement, name=other.name, alias_of=entry.name)
    census.add(other, alias, tally_counts("BF16", counts))
    whole, *_ = census.records()
    assert (whole.tensors, whole.parameters) == (1, 3)


def test_an_empty_census_has_nothing_to_say(tmp_path):
    result = scanned(tmp_path / "m", {"w": ("F32", (0, 3), b"")})
    for group in result.summary["census"]:
        assert (group.parameters, group.share) == (0, 0.0)
        assert group.mean is group.min is group.q50 is group.quantile_error is None
    assert json.loads(result.to_json())["summary"]["stand_outs"] == []


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_stands_out_among_tensors_alike(dtype, seed, tmp_path):
    result = scanned(tmp_path / "m", llama(dtype, seed))
    assert result.summary["stand_outs"] == []


@pytest.mark.parametrize("factor", [8, 1 / 8])
def test_a_tensor_of_another_size_stands_out(factor, tmp_path):
    tensors = llama("F32")
    name = "model.layers.3.mlp.up_proj.weight"
    x = np.frombuffer(tensors[name][2], np.float32).reshape(64, 16)
    tensors[name] = stored("F32", x * np.float32(factor))
    result = scanned(tmp_path / "m", tensors)
    (far,) = result.summary["stand_outs"]
    assert (far.name, far.layer, far.role, far.measure) == (name, 3, "up", "rms")
    assert far.value / far.median == pytest.approx(factor, rel=0.1)
    assert far.peers == LAYERS - 1
    assert far.distance > 5
    assert [f.where for f in result.findings if f.id == "WT-OUTLIER"] == [name]


def test_a_tensor_with_one_huge_value_stands_out(tmp_path):
    tensors = llama("F32")
    name = "model.layers.5.self_attn.o_proj.weight"
    x = np.frombuffer(tensors[name][2], np.float32).reshape(16, 16).copy()
    x[4, 7] = 3.0
    tensors[name] = stored("F32", x)
    far = scanned(tmp_path / "m", tensors).summary["stand_outs"]
    assert {one.name for one in far} == {name}
    assert "abs_max / rms" in {one.measure for one in far}


def test_among_peers_that_are_all_alike_the_distance_has_no_unit(tmp_path):
    tensors = llama("F32")
    for i in range(LAYERS):
        x = np.full(16, 1.0 if i else 4.0, np.float32)
        tensors[f"model.layers.{i}.input_layernorm.weight"] = stored("F32", x)
    result = scanned(tmp_path / "m", tensors)
    (far,) = result.summary["stand_outs"]
    assert (far.layer, far.value, far.median, far.distance) == (0, 4.0, 1.0, None)
    assert "RT-NONFINITE" not in result.to_json()


def test_few_peers_tell_nothing(tmp_path):
    tensors = {name: t for name, t in llama("F32").items() if "layers.4" not in name}
    few = {
        name: t for name, t in tensors.items() if not any(f"layers.{i}." in name for i in (5, 6, 7))
    }
    name = "model.layers.0.mlp.up_proj.weight"
    few[name] = stored("F32", np.frombuffer(few[name][2], np.float32).reshape(64, 16) * 100)
    assert scanned(tmp_path / "m", few).summary["stand_outs"] == []
