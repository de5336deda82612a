"""Which tensors of a checkpoint were never trained, which rows are padding, what repeats."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from inspector.results import Records
from inspector.weights import rows
from inspector.weights.checkpoint import DEMO_FOLDER, open_checkpoint
from inspector.weights.initialization import initialization

POOLER = "pooler.dense.weight"
LLAMA = {
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}


def of(folder: Path, **more: Any) -> Records[Any]:
    return initialization(open_checkpoint(folder), **more)


def untrained(found: Records[Any]) -> list[str]:
    return [r.name for r in found if r.untrained]


def told(found: Records[Any], id: str) -> list[tuple[str, str]]:
    return [(f.where, f.statement) for f in found.findings if f.id == id]


def changed(source: Path, folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    """A copy of a checkpoint with other values."""
    folder.mkdir(exist_ok=True)
    shutil.copy(source / "config.json", folder)
    values = load_file(source / "model.safetensors")
    change(values)
    save_file(values, folder / "model.safetensors")
    return folder


def fresh_llama(folder: Path, **more: Any) -> Path:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**{**LLAMA, **more})
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def train_like(values: dict[str, np.ndarray]) -> None:
    """What training does to a matrix: directions that stand out, rows of many sizes."""
    rng = np.random.default_rng(1)
    for name, value in values.items():
        if value.ndim == 2:
            low = rng.normal(size=(value.shape[0], 3)) @ rng.normal(size=(3, value.shape[1]))
            sizes = rng.uniform(0.7, 1.3, (len(value), 1))
            values[name] = (value * sizes + 0.02 * low).astype(value.dtype)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def judged_minilm(minilm: Path) -> Records[Any]:
    return of(minilm)


def test_of_minilm_exactly_the_pooler_was_never_trained(judged_minilm):
    assert untrained(judged_minilm) == [POOLER]
    ((where, statement),) = told(judged_minilm, "WT-UNTRAINED")
    assert where == POOLER
    assert "normal values of sd 0.0091" in statement and "Its bias is zero" in statement
    pooler = next(r for r in judged_minilm if r.name == POOLER)
    assert (pooler.verdict, pooler.spikes, pooler.noise_spectrum) == (
        "normal, other scale",
        0,
        True,
    )
    assert pooler.ks < pooler.ks_noise
    assert judged_minilm.summary["matrices_trained"] == 39
    assert judged_minilm.summary["verdicts"]["trained"] == 101


def test_of_minilm_nothing_is_left_out_but_the_position_numbers(judged_minilm):
    covered = judged_minilm.coverage
    assert [s.name for s in covered.skipped] == ["embeddings.position_ids"]
    assert covered.parameters_measured == covered.parameters_total - 512 == 22_713_216
    assert covered.tensors_measured == len(judged_minilm) == 103


def test_a_matrix_drawn_anew_in_minilm_is_named_beside_the_pooler(minilm, tmp_path):
    planted = "encoder.layer.3.intermediate.dense.weight"

    def draw_anew(values):
        rng = np.random.default_rng(7)
        values[planted] = rng.normal(0, 0.02, values[planted].shape).astype(np.float32)

    found = of(changed(minilm, tmp_path, draw_anew))
    assert sorted(untrained(found)) == sorted([planted, POOLER])
    assert {where for where, _ in told(found, "WT-UNTRAINED")} == {planted, POOLER}
    assert next(r for r in found if r.name == planted).verdict == "N(0, 0.02)"


@pytest.mark.parametrize("name", sorted(p.parent.name for p in DEMO_FOLDER.glob("*/config.json")))
def test_the_demo_models_are_trained(name):
    found = initialization(open_checkpoint(f"demo:{name}"))
    assert not untrained(found)
    trained, judged = (found.summary[f"matrices_{what}"] for what in ("trained", "judged"))
    assert trained == judged > 0


@pytest.mark.parametrize(
    ("kind", "settings", "schemes"),
    [
        ("LlamaForCausalLM", LLAMA, {"N(0, 0.02)"}),
        ("LlamaForCausalLM", {**LLAMA, "initializer_range": 0.013}, {"N(0, initializer_range)"}),
        (
            "GPT2LMHeadModel",
            {
                "vocab_size": 256,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "n_embd": 128,
                "n_layer": 2,
                "n_head": 4,
            },
            {"N(0, 0.02)", "scaled residual 0.02/√(2L)"},
        ),
        ("Gemma2ForCausalLM", {**LLAMA, "head_dim": 32}, {"N(0, 0.02)"}),
        ("MixtralForCausalLM", {**LLAMA, "num_local_experts": 4}, {"N(0, 0.02)"}),
        ("Phi3ForCausalLM", LLAMA, {"N(0, 0.02)"}),
    ],
)
def test_a_model_fresh_from_transformers_is_called_untrained_once(
    kind, settings, schemes, tmp_path
):
    torch.manual_seed(0)
    model = getattr(transformers, kind)
    model(model.config_class(**settings)).save_pretrained(tmp_path)
    found = of(tmp_path)
    assert {r.verdict for r in found if r.untrained} == schemes
    assert found.summary["matrices_trained"] == 0
    ((where, statement),) = told(found, "WT-FRESH")
    count = found.summary["matrices_judged"]
    assert where == "checkpoint" and f"{count} of {count}" in statement
    assert told(found, "WT-UNTRAINED") == []
    norms = {r.verdict for r in found if r.kind == "norm"}
    assert norms == ({"identity"} if "Gemma2" in kind else {"ones"})  # stored less 1: zeros
    assert found.coverage.skipped == ()


def test_looking_at_a_few_tensors_does_not_judge_the_model(llama):
    found = of(llama, where="lm_head")
    assert [where for where, _ in told(found, "WT-UNTRAINED")] == ["lm_head.weight"]
    assert told(found, "WT-FRESH") == []
    assert found.summary["predicted_signal"] == ()


def test_a_fresh_head_mean_rows_and_zero_rows_are_all_named(llama, tmp_path):
    def pad(values):
        train_like(values)
        words = values["model.embed_tokens.weight"]
        words[0] = words[1]  # no zero row of its own
        appended = np.concatenate(
            [np.repeat(words.mean(axis=0)[None], 16, axis=0), np.zeros((8, 128), np.float32)]
        )
        values["model.embed_tokens.weight"] = np.concatenate([words, appended])
        rng = np.random.default_rng(2)
        values["lm_head.weight"] = rng.normal(0, 0.02, (1048, 128)).astype(np.float32)

    found = of(changed(llama, tmp_path, pad))
    assert untrained(found) == ["lm_head.weight"]
    assert [where for where, _ in told(found, "WT-UNTRAINED")] == ["lm_head.weight"]
    table = "model.embed_tokens.weight"
    assert told(found, "WT-PADDED") == [
        (table, "8 of 1,048 rows are zero: 1040-1047"),
        (table, "16 of 1,048 rows are the mean of all rows: 1024-1039"),
        (table, "2 rows have equals, in groups: 0-1"),
    ]


def test_rows_drawn_around_the_mean_count_as_mean_rows(tmp_path):
    rng = np.random.default_rng(0)
    words = rng.normal(0.01, 0.02, (500, 64)) * rng.uniform(0.5, 1.5, (500, 1))
    noise = rng.normal(0, 0.02 * 1e-4, (5, 64))  # transformers' mean_resizing: covariance * 1e-9
    values = np.concatenate([words, words.mean(axis=0) + noise]).astype(np.float32)
    save_torch(
        {"model.embed_tokens.weight": torch.from_numpy(values).bfloat16()},
        tmp_path / "model.safetensors",
    )
    ((_, statement),) = told(of(tmp_path), "WT-PADDED")
    assert statement == "5 of 505 rows are the mean of all rows: 500-504"


def test_an_embedding_is_judged_without_its_padding(tmp_path):
    torch.manual_seed(0)
    table = torch.nn.Embedding(1000, 64, padding_idx=3).weight.detach()
    save_torch({"model.embed_tokens.weight": table}, tmp_path / "model.safetensors")
    found = of(tmp_path)
    assert [(r.verdict, r.untrained) for r in found] == [("torch Embedding N(0, 1)", True)]
    assert told(found, "WT-PADDED")[0][1] == "1 of 1,000 rows are zero: 3"


def test_a_table_with_fewer_words_than_columns(tmp_path):
    values = np.random.default_rng(0).normal(size=(40, 96)).astype(np.float32)
    values[[2, 7]] = values[30]
    values[5] = 0
    save_file({"model.embed_tokens.weight": values}, tmp_path / "model.safetensors")
    assert [statement for _, statement in told(of(tmp_path), "WT-PADDED")] == [
        "1 of 40 rows are zero: 5",
        "3 rows have equals, in groups: 2, 7, 30",
    ]


@pytest.mark.parametrize("shape", [(96, 64), (64, 96)])
def test_equal_rows_are_what_constant_initialisation_leaves(shape, llama, tmp_path):
    up, name = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"

    def repeat(values):
        train_like(values)
        rng = np.random.default_rng(0)
        values[name] = rng.standard_t(4, shape).astype(np.float32)
        values[name][[5, 40, 41]] = values[name][11]
        values[name][[20, 21]] = 0  # dead, not symmetric
        values[up] = np.full(shape, 0.5, dtype=np.float32)

    found = of(changed(llama, tmp_path, repeat))
    assert told(found, "WT-SYMMETRY") == [
        (up, f"{shape[0]} rows have equals, in groups: 0-{shape[0] - 1}"),
        (name, "4 rows have equals, in groups: 5, 11, 40-41"),
    ]
    assert next(r for r in found if r.name == up).verdict == "constant"
    assert untrained(found) == [up]


@pytest.mark.parametrize("role", ["q", "v", "o"])
def test_equal_heads_are_named_by_number(role, llama, tmp_path):
    name = f"model.layers.0.self_attn.{role}_proj.weight"

    def repeat(values):
        train_like(values)
        heads = (values[name].T if role == "o" else values[name]).reshape(-1, 32, 128)
        heads[1] = heads[0]
        heads[:2, 3] = 0  # a dead unit in both
        flat = heads.reshape(-1, 128)
        values[name] = np.ascontiguousarray(flat.T if role == "o" else flat)

    found = of(changed(llama, tmp_path, repeat))
    assert told(found, "WT-SYMMETRY") == [(name, "2 heads have equals, in groups: 0-1")]


def test_trained_matrices_repeat_nothing(judged_minilm):
    assert told(judged_minilm, "WT-SYMMETRY") == told(judged_minilm, "WT-PADDED") == []


def test_a_matrix_with_nan_costs_no_other_its_record(llama, tmp_path):
    broken = "model.layers.0.mlp.up_proj.weight"

    def spoil(values):
        values[broken][3, 5] = np.nan
        values["model.norm.weight"][0] = np.inf

    found = of(changed(llama, tmp_path, spoil))
    reasons = {s.name: s.reason for s in found.coverage.skipped}
    assert reasons.keys() == {broken, "model.norm.weight"}
    assert all("NaN or infinite" in reason for reason in reasons.values())
    assert len(found) == 19


@pytest.mark.parametrize("size", [1e-310, 1e-90, 1e-20, 1e20, 1e90, 1e200])
def test_values_of_any_size_give_a_verdict_or_a_reason(size, tmp_path):
    values = np.random.default_rng(0).normal(size=(64, 64)) * size
    save_file({"layers.0.mlp.up_proj.weight": values}, tmp_path / "model.safetensors")
    found = of(tmp_path)
    if 1e-70 < size < 1e70:
        assert found[0].verdict == "normal, other scale"
    else:
        assert "leave the range of floats" in found.coverage.skipped[0].reason


def test_quantised_values_are_named_not_judged(tmp_path):
    values = torch.randn(64, 64)
    tensors = {
        "model.layers.0.mlp.up_proj.weight": values.to(torch.float8_e4m3fn),
        "model.layers.0.mlp.up_proj.weight_scale": torch.ones(()),
        "model.layers.0.mlp.down_proj.weight": values,
    }
    save_torch(tensors, tmp_path / "model.safetensors")
    found = of(tmp_path)
    assert [r.name for r in found] == ["model.layers.0.mlp.down_proj.weight"]
    reason = {s.name: s.reason for s in found.coverage.skipped}["model.layers.0.mlp.up_proj.weight"]
    assert "how they were drawn can no longer be told" in reason


def test_an_orthogonal_draw_of_a_fused_tensor_is_seen_in_its_parts(tmp_path):
    torch.manual_seed(0)
    config = transformers.Phi3Config(**{**LLAMA, "num_key_value_heads": 4, "vocab_size": 64})
    model = transformers.Phi3ForCausalLM(config)
    torch.nn.init.orthogonal_(model.model.layers[0].self_attn.qkv_proj.weight)
    model.save_pretrained(tmp_path)
    found = of(tmp_path, where=r"layers\.0.*qkv")
    assert [(r.name[-3:], r.verdict) for r in found] == [(f"[{p}]", "orthogonal") for p in "qkv"]


def test_a_bias_is_judged_by_the_fan_of_its_matrix(tmp_path):
    torch.manual_seed(0)
    linear = torch.nn.Linear(96, 256)
    values = {f"layers.0.mlp.up_proj.{k}": v.detach() for k, v in linear.named_parameters()}
    save_torch(values, tmp_path / "model.safetensors")
    assert [r.verdict for r in of(tmp_path)] == ["torch Linear default"] * 2


def test_names_that_deceive_stay_raw_in_records_and_plain_in_findings(tmp_path):
    name = "model.layers.0.mlp.up\u202e_proj.weight"
    value = np.random.default_rng(0).normal(0, 0.02, (64, 64)).astype(np.float32)
    save_file({name: value}, tmp_path / "model.safetensors")
    found = of(tmp_path, where="proj")
    assert found[0].name == name
    assert "\u202e" not in json.dumps(found.to_dict()["findings"], ensure_ascii=False)
    assert "\u202e" not in json.dumps(found.to_dict()["summary"], ensure_ascii=False)


def test_workers_and_progress_change_nothing(llama):
    seen: list[tuple[int, int]] = []
    one = of(llama, workers=1, progress=lambda done, total, label: seen.append((done, total)))
    assert one.records == of(llama, workers=4).records
    assert seen == [(i + 1, len(one)) for i in range(len(one))]


def test_the_document_is_json_and_a_table(judged_minilm):
    document = json.loads(judged_minilm.to_json())
    assert document["schema"] == "inspector.init/1"
    assert document["summary"]["predicted_signal"][0]["forward_verdict"] == "steady"
    assert len(judged_minilm.to_frame()) == len(judged_minilm)


def test_large_matrices_are_sampled_and_say_so(minilm):
    found = of(minilm, where="word_embeddings")
    assert found[0].n == pytest.approx(2**18, rel=1e-4)
    assert found[0].std == pytest.approx(0.05562, rel=1e-3)  # of all values


def test_runs_of_numbers():
    assert rows.ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert rows.ranges([0, 2, 4, 6], most=2) == "0, 2 and 2 more runs"


@pytest.mark.parametrize(
    ("model_type", "name", "verdict"),
    [
        ("nemotron", "model.layers.0.input_layernorm.weight", "identity"),
        ("t5gemma", "model.encoder.layers.0.pre_self_attn_layernorm.weight", "identity"),
        ("qwen3_next", "model.layers.0.self_attn.q_norm.weight", "identity"),
        ("qwen3_next", "model.layers.0.linear_attn.norm.weight", "zeros"),
        ("llama", "model.layers.0.input_layernorm.weight", "zeros"),
    ],
)
def test_norms_stored_less_one(model_type, name, verdict, tmp_path):
    save_file({name: np.zeros(64, np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert [record.verdict for record in of(tmp_path)] == [verdict]
