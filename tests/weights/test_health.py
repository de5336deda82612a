"""Each rule fails on the defect it is for, where it is, and on nothing else; passes are listed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import transformers
from weights import tiny_models

from inspector.errors import BadOption
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.config_check import disagreements
from inspector.weights.health import health
from inspector.weights.health_rules import RULES
from inspector.weights.problems import PROBLEMS, SHOWN_PER_ID
from tests.weights.build import stored, write_file

LAYERS, WIDTH, INNER, WORDS = 5, 48, 96, 120
CONFIG = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": WORDS,
    "tie_word_embeddings": False,
    "dtype": "float32",
}
Arrays = dict[str, np.ndarray]


def trained(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Heavy tails and a few strong directions: no fresh draw looks so."""
    directions = rng.standard_normal((rows, 5)) @ rng.standard_normal((5, columns))
    return 0.02 * rng.standard_t(9, (rows, columns)) + 0.006 * directions


def sound() -> Arrays:
    rng = np.random.default_rng(0)
    arrays: Arrays = {"model.embed_tokens.weight": trained(rng, WORDS, WIDTH)}
    for layer in range(LAYERS):
        block = f"model.layers.{layer}."
        for name in "qkvo":
            arrays[f"{block}self_attn.{name}_proj.weight"] = trained(rng, WIDTH, WIDTH)
        for name in ("gate", "up"):
            arrays[f"{block}mlp.{name}_proj.weight"] = trained(rng, INNER, WIDTH)
        arrays[f"{block}mlp.gate_proj.bias"] = 0.01 * rng.standard_normal(INNER)
        arrays[f"{block}mlp.down_proj.weight"] = trained(rng, WIDTH, INNER)
        for name in ("input", "post_attention"):
            arrays[f"{block}{name}_layernorm.weight"] = 1 + 0.1 * rng.standard_normal(WIDTH)
    arrays["model.norm.weight"] = 1 + 0.1 * rng.standard_normal(WIDTH)
    arrays["lm_head.weight"] = trained(rng, WORDS, WIDTH)
    return arrays


def write(folder: Path, arrays: Arrays, config: dict | None = None, dtype: str = "F32") -> Path:
    kinds = {"F32": np.float32, "F16": np.float16}
    tensors = {name: stored(dtype, x.astype(kinds[dtype])) for name, x in arrays.items()}
    write_file(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config or CONFIG))
    return folder


