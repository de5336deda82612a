"""Steps and rates against formulas written out by hand."""

import math

import pytest
import torch

from inspector.errors import BadOption
from inspector.finetune.optimisers import grouped, made_optimiser, made_schedule, realised
from inspector.finetune.strategies import Plan

RATE, DECAY = 0.1, 0.1
SEVEN = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)


class Two(torch.nn.Module):
    """A matrix, which decays, and a vector, which does not."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.nn.Parameter(SEVEN.clone())
        self.vector = torch.nn.Parameter(torch.tensor([0.5, -2.0], dtype=torch.float64))


def pull(values: torch.Tensor) -> torch.Tensor:
    """A gradient that differs from step to step."""
    return torch.sin(3 * values) + 0.3


def stepped(config, steps: int = 3) -> Two:
    network = Two()
    plan = Plan(factors={"matrix": 1.0, "vector": 1.0})
    optimiser = made_optimiser(config, plan, network)
    for _ in range(steps):
        for one in network.parameters():
            one.grad = pull(one.detach())
        optimiser.step()
    return network


def sgd(values, decay, nesterov=False):
    speed = None
    for _ in range(3):
        gradient = pull(values) + decay * values
        speed = gradient if speed is None else 0.9 * speed + gradient
        values = values - RATE * (gradient + 0.9 * speed if nesterov else speed)
    return values


def rmsprop(values, decay):
    square = speed = torch.zeros_like(values)
    for _ in range(3):
        gradient = pull(values) + decay * values
        square = 0.99 * square + 0.01 * gradient**2
        speed = 0.9 * speed + gradient / (square.sqrt() + 1e-8)
        values = values - RATE * speed
    return values


def adam(values, coupled, decoupled):
    mean = square = torch.zeros_like(values)
    for t in range(1, 4):
        gradient = pull(values) + coupled * values
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        step = (mean / (1 - 0.9**t)) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
        values = values - RATE * (step + decoupled * values)
    return values


BY_HAND = {
    "sgd": lambda values, decay: sgd(values, decay),
    "nesterov": lambda values, decay: sgd(values, decay, nesterov=True),
    "rmsprop": rmsprop,
    "adam": lambda values, decay: adam(values, decay, 0.0),
    "adamw": lambda values, decay: adam(values, 0.0, decay),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_three_steps_are_those_of_the_formula(made, name):
    options = {"name": name, "learning_rate": RATE, "weight_decay": DECAY}
    if name in ("sgd", "nesterov", "rmsprop"):
        options["momentum"] = 0.9
    if name == "nesterov":
        options |= {"name": "sgd", "nesterov": True}
    network, start = stepped(made(optimiser=options)), Two()
    wanted = BY_HAND[name](start.matrix.detach(), DECAY)
    torch.testing.assert_close(network.matrix.detach(), wanted, rtol=1e-9, atol=0)
    wanted = BY_HAND[name](start.vector.detach(), 0.0)
    torch.testing.assert_close(network.vector.detach(), wanted, rtol=1e-9, atol=0)


def test_names_of_the_trainer_step_and_decay(made):
    options = {"name": "adagrad", "learning_rate": RATE, "weight_decay": DECAY}
    network, start = stepped(made(optimiser=options)), Two()
    same = torch.optim.Adagrad([{"params": [start.matrix], "weight_decay": DECAY}], lr=RATE)
    for _ in range(3):
        start.matrix.grad = pull(start.matrix.detach())
        same.step()
    assert torch.equal(network.matrix, start.matrix)
    for name, told in (
        ("adamm", "Known: sgd, adam"),
        ("lomo", "a way of its own"),
        ("galore_adamw_layerwise", "a way of its own"),
        ("adamw_bnb_8bit", "optimiser.name"),
    ):
        with pytest.raises(BadOption, match=told):
            stepped(made(optimiser={"name": name}))
    with pytest.raises(BadOption, match="needs optimiser.momentum"):
        stepped(made(optimiser={"name": "sgd", "nesterov": True}))


def test_groups_are_few_and_as_planned(made):
    config = made(optimiser={"learning_rate": RATE, "weight_decay": DECAY})
    network = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(4)))
    factors = {"0.weight": 0.5, "0.bias": 0.5, "1.weight": 0.5, "3.weight": 1.0}
    optimiser = made_optimiser(config, Plan(factors=factors), network)
    told = [(one.tensors, one.factor, one.weight_decay) for one in realised(optimiser, RATE)]
    assert told == [(2, 0.5, DECAY), (1, 0.5, 0.0), (1, 1.0, DECAY)]
    held = [one for group in optimiser.param_groups for one in group["params"]]
    wanted = [network.get_parameter(name) for name in factors]
    assert {*map(id, held)} == {*map(id, wanted)} and len(held) == 4


def rates(made, steps: int, factors=(1.0,), score=None, **schedule) -> list[list[float]]:
    """The rate of each group before each step, over the top; and that after the last."""
    network = torch.nn.Sequential(*(torch.nn.Linear(1, 1, bias=False) for _ in factors))
    plan = Plan(factors={f"{i}.weight": factor for i, factor in enumerate(factors)})
    config = made(optimiser={"learning_rate": RATE}, schedule=schedule)
    optimiser = made_optimiser(config, plan, network)
    made_one = made_schedule(config, optimiser, steps)
    found = []
    for step in range(steps + 1):
        found.append([group["lr"] / RATE for group in optimiser.param_groups])
        assert all(group["betas"] == (0.9, 0.999) for group in optimiser.param_groups)
        if step < steps:
            optimiser.step()
            made_one.step() if score is None else made_one.step(score)
    return found


def flat(found: list[list[float]]) -> list[float]:
    return [one for (one,) in found]


def close(wanted):
    return pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_rates_at_both_ends_and_between(made):
    assert flat(rates(made, 4, name="constant")) == [1.0] * 5
    assert flat(rates(made, 4, name="constant", warmup=2)) == close([0, 0.5, 1, 1, 1])
    assert flat(rates(made, 4, name="linear")) == close([1, 0.75, 0.5, 0.25, 0])
    linear = [0, 0.5, 1, 0.7, 0.4]
    assert flat(rates(made, 4, name="linear", warmup=0.5, lowest=0.4)) == close(linear)
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * t / 8)) / 2 for t in range(9)]
    assert flat(rates(made, 8, name="cosine", lowest=0.1)) == close(cosine)
    # base 1, top 10, four steps up: the published values
    wanted = [1, 3.25, 5.5, 7.75, 10, 7.75, 5.5, 3.25, 1]
    found = flat(rates(made, 8, name="triangular", lowest=0.1, half_cycle=4))
    assert found == close([one / 10 for one in wanted])
    second = flat(rates(made, 16, name="triangular2", lowest=0.1, half_cycle=4))[8:]
    assert second == close([(1 + (one - 1) / 2) / 10 for one in wanted])


def test_one_cycle_rises_turns_and_ends_low(made):
    found = flat(rates(made, 10, name="one-cycle", warmup=0.5, lowest=0.2))
    assert (found[0], max(found), found[-1]) == close((0.2, 1, 0.2))
    top = found.index(max(found))
    assert found[:top] == sorted(found[:top]) and found[top:] == sorted(found[top:], reverse=True)
    assert top == 5
    found = flat(rates(made, 10, name="one-cycle"))
    assert (found[0], found[3], found[-1]) == close((1 / 25, 1, 1 / 250_000))


def test_rates_keep_their_ratio_between_groups(made):
    for name in ("linear", "cosine", "triangular", "triangular2", "one-cycle"):
        found = rates(made, 12, (1.0, 0.5, 0.125), name=name, lowest=0.1, half_cycle=3)
        for one in found:
            assert [rate / one[0] for rate in one] == close([1, 0.5, 0.125]), name
    found = rates(made, 12, (1.0, 0.5), score=1.0, name="plateau", patience=2, lowest=0.01)
    assert [one[0] for one in found[:6]] == close([1, 1, 1, 1, 0.1, 0.1])
    assert found[-1] == close([0.01, 0.005])


def test_plateau_follows_the_metric_of_the_task(made):
    up = iter(range(20))
    network = torch.nn.Linear(1, 1)
    for task, falls in (("sequence-classification", False), ("regression", True)):
        config = made(task, schedule={"name": "plateau", "patience": 1})
        optimiser = made_optimiser(config, Plan(factors={"weight": 1.0}), network)
        schedule = made_schedule(config, optimiser, 10)
        for _ in range(4):
            schedule.step(float(next(up)))
        assert (optimiser.param_groups[0]["lr"] < 5e-5) is falls


def test_warm_up_that_cannot_be_is_refused(made):
    for told, schedule in (
        ("never be reached", {"warmup": 4}),
        ("never be reached", {"warmup": 0.99}),
        ("neither a share", {"warmup": 1.5}),
        ("triangular has none", {"name": "triangular", "warmup": 0.1}),
        ("plateau has none", {"name": "plateau", "warmup": 2}),
    ):
        with pytest.raises(BadOption, match=told):
            rates(made, 4, **schedule)
    assert grouped(made(), Plan(factors={}), torch.nn.Linear(1, 1)) == []
