"""Plans by names: what each strategy moves, at which rate, and what it refuses."""

import re

import numpy as np
import pytest
import torch
import transformers

from inspector.errors import BadOption
from inspector.finetune.data import read_splits
from inspector.finetune.models import pretrained
from inspector.finetune.moving import let_move, moving
from inspector.finetune.strategies import STRATEGIES, plan_of
from inspector.finetune.tensors import tensors_of

FOUR = {"num_hidden_layers": 4}


def planned(config):
    model = pretrained(config, read_splits(config).labels)
    return model, plan_of(model, config)


def moved(config) -> set[str]:
    return set(planned(config)[1].factors)


def names(model) -> set[str]:
    return {name for name, _ in model.network.named_parameters()}


HEAD = {"classifier.weight", "classifier.bias"}


def test_new_parts_move_in_every_strategy(made):
    more = {
        "chosen-layers": {"layers": [".*key.*"]},
        "last-layers": {"last": 1},
        "lisa": {"at_once": 1},
        "random-layers": {"share": 0.5},
    }
    for name in STRATEGIES.keys() - {"inspection-guided"}:
        model, plan = planned(made(strategy={"name": name, **more.get(name, {})}))
        assert HEAD <= plan.factors.keys() == plan.reasons.keys() <= names(model), name
        assert all(plan.begins.get(one, 0) == 0 for one in HEAD), name


def test_bias_only_and_norm_only_are_those_of_the_modules(made):
    model, plan = planned(made(strategy={"name": "bias-only"}))
    assert set(plan.factors) == {n for n in names(model) if n.endswith("bias")} | HEAD
    norms = {
        f"{owner}.{leaf}"
        for owner, module in model.network.named_modules()
        if isinstance(module, torch.nn.LayerNorm)
        for leaf, _ in module.named_parameters()
    }
    assert moved(made(strategy={"name": "norm-only"})) == norms | HEAD


def test_a_model_without_biases_is_offered_its_norms(made):
    with pytest.raises(BadOption, match="norm-only"):
        planned(made(family="llama", strategy={"name": "bias-only"}))
    gains = moved(made(family="llama", strategy={"name": "norm-only"}))
    assert len(gains) == 2 * 2 + 1 + 1 and "score.weight" in gains


def test_the_last_layers_are_the_top_ones_and_never_all(made):
    found = moved(made(strategy={"name": "last-layers", "last": 1}))
    assert all("layer.1." in name for name in found - HEAD) and len(found) == 16 + 2
    with pytest.raises(BadOption, match=r"2 of 2 layers are all"):
        planned(made(strategy={"name": "last-layers", "last": 2}))


def test_chosen_layers_match_whole_names_only(made):
    # "norm" is found within input_layernorm, but is no whole name
    with pytest.raises(BadOption, match="norm is the whole name of no tensor"):
        planned(made(family="llama", strategy={"name": "chosen-layers", "layers": ["norm"]}))
    one = "model.layers.1.input_layernorm.weight"
    plan = planned(made(family="llama", strategy={"name": "chosen-layers", "layers": [one]}))[1]
    assert set(plan.factors) == {one, "score.weight"}
    assert plan.reasons[one] == f"matches {one}"
    for wrong, told in (
        ([], "list what moves"),
        (["(a"], "unterminated"),
        ([".*"], "set strategy.name to full"),
    ):
        with pytest.raises(BadOption, match=re.compile(told, re.IGNORECASE)):
            planned(made(family="llama", strategy={"name": "chosen-layers", "layers": wrong}))


def test_a_tied_head_names_its_other_name(made):
    with pytest.raises(BadOption, match=r"lm_head\.weight is the same tensor as transformer\.wte"):
        planned(made("causal-lm", "gpt2", strategy={"name": "head-only"}))
    with pytest.raises(BadOption, match=r"transformer\.wte\.weight is the same tensor as lm_head"):
        layers = ["transformer.wte.weight"]
        planned(made("causal-lm", "gpt2", strategy={"name": "chosen-layers", "layers": layers}))
    both = ["transformer.wte.weight", "lm_head.weight"]
    config = made("causal-lm", "gpt2", strategy={"name": "chosen-layers", "layers": both})
    assert moved(config) == {"transformer.wte.weight"}
    assert moved(made("causal-lm", "llama", strategy={"name": "head-only"})) == {"lm_head.weight"}