def failures(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for record in health(open_checkpoint(folder)):
        if not record.passed:
            found.setdefault(record.id, []).append(record.where)
    return found


UP, GATE, DOWN = (f"model.layers.2.mlp.{n}_proj.weight" for n in ("up", "gate", "down"))
HEAD, TABLE = "lm_head.weight", "model.embed_tokens.weight"
Q = "model.layers.3.self_attn.q_proj.weight"


def at(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    def plant(arrays: Arrays) -> None:
        arrays[name] = change(arrays[name])

    return plant


def put(name: str, index: object, value: object) -> Callable[[Arrays], None]:
    def plant(arrays: Arrays) -> None:
        arrays[name][index] = value

    return plant


def fresh(x: np.ndarray) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.02, x.shape)


def low_rank(x: np.ndarray) -> np.ndarray:
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    return (left[:, :20] * singular[:20]) @ right[:20]


# defect: (rule, where, how it is planted)
DEFECTS: dict[str, tuple[str, str, Callable[[Arrays], None]]] = {
    "NaN": ("HL-FINITE", UP, put(UP, (3, 4), np.nan)),
    "infinite": ("HL-FINITE", "model.norm.weight", put("model.norm.weight", 3, np.inf)),
    "all zero": ("HL-DEAD", UP, at(UP, np.zeros_like)),
    "a zero column": ("HL-UNITS", DOWN, put(DOWN, (slice(None), 7), 0.0)),
    "a repeated row": ("HL-COPIES", UP, at(UP, lambda x: np.vstack([x[:-1], x[:1]]))),
    "a constant matrix": ("HL-SYMMETRY", Q, at(Q, lambda x: np.full_like(x, 0.03))),
    "drawn anew": ("HL-UNTRAINED", HEAD, at(HEAD, fresh)),
    "padded rows": ("HL-ROWS", TABLE, put(TABLE, slice(110, None), 0.0)),
    "too large": ("HL-SCALE", DOWN, at(DOWN, lambda x: 5 * x)),
    "too small": ("HL-SCALE", DOWN, at(DOWN, lambda x: x / 5)),
    "a rank lost": ("HL-RANK", Q, at(Q, low_rank)),
    "beyond fp16": ("HL-OVERFLOW", Q, put(Q, (0, 0), 7e4)),
    "a large bias": (
        "HL-BIAS",
        "model.layers.2.mlp.gate_proj.bias",
        at("model.layers.2.mlp.gate_proj.bias", lambda x: 300 * x),
    ),
    "saturated units": (
        "HL-SATURATED",
        GATE,
        at("model.layers.2.mlp.gate_proj.bias", lambda x: 300 * x),
    ),
    "an extreme weight": ("HL-SUPERWEIGHT", DOWN, put(DOWN, (5, 9), 9.0)),
}


def test_a_sound_model_passes_every_rule(tmp_path: Path) -> None:
    found = health(open_checkpoint(write(tmp_path, sound())))
    assert {r.id for r in found if not r.passed} == set()
    assert [r.id for r in found] == [rule.id for rule in RULES]
    assert found.findings == ()
    assert found.summary["passed"] == len(RULES) == found.summary["rules"]
    assert found.summary["measured"]["scan"]["tensors"] == len(sound())


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_found_where_it_is(defect: str, tmp_path: Path) -> None:
    rule, where, plant = DEFECTS[defect]
    arrays = sound()
    plant(arrays)
    found = failures(write(tmp_path, arrays))
    assert where in found.get(rule, []), found
    assert all(where in place or "layers" in place for place in found[rule])


def test_large_matrices_with_outliers_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = 0.02 * rng.standard_normal((128, 128))
    values[3, 5] = 1.0
    found = failures(write(tmp_path, {"model.layers.0.mlp.down_proj.weight": values}))
    assert found["HL-KURTOSIS"] == ["model.layers.0.mlp.down_proj.weight"]


def test_a_matrix_of_one_direction_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sides = [v / np.linalg.norm(v) for v in rng.standard_normal((2, 256))]
    values = 0.02 * rng.standard_normal((256, 256)) + 20 * np.outer(*sides)
    found = failures(write(tmp_path, {UP: values}))
    assert found["HL-DIRECTION"] == [UP]
    assert "HL-RANK" not in found


def test_parts_of_one_role_that_differ_in_size_are_no_failure(tmp_path: Path) -> None:
    """Both factors of a low-rank query have the role q, and sizes of their own."""
    arrays = sound()
    for layer in range(LAYERS):
        q = arrays.pop(f"model.layers.{layer}.self_attn.q_proj.weight")
        arrays[f"model.layers.{layer}.self_attn.q_a_proj.weight"] = q[:24] / 5
        arrays[f"model.layers.{layer}.self_attn.q_b_proj.weight"] = q[:, :24] * 5
    assert "HL-SCALE" not in failures(write(tmp_path, arrays))


def test_keys_may_have_large_biases(tmp_path: Path) -> None:
    """Softmax leaves out what is added to all scores: those of Qwen2 are tens of row lengths."""
    arrays = sound()
    for name, size in (("k", 50), ("v", 50)):
        bias = size * np.random.default_rng(0).standard_normal(WIDTH)
        arrays[f"model.layers.2.self_attn.{name}_proj.bias"] = bias
    found = failures(write(tmp_path, arrays))
    assert found == {"HL-BIAS": ["model.layers.2.self_attn.v_proj.bias"]}


def test_what_state_spaces_and_sinusoids_are_made_of_is_sound(tmp_path: Path) -> None:
    arrays = sound()
    for layer in range(LAYERS):
        block = f"model.layers.{layer}.mixer."
        arrays[f"{block}A_log"] = np.log(np.tile(np.arange(1.0, 17), (WIDTH, 1)))
        arrays[f"{block}dt_proj.weight"] = trained(np.random.default_rng(layer), WIDTH, 8)
        arrays[f"{block}dt_proj.bias"] = -5 - np.random.default_rng(layer).random(WIDTH)
    angles = np.arange(200)[:, None] / 10_000 ** (np.arange(WIDTH // 2) * 2 / WIDTH)
    arrays["model.embed_positions.weight"] = np.hstack([np.sin(angles), np.cos(angles)])
    assert failures(write(tmp_path, arrays)) == {}


def test_a_fresh_model_is_told_once_whatever_its_positions(tmp_path: Path) -> None:
    transformers.DistilBertModel(
        transformers.DistilBertConfig(
            vocab_size=100, dim=64, n_layers=2, n_heads=4, hidden_dim=128, sinusoidal_pos_embds=True
        )
    ).save_pretrained(tmp_path)
    assert failures(tmp_path) == {"HL-UNTRAINED": ["checkpoint"]}


def test_the_padding_row_of_the_config_may_be_zero(tmp_path: Path) -> None:
    arrays = sound()
    arrays[TABLE][7] = 0
    assert failures(write(tmp_path, arrays, {**CONFIG, "pad_token_id": 7})) == {}
    assert failures(write(tmp_path, arrays, {**CONFIG, "pad_token_id": 8})) == {"HL-ROWS": [TABLE]}


@pytest.mark.parametrize(("std", "fails"), [(0.02, False), (2e-3, False), (2e-5, True)])
def test_subnormal_values_fail_where_they_cost_most(
    std: float, fails: bool, tmp_path: Path
) -> None:
    """Failing, half precision rounds the matrix worse than twice as badly as larger ones."""
    values = np.random.default_rng(0).normal(0, std, (256, 256))
    found = failures(write(tmp_path, {UP: values}, {"dtype": "float16"}, "F16"))
    error = np.linalg.norm(values.astype(np.float16) - values) / np.linalg.norm(values)
    assert ("HL-SUBNORMAL" in found) == fails == (error > 2 * 0.00021)


def test_half_precision_has_limits_of_its_own(tmp_path: Path) -> None:
    arrays = sound()
    arrays[Q] = arrays[Q] * 1e-5
    arrays[UP][0, 0] = 4e4
    found = failures(write(tmp_path, arrays, {**CONFIG, "dtype": "float16"}, "F16"))
    assert found["HL-SUBNORMAL"] == [Q]
    assert found["HL-OVERFLOW"] == [UP]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"vocab_size": 121}, {TABLE, HEAD}),
        ({"hidden_size": 64}, {Q, UP}),
        ({"intermediate_size": 97}, {UP}),
        ({"dtype": "bfloat16"}, {"config.json"}),
        ({"num_hidden_layers": 7}, {"checkpoint"}),
    ],
)
def test_config_and_weights_that_disagree(change: dict, where: set[str], tmp_path: Path) -> None:
    found = failures(write(tmp_path, sound(), {**CONFIG, **change}))
    assert where <= set(found["HL-CONFIG"])


