"""A model runs only when it is whole and does what is shown; else the reason is told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from model.conftest import saved
from safetensors.torch import load_file, save_file
from transformers import FalconForCausalLM, LlamaForCausalLM

from inspector.errors import BadOption, UnsupportedModel
from inspector.model import selftest
from inspector.model.load import Model, load
from inspector.model.places import FAMILIES, find_blocks

Running = Callable[[str], Model]
CAUSAL = [
    *("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt_neox"),
    *("opt", "bloom", "falcon-7b", "falcon-plain", "falcon-new", "mixtral", "gpt_oss", "olmo2"),
]
OTHERS = {
    "bert": "masked",
    "roberta": "masked",
    "distilbert": "masked",
    "electra": "masked",
    "bert-classifier": "classifier",
    "t5": "encoder-decoder",
}


@pytest.mark.parametrize("name", [*CAUSAL, *OTHERS])
def test_every_family_passes_its_self_test(name: str, running: Running) -> None:
    model = running(name)
    assert model.kind == OTHERS.get(name, "causal")
    assert [c.name for c in model.checks] == list(selftest.CHECKS)
    assert all(check.passed for check in model.checks), model.checks
    assert not model.network.training
    assert len(model.blocks) == (4 if name == "t5" else 2)
    assert all(block.heads * block.head_dim > 0 for block in model.blocks)
    assert model.findings == ()


def test_the_demo_and_a_real_encoder_run(minilm: Path) -> None:
    planted = load("demo:planted")
    assert (planted.kind, planted.dtype) == ("causal", torch.float32)
    ids = planted.tokenizer("the nurse said that", return_tensors="pt")["input_ids"]
    ours = LlamaForCausalLM.from_pretrained(planted.checkpoint.storage.folder)(ids).logits
    torch.testing.assert_close(planted.network(ids).logits, ours)
    assert load(minilm).kind == "encoder"


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("edit", "id", "told"),
    [
        (lambda t: t.pop(NAME), "MD-MISSING", "missing"),
        (lambda t: t.update({"more.weight": torch.ones(2)}), "MD-UNEXPECTED", "unexpected"),
        (lambda t: t.update({NAME: torch.ones(3, 32)}), "MD-MISMATCHED", "mismatched"),
        (lambda t: t[NAME].__setitem__((0, 0), float("nan")), "MD-NOTFINITE", "NaN"),
    ],
)
def test_what_does_not_fit_is_listed_and_not_run(edit, id: str, told: str, tmp_path: Path) -> None:
    change(saved("llama", tmp_path), edit)
    name = "more.weight" if id == "MD-UNEXPECTED" else NAME
    with pytest.raises(UnsupportedModel, match=told) as refused:
        load(tmp_path)
    assert name in str(refused.value)
    if id != "MD-NOTFINITE":
        assert id in {finding.id for finding in load(tmp_path, override=True).findings}


def test_a_damaged_file_is_not_run(tmp_path: Path) -> None:
    path = saved("llama", tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UnsupportedModel, match="damaged"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "no-such-model"}, "refuses it"),
        ({"architectures": ["LlamaForQuestionAnswering"]}, "cannot be run"),
        ({"architectures": ["os.system"]}, "cannot be run"),
        ({"architectures": ["NoSuchForCausalLM"]}, "cannot be run"),
        ({"hidden_size": "wide"}, "refuses it"),
    ],
)
def test_a_config_that_names_no_model_is_one_line(config, told: str, tmp_path: Path) -> None:
    saved("llama", tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    with pytest.raises(UnsupportedModel, match=told) as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)


def test_code_beside_the_model_is_never_run(tmp_path: Path) -> None:
    saved("llama", tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Config"}, "model_type": "evil"}
    path.write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel):
        load(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("option", "told"), [({"dtype": "int4"}, "auto"), ({"device": "x"}, "cpu")]
)
def test_options_that_do_not_exist(option, told: str) -> None:
    with pytest.raises(BadOption, match=told):
        load("demo:planted", **option)


def test_a_lower_precision_is_tested_by_its_own_measure() -> None:
    model = load("demo:planted", dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    assert all(check.passed for check in model.checks)


def test_a_family_that_is_not_known_is_told(tmp_path: Path) -> None:
    saved("persimmon", tmp_path)
    with pytest.raises(UnsupportedModel, match="persimmon.*not known"):
        load(tmp_path)


def test_the_self_test_notices_a_head_that_is_not_gated(running: Running) -> None:
    model = running("llama")
    deaf = [torch.nn.Linear(32, 32) for _ in model.blocks]
    blocks = [
        type(block)(**{**vars(block), "output": other})
        for block, other in zip(model.blocks, deaf, strict=True)
    ]
    checks = {c.name: c.passed for c in selftest.self_test(model.network, blocks, "causal")}
    assert not checks["gates of 0 are felt"]
    assert checks["rows of attention are distributions"]


@pytest.mark.parametrize("name", ["falcon-7b", "falcon-plain", "falcon-new"])
def test_falcon_runs_eagerly_and_built_with_sdpa_fails_the_self_test(
    name: str, tmp_path: Path, running: Running
) -> None:
    assert running(name).network.config._attn_implementation == "eager"
    other = FalconForCausalLM.from_pretrained(saved(name, tmp_path), attn_implementation="sdpa")
    checks = selftest.self_test(other.eval(), find_blocks(other), "causal")
    failed = {check.name for check in checks if not check.passed}
    assert failed >= {"attention shown is attention used", "no token sees a later one"}


def test_places_name_real_modules(running: Running) -> None:
    for name in (*CAUSAL, *OTHERS):
        model = running(name)
        assert model.network.config.model_type in FAMILIES
        assert len(find_blocks(model.network)) == len(model.blocks)
