"""What a run leaves bit for bit as it was, and what it moves and when."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerState

from inspector.finetune.frozen import Watch, findings_of, hashed, key_biases, sampled
from inspector.finetune.moving import rest_statistics
from inspector.finetune.run import finetune, prepare
from inspector.finetune.strategies import Plan
from inspector.finetune.train import Finetuner
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.compare import compare

OURS = {"FT-FROZEN", "FT-STILL", "FT-UNREACHED", "FT-UNCHANGED"}
LAST = {"best": False}  # end with the last state, whatever was best
HEAVY = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.1}


def body(folder) -> dict[str, torch.Tensor]:
    found = load_file(f"{folder}/model.safetensors")
    return {name.removeprefix("bert.").removeprefix("model."): one for name, one in found.items()}


def differing(config) -> set[str]:
    """Names of the saved tensors that are not bit for bit those of the base file."""
    before, after = body(config.model), body(f"{config.run}/model")
    assert before.keys() <= after.keys()
    return {name for name, one in before.items() if not torch.equal(after[name], one)}


@pytest.mark.parametrize("name", ["bias-only", "last-layers"])
def test_the_rest_is_bit_identical_under_momentum_and_decay(made, name):
    config = made(optimiser=HEAVY, strategy={"name": name, "last": 1}, count=24)
    result = finetune(config)
    proof = result.summary["proof"]
    assert proof["changed"] == proof["still"] == () and proof["unchanged"] < 0.1
    wanted = {
        one
        for one in body(config.model)
        if (one.endswith("bias") if name == "bias-only" else ".layer.1." in one)
    }
    found = differing(config)
    # what the same is added to in all keys changes no attention: its gradient is rounding
    assert found <= wanted and all("key.bias" in one for one in wanted - found)
    assert proof["scheduled"] == len(wanted) + 2
    assert OURS.isdisjoint(one.id for one in result.findings)


def test_layers_that_join_later_move_and_the_drift_agrees(made):
    strategy = {"name": "gradual-unfreezing"}
    rate = {"learning_rate": 1e-3}
    config = made(strategy=strategy, training={"epochs": 2, **LAST}, count=16, optimiser=rate)
    ready = prepare(config)
    trainer = Finetuner(config, ready.model, ready.plan, ready.rows)
    held = {}

    class Look(type(trainer.watch)):
        def on_epoch_end(self, args, state, control, **_):
            held[round(state.epoch)] = {
                name for name, one in ready.model.network.named_parameters() if one.requires_grad
            }

    trainer.add_callback(Look(ready.model.network, ready.plan, config))
    trainer.train()
    top = {name for name in ready.plan.factors if ".layer.1." in name}
    assert held[1] == set(ready.plan.factors) - top and held[2] == set(ready.plan.factors)
    steps = {
        name: int(trainer.optimizer.state[one]["step"])
        for name, one in ready.model.network.named_parameters()
        if name in ready.plan.factors
    }
    assert {steps[name] for name in top} == {2} and {steps[name] for name in held[1]} == {4}
    proof = trainer.watch.proof()
    assert proof.still == proof.changed == () and proof.scheduled == len(ready.plan.factors)
    ready.model.network.save_pretrained(f"{config.run}/model")
    changes = compare(open_checkpoint(config.model), open_checkpoint(f"{config.run}/model"))
    changed = {f"bert.{one.name.removeprefix('bert.')}" for one in changes if one.changed_fraction}
    assert changed == {name for name in ready.plan.factors if name.startswith("bert.")}


def test_a_layer_that_rests_again_holds_no_state(made):
    config = made(
        "causal-lm",
        "llama",
        strategy={"name": "lisa", "at_once": 1},
        count=48,
        optimiser={"learning_rate": 1e-3, "weight_decay": 0.1},
        sizes={"num_hidden_layers": 3},
        seed=2,  # by which six draws take each of three layers
    )
    ready = prepare(config)
    trainer = Finetuner(config, ready.model, ready.plan, ready.rows)
    network, turns, resting = ready.model.network, [], {}

    class Look(type(trainer.watch)):
        def on_step_begin(self, args, state, control, optimizer=None, **_):
            free = [network.get_parameter(group[0]).requires_grad for group in ready.plan.drawn]
            turns.append(free.index(True))
            assert sum(free) == 1
            for name, one in network.named_parameters():
                if not one.requires_grad:
                    assert one not in optimizer.state and one.grad is None
                    resting[name] = hashed(one)

        def on_step_end(self, args, state, control, **_):
            for name, one in network.named_parameters():
                assert one.requires_grad or resting[name] == hashed(one)

    trainer.add_callback(Look(network, ready.plan, config))
    trainer.train()
    assert set(turns) == {0, 1, 2} and len(turns) == 6
    proof = trainer.watch.proof()
    assert proof.still == () and proof.scheduled == len(ready.plan.factors)


@pytest.mark.parametrize("name", ["head-only", "full"])
def test_statistics_of_a_frozen_batch_norm_rest(made, name):
    config = made(
        strategy={"name": name}, optimiser={"learning_rate": 1e-3}, count=80, training=LAST
    )
    ready = prepare(config)
    network = ready.model.network
    network.dropout = norm = torch.nn.BatchNorm1d(16)
    factors = dict(ready.plan.factors)
    if name == "full":
        factors |= {"dropout.weight": 1.0, "dropout.bias": 1.0}
    norm.requires_grad_(name == "full")
    trainer = Finetuner(config, ready.model, Plan(factors=factors), ready.rows)
    before = {key: one.clone() for key, one in norm.state_dict().items()}
    trainer.train()
    same = [torch.equal(one, before[key]) for key, one in norm.state_dict().items()]
    assert trainer.state.global_step == 10 and same == [name == "head-only"] * 5
    assert not findings_of(trainer.watch.proof())


def test_batch_norms_without_tensors_go_by_what_is_around_them():
    network = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2, affine=False)),
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2, affine=False)),
    )
    network[0].requires_grad_(False)
    network.train()
    rest_statistics(network)
    assert [one[1].training for one in network] == [False, True]


def test_what_breaks_the_plan_is_told(made):
    network = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.BatchNorm1d(300))
    plan = Plan(factors={"0.weight": 1.0, "0.bias": 1.0}, begins={"0.bias": 3})
    watch = Watch(network, plan, made())
    watch.on_step_begin(None, TrainerState(epoch=2.0), None)
    first = watch.proof()
    assert (first.still, first.unreached, first.unchanged) == (("0.weight",), ("0.bias",), 1.0)
    assert [one.id for one in findings_of(first)] == ["FT-STILL", "FT-UNREACHED", "FT-UNCHANGED"]
    with torch.no_grad():
        network[0].weight[17, 23] += 1  # between the places of the sample
        network[1].bias[0] = -0.0  # the same number, and other bits
        network[1].running_var[0] = 2
    proof = watch.proof()
    assert proof.still == () and proof.changed == ("1.bias", "1.running_var")
    assert proof.unchanged == 1.0 and proof.compared == len(sampled(network[0].weight)) == 45_000
    told = findings_of(proof)
    assert [one.id for one in told] == ["FT-FROZEN", "FT-UNREACHED", "FT-UNCHANGED"]
    assert [one.severity for one in told] == ["error", "warning", "warning"]


def test_biases_of_keys_need_not_move():
    names = [f"bert.encoder.layer.3.attention.self.{one}.bias" for one in ("query", "key", "value")]
    others = ["h.0.attn.k_proj.weight", "model.layers.1.self_attn.k_proj.bias", "pooler.bias"]
    assert key_biases([*names, *others]) == (names[1], others[1])


def test_updates_lost_in_rounding_are_counted(made):
    # a hundred-millionth of weights about 1 is below what float32 can tell
    rate = {"name": "sgd", "learning_rate": 1e-9}
    result = finetune(made(optimiser=rate, count=8))
    assert OURS & {one.id for one in result.findings} == {"FT-STILL", "FT-UNCHANGED"}
    assert result.summary["proof"]["unchanged"] > 0.9