@pytest.mark.parametrize("name", tiny_models.MODELS)
def test_configs_agree_with_what_transformers_saves(
    name: str, make: Callable[[str], tiny_models.Tiny]
) -> None:
    told = list(disagreements(open_checkpoint(make(name).folder)))
    if name.startswith("falcon"):  # its config here states an inner width that falcon never reads
        assert {evidence["stated"] for _, _, evidence in told} == {48}
    else:
        assert told == []


def test_a_cut_file_fails_and_what_is_left_is_judged(tmp_path: Path) -> None:
    path = write(tmp_path, sound()) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-400])
    found = failures(tmp_path)
    assert {"HL-FILE", "HL-UNREAD"} <= set(found)


def test_codes_without_scales_fail(tmp_path: Path) -> None:
    arrays = sound()
    write(tmp_path, arrays)
    tensors = {name: stored("F32", x.astype(np.float32)) for name, x in arrays.items()}
    codes = np.random.default_rng(0).integers(0, 127, (WIDTH, WIDTH)).astype(np.uint8)
    tensors[Q] = ("F8_E4M3", codes.shape, codes.tobytes())
    write_file(tmp_path / "model.safetensors", tensors)
    assert failures(tmp_path)["HL-SCALES"] == [Q]


def test_failures_are_findings_with_what_to_do(tmp_path: Path) -> None:
    arrays = sound()
    arrays[UP][3, 4] = np.nan
    found = health(open_checkpoint(write(tmp_path, arrays)))
    failed = [record for record in found if not record.passed]
    assert [(f.id, f.where) for f in found.findings] == [(r.id, r.where) for r in failed]
    assert all(f.remedy == PROBLEMS[f.id][1] for f in found.findings)
    json.loads(found.to_json())


def test_many_places_are_counted_not_listed(tmp_path: Path) -> None:
    arrays = {f"model.layers.{i}.mlp.up_proj.weight": np.zeros((4, 4)) for i in range(130)}
    found = [r for r in health(open_checkpoint(write(tmp_path, arrays))) if r.id == "HL-DEAD"]
    assert len(found) == SHOWN_PER_ID + 1
    assert found[-1].statement.startswith("30 more")


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    health(
        open_checkpoint("demo:planted"), progress=lambda done, total, _: seen.append((done, total))
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_demo_and_real_models(minilm: Path) -> None:
    assert failures(Path("demo:planted")) == {}
    found = failures(minilm)
    assert found["HL-UNTRAINED"] == ["pooler.dense.weight"]
    assert set(found) == {"HL-UNTRAINED", "HL-KURTOSIS", "HL-SUPERWEIGHT"}


def test_every_rule_says_what_it_checks_and_where_it_is_from() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.id in PROBLEMS
        assert rule.checks.endswith(".") and len(rule.checks) <= 100
        assert rule.source


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(BadOption, match="regular expression"):
        health(open_checkpoint("demo:planted"), where="(")
