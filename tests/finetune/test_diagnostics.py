"""Health of a run: what is recorded is what was there, and verdicts name what was planted."""

import json
import math

import pytest
import torch

from inspector.finetune.diagnostics import HEALTH, units_of
from inspector.finetune.health_verdicts import judged, lines_of, slope_over_depth
from inspector.finetune.run import prepare, trainer_of


def trained(config):
    """A run's trainer after training, with what each parameter's gradient was before clipping."""
    trainer = trainer_of(prepare(config))
    trainer.run.mkdir(parents=True, exist_ok=True)
    seen: list[dict[str, torch.Tensor]] = []
    real = trainer.health.note_gradients

    def note(step, scale=1.0):
        named = trainer.model.named_parameters()
        seen.append({name: one.grad.clone() for name, one in named if one.grad is not None})
        real(step, scale)

    trainer.health.note_gradients = note
    trainer.train()
    return trainer, seen


def test_norms_are_those_before_clipping(made):
    config = made(
        optimiser={"clip": 0.05, "learning_rate": 1e-3},
        diagnostics={"every": 1},
        training={"accumulate": 2, "batch": 4},
    )
    trainer, seen = trained(config)
    updates = [one for one in lines_of(trainer.run / HEALTH) if one["kind"] == "update"]
    assert [one["step"] for one in updates] == list(range(1, len(seen) + 1))
    logged = {one["step"]: one for one in trainer.state.log_history if "grad_norm" in one}
    for line, gradients in zip(updates, seen, strict=True):
        whole = math.sqrt(sum(float(one.square().sum()) for one in gradients.values()))
        layers = math.sqrt(sum(one["grad_norm"] ** 2 for one in line["layers"]))
        assert whole == pytest.approx(layers, rel=1e-5)
        assert whole == pytest.approx(logged[line["step"]]["grad_norm"], rel=1e-4)
        assert line["clipped"] == (whole > 0.05)
    assert any(one["clipped"] for one in updates)
    assert {one["layer"] for one in updates[0]["layers"]} == {
        *("embeddings", "layer 0", "layer 1", "head")
    }


def test_update_ratios_are_those_of_the_weights(made):
    """With plain descent the step of a layer is its clipped gradient times the rate."""
    config = made(
        optimiser={"name": "sgd", "learning_rate": 0.1, "clip": 0.0},
        schedule={"name": "constant"},
        diagnostics={"every": 1},
    )
    trainer, _ = trained(config)
    for line in lines_of(trainer.run / HEALTH):
        for one in line["layers"] if line["kind"] == "update" else ():
            step = one["update_ratio"] * max(one["weight_norm"], 1e-3)
            assert step == pytest.approx(0.1 * one["grad_norm"], rel=1e-3, abs=1e-7)


def test_units_are_counted_at_evaluations_or_the_reason_told(made):
    trainer, _ = trained(made())
    units = [one for one in lines_of(trainer.run / HEALTH) if one["kind"] == "units"]
    assert len(units) == 1
    assert [one["layer"] for one in units[0]["layers"]]
    assert units[0]["tokens"] > 24
    network = trainer.pretrained.network
    inner = network.bert.encoder.layer[0].intermediate.dense
    with torch.no_grad():
        inner.weight.zero_()
        inner.bias.fill_(-12.0)
    network.train(True)
    planted = units_of(trainer.pretrained, ["the day was fine", "he was sad"])
    assert network.training
    assert planted["layers"][0]["dead"] == planted["layers"][0]["units"] > 0
    assert planted["layers"][1]["dead"] < planted["layers"][1]["units"]


def update(norms, step=1):
    layers = [
        {"layer": f"layer {i}", "depth": i + 1, "grad_norm": norm} for i, norm in enumerate(norms)
    ]
    return {"kind": "update", "step": step, "layers": layers}


@pytest.mark.parametrize(
    ("factor", "id"), [(0.3, "FT-EXPLODING"), (1.0, None), (1.6, None), (3.0, "FT-VANISHING")]
)
def test_gradients_over_depth_are_named(factor, id):
    lines = [update([0.1 * factor**i for i in range(6)], step) for step in (2, 3, 4)]
    assert slope_over_depth(lines) == pytest.approx(math.log(factor))
    _, findings = judged(lines, [], "accuracy", True, None)
    assert [one.id for one in findings] == ([id] if id else [])


def evaluated(step, loss, accuracy, half=0.02):
    return {
        "step": step,
        "eval_loss": loss,
        "eval_loss_high": loss + half,
        "eval_accuracy": accuracy,
        "eval_accuracy_low": accuracy - half,
    }


def test_fitting_is_judged_by_what_intervals_exclude():
    falling = [{"step": i, "loss": 1 / i, "grad_norm": 1.0} for i in range(1, 31)]
    turned = [evaluated(10, 0.5, 0.9), evaluated(20, 0.4, 0.9), evaluated(30, 0.8, 0.9)]
    told, findings = judged([], [*falling, *turned], "accuracy", True, 0.5, clip=0.5)
    assert (told["fit"], told["clip_rate"]) == ("overfitting", 1.0)
    assert [one.id for one in findings] == ["FT-OVERFIT"]
    level = [evaluated(10, 0.5, 0.9), evaluated(20, 0.4, 0.9), evaluated(30, 0.41, 0.9)]
    assert judged([], [*falling, *level], "accuracy", True, 0.5)[0]["fit"] == "healthy"
    chance = [evaluated(10, 0.7, 0.51), evaluated(20, 0.69, 0.515)]
    told, findings = judged([], [*falling, *chance], "accuracy", True, 0.5)
    assert (told["fit"], [one.id for one in findings]) == ("underfitting", ["FT-UNDERFIT"])
    assert judged([], [*falling, *chance], "accuracy", True, None)[0]["fit"] == "healthy"
    assert judged([], falling, "accuracy", True, 0.5)[0]["fit"] == "unknown"


def test_a_spike_and_lines_that_were_cut_off(tmp_path):
    norms = [{"step": i, "loss": 1.0, "grad_norm": 1.0 + i / 10} for i in range(8)]
    spike = {"step": 8, "loss": 1.0, "grad_norm": 40.0}
    _, findings = judged([], [*norms, spike], "accuracy", True, None)
    assert [(one.id, one.where) for one in findings] == [("FT-SPIKE", "step 8")]
    file = tmp_path / "health.jsonl"
    file.write_text(json.dumps(norms[0]) + "\n" + '{"step": 1, "lo')
    assert lines_of(file) == [norms[0]]
    assert lines_of(tmp_path / "none.jsonl") == []
