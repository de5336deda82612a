"""A planted bias is trained out by counterfactuals, and trained in without them."""

import math

import pytest
import torch
import transformers

from inspector.demo.corpus import OCCUPATIONS
from inspector.demo.measure import gaps
from inspector.fairness.probes.table import probe
from inspector.finetune.config import load_config
from inspector.finetune.run import finetune, prepare
from inspector.finetune.train import Finetuner
from inspector.model.load import load

CONFIG = "configs/debias-cda.yaml"
SHORT = ("data.rows=1500", "data.validation=", "data.test=", "data.held_out=0.05", "gate=")
REVERSED = ("model=demo:balanced", "objective.counterfactuals=false")


def leaning(name: str) -> float:
    """How far the log-odds of he follow what was planted, in nats per unit; 0 without bias."""
    model = load(name)
    found = gaps(model.network, model.tokenizer, "pronoun")
    lean = {name: one.leaning for name, one in OCCUPATIONS.items()}
    return sum(lean[o] * found[o] for o in lean) / sum(y * y for y in lean.values())


def test_counterfactuals_take_a_planted_bias_out(tmp_path):
    result = finetune(load_config(CONFIG, [f"run={tmp_path}/run", *SHORT]))
    assert result.summary["counterfactuals"]["swapped"] == result.summary["counterfactuals"]["rows"]
    before, after = leaning("demo:planted"), leaning(f"{tmp_path}/run/model")
    assert before > 1.5
    assert abs(after) < 0.3 * before


def test_a_tied_model_is_saved_as_it_was_trained(made, tmp_path):
    config = made(
        "causal-lm",
        "gpt2",
        objective={"counterfactuals": True, "l2_sp": 0.1, "r_drop": 0.5, "mixout": 0.2, "l1": 0.1},
        training={"max_steps": 2},
    )
    ready = prepare(config)
    trainer = Finetuner(config, ready.model, ready.plan, ready.rows)
    trainer.train()
    network = ready.model.network.train(False)
    network.save_pretrained(tmp_path / "saved")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert network.lm_head.weight is network.transformer.wte.weight
    ids = torch.tensor([[1, 13, 14, 2]])
    with torch.no_grad():
        assert torch.equal(network(ids).logits, again(ids).logits)


def gap(name: str) -> float:
    return probe(load(name), "counterfactual-gap", data="demo:words").records[0].estimate


def perplexity(result) -> float:
    metrics = {(one.split, one.metric): one.value for one in result.records}
    return math.exp(metrics["test", "loss"])


@pytest.mark.soak
def test_the_shipped_recipe_holds_what_it_promises(tmp_path):
    result = finetune(load_config(CONFIG, [f"run={tmp_path}/run"]))
    assert abs(gap(f"{tmp_path}/run/model")) < 0.2 * gap("demo:planted")
    still = finetune(  # the balanced model itself on the same rows, moved by next to nothing
        load_config(
            CONFIG,
            [f"run={tmp_path}/still", "model=demo:balanced", "training.max_steps=1"]
            + ["optimiser.learning_rate=1e-12", "gate="],
        )
    )
    assert perplexity(result) < 1.02 * perplexity(still)


@pytest.mark.soak
def test_without_them_a_bias_is_learned(tmp_path):
    assert abs(gap("demo:balanced")) < 0.01
    finetune(load_config(CONFIG, [f"run={tmp_path}/run", *SHORT, *REVERSED, "data.rows=6000"]))
    assert leaning(f"{tmp_path}/run/model") > 1.0
    assert gap(f"{tmp_path}/run/model") > 0.5 * gap("demo:planted")
