"""Exact zeros after a step, and weights mixed with what they were."""

import pytest
import torch
from sklearn.linear_model import Lasso
from torch import nn

from inspector.errors import BadOption
from inspector.finetune.regularisers import mixed, shrink
from inspector.finetune.run import prepare
from inspector.finetune.train import Finetuner

ROWS, WIDTH, REAL = 200, 50, 5
MAKERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.005),
}


def planted() -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of which five of fifty columns say something."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, WIDTH, generator=draw)
    truth = torch.zeros(WIDTH, 1)
    truth[:REAL] = torch.tensor([[2.0], [-1.5], [1.0], [-2.5], [1.5]])
    return x, x @ truth + 0.1 * torch.randn(ROWS, 1, generator=draw)


def fitted(name: str, weight: float, proximal: bool) -> torch.Tensor:
    x, y = planted()
    w = nn.Parameter(torch.zeros(WIDTH, 1))
    optimiser = MAKERS[name]([w])
    for _ in range(800):
        optimiser.zero_grad()
        loss = ((x @ w - y) ** 2).mean() / 2
        if not proximal:
            loss = loss + weight * w.abs().sum()
        torch.autograd.backward(loss)
        optimiser.step()
        if proximal:
            shrink(optimiser, weight)
    return w.detach().flatten()


@pytest.mark.parametrize("name", MAKERS)
def test_noise_becomes_exactly_zero(name):
    found = fitted(name, 0.1, proximal=True)
    assert int((found[REAL:] == 0).sum()) == WIDTH - REAL
    assert bool((found[:REAL].abs() > 0.5).all())
    x, y = planted()
    wanted = Lasso(alpha=0.1, fit_intercept=False).fit(x.numpy(), y.flatten().numpy()).coef_
    tolerance = 1e-3 if name == "sgd" else 0.05  # the others keep stepping by their rate
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float32), atol=tolerance)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_in_the_loss_it_would_not(name):
    assert int((fitted(name, 0.1, proximal=False) == 0).sum()) == 0


def test_only_matrices_shrink():
    matrix, gain = nn.Parameter(torch.full((2, 2), 0.01)), nn.Parameter(torch.full((2,), 0.01))
    optimiser = torch.optim.SGD([matrix, gain], lr=0.1)
    for one in (matrix, gain):
        one.grad = torch.zeros_like(one)
    optimiser.step()
    shrink(optimiser, 1.0)
    assert bool((matrix == 0).all())
    assert bool((gain == 0.01).all())


def test_a_run_shrinks_after_each_update(made):
    sizes = {"training": {"batch": 8, "accumulate": 2, "max_steps": 3}, "count": 32}
    config = made(
        objective={"l1": 5.0}, optimiser={"name": "adamw", "learning_rate": 1e-3}, **sizes
    )
    ready = prepare(config)
    Finetuner(config, ready.model, ready.plan, ready.rows).train()
    for name, one in ready.model.network.named_parameters():
        zeros = int((one == 0).sum())
        if one.ndim > 1 and "embeddings" not in name:
            assert zeros > 0.05 * one.numel(), name
        if "LayerNorm.weight" in name:
            assert zeros == 0, name


def test_other_optimisers_have_no_known_threshold(made):
    config = made(objective={"l1": 1.0}, optimiser={"name": "adafactor"})
    ready = prepare(config)
    with pytest.raises(BadOption, match=r"objective\.l1: the proximal step of adafactor"):
        Finetuner(config, ready.model, ready.plan, ready.rows)


def test_mixed_weights_are_in_the_mean_what_they_are():
    torch.manual_seed(0)
    now, was = {"w": torch.randn(4, 5), "b": torch.randn(4)}, {}
    was = {name: torch.randn_like(one) for name, one in now.items()}
    draws = torch.stack([mixed(now, was, 0.4)["w"] for _ in range(4000)])
    assert [*mixed(now, was, 0.4)] == ["w"]
    assert torch.allclose(draws.mean(dim=0), now["w"], atol=0.1)
    back, kept = ((one - 0.4 * was["w"]) / 0.6 for one in (was["w"], now["w"]))
    assert bool((torch.isclose(draws, back) | torch.isclose(draws, kept)).all())
    share = torch.isclose(draws, back).float().mean()
    assert float(share) == pytest.approx(0.4, abs=0.01)
    assert torch.equal(mixed(now, was, 0.0)["w"], now["w"])


def losses(trainer: Finetuner, batch: dict) -> list[float]:
    """Two losses of one batch without dropout."""
    trainer.model.train(False)
    with torch.no_grad():
        return [float(trainer.compute_loss(trainer.model, batch)) for _ in range(2)]


def test_mixed_weights_learn(made):
    config = made(objective={"mixout": 0.5}, training={"max_steps": 2})
    ready = prepare(config)
    before = {n: p.detach().clone() for n, p in ready.model.network.named_parameters()}
    trainer = Finetuner(config, ready.model, ready.plan, ready.rows)
    batch = trainer.data_collator([ready.rows["train"][i] for i in range(8)])
    plain = losses(trainer, batch)
    assert plain[0] == pytest.approx(plain[1])  # nothing has moved: nothing is mixed
    trainer.train()
    moved = [n for n, p in ready.model.network.named_parameters() if not torch.equal(p, before[n])]
    assert {*moved} == {*before}
    mixes = losses(trainer, batch)
    assert mixes[0] != mixes[1]


@pytest.mark.parametrize(
    ("objective", "training"),
    [({"mixout": 1.0}, {}), ({"mixout": 0.5}, {"activation_checkpointing": True})],
)
def test_mixing_has_its_limits(made, objective, training):
    config = made(objective=objective, training=training)
    ready = prepare(config)
    with pytest.raises(BadOption, match=r"objective\.mixout"):
        Finetuner(config, ready.model, ready.plan, ready.rows)