def test_an_untied_head_is_saved_and_loaded_apart(made, tmp_path):
    config = made("causal-lm", "gpt2", strategy={"name": "head-only", "untie": True})
    model, plan = planned(config)
    assert set(plan.factors) == set(plan.untied) == {"lm_head.weight"}
    let_move(model.network, plan)
    free = [n for n, one in model.network.named_parameters() if one.requires_grad]
    assert free == ["lm_head.weight"]
    with torch.no_grad():
        model.network.lm_head.weight += 1
    model.network.save_pretrained(tmp_path / "saved")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.lm_head.weight, again.transformer.wte.weight + 1)


def test_frozen_embeddings_take_what_shares_their_storage(made):
    model, plan = planned(made("causal-lm", "gpt2", strategy={"name": "frozen-embeddings"}))
    assert names(model) - set(plan.factors) == {"transformer.wte.weight", "transformer.wpe.weight"}


def test_layers_decay_from_the_top(made):
    strategy = {"name": "layerwise-decay", "decay": 0.5, "head_learning_rate": 5e-4}
    plan = planned(made(strategy=strategy, sizes=FOUR))[1]
    assert plan.factors["classifier.weight"] == pytest.approx(10)  # of 5e-5
    assert plan.factors["bert.embeddings.LayerNorm.bias"] == 0.5**4
    by_layer = [plan.factors[f"bert.encoder.layer.{i}.output.dense.weight"] for i in range(4)]
    assert by_layer == [0.125, 0.25, 0.5, 1.0]
    published = planned(made(strategy={"name": "layerwise-decay", "decay": 1 / 2.6}, sizes=FOUR))
    assert published[1].factors["bert.encoder.layer.0.output.dense.bias"] == pytest.approx(2.6**-3)


def test_layers_join_from_the_top_down(made):
    training = {"epochs": 9, "batch": 8, "device": "cpu"}
    strategy = {"name": "gradual-unfreezing", "every": 2}
    config = made(strategy=strategy, sizes=FOUR, training=training)
    model, plan = planned(config)
    begins = {one.depth: plan.begins.get(one.name, 0) for one in tensors_of(model)}
    assert begins == {5: 0, 4: 2, 3: 4, 2: 6, 1: 8, 0: 0}
    never = {name for name in names(model) if ".embeddings." in name}
    assert names(model) - set(plan.factors) == never
    assert (
        plan.findings[0].id == "FT-UNREACHED" and set(plan.findings[0].evidence["tensors"]) == never
    )
    counts = [len(moving(plan, config, epoch, 0)) for epoch in range(9)]
    assert counts == sorted(counts) and counts[0] == 4 and len({*counts}) == 5


def test_shares_that_are_no_choice_are_refused(made):
    for share in (0.0, 1.0, 50.0, -0.1):
        with pytest.raises(ValueError, match="share"):
            made(strategy={"name": "random-layers", "share": share}, sizes=FOUR)
    for share, told in ((0.1, "is 0"), (0.9, "is 4")):
        with pytest.raises(BadOption, match=told):
            planned(made(strategy={"name": "random-layers", "share": share}, sizes=FOUR))


def test_random_layers_differ_by_seed_alone(made):
    config = made(strategy={"name": "random-layers", "share": 0.5}, sizes=FOUR)
    model, drawn = planned(config)[0], {}
    for seed in (*range(12), 0):
        plan = plan_of(model, config.model_copy(update={"seed": seed}))
        found = {name.split(".")[3] for name in plan.factors if ".layer." in name}
        assert len(found) == 2 and drawn.setdefault(seed, found) == found
    assert (
        set().union(*drawn.values()) == set("0123") and len({*map(frozenset, drawn.values())}) > 2
    )


def test_lisa_draws_layers_uniformly_and_without_memory(made):
    config = made(strategy={"name": "lisa", "at_once": 2, "every": 3}, sizes=FOUR)
    plan = planned(config)[1]
    always = set(plan.factors) - {name for group in plan.drawn for name in group}
    assert always > HEAD and len(plan.drawn) == 4
    counts = np.zeros(4)
    for step in range(0, 1200, 3):
        now = moving(plan, config, 0, step)
        assert now == moving(plan, config, 0, step + 2) and always < now
        turns = [set(group) <= now for group in plan.drawn]
        assert [bool(now & set(group)) for group in plan.drawn] == turns and sum(turns) == 2
        counts += turns
    assert abs(counts - 200).max() < 5 * 10  # five standard deviations of a binomial


def test_a_rate_of_new_parts_needs_new_parts(made):
    with pytest.raises(BadOption, match="no part of this model is new"):
        planned(made("causal-lm", "llama", strategy={"head_learning_rate": 1e-3}))
    with pytest.raises(BadOption, match="Known: full"):
        planned(made(strategy={"name": "lora"}))
