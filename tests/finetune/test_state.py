"""States as tensors and JSON give back what they were made of, and optimisers go on with them."""

import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from inspector.errors import BadOption
from inspector.finetune.state import (
    NotPlain,
    from_plain,
    optimiser_state,
    random_state,
    restore_optimiser,
    restore_random,
    to_plain,
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner).filter(lambda one: "$" not in one)
    ),
    max_leaves=12,
)


def same(one, other) -> bool:
    """Equal in value and in kind, bit for bit where they are floats."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one.hex() == other.hex() or (math.isnan(one) and math.isnan(other))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def through(value):
    """To strict JSON and back."""
    return from_plain(json.loads(json.dumps(to_plain(value), allow_nan=False)))


@given(values)
def test_any_plain_value_comes_back(value):
    assert same(through(value), value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_a_tensor_of_one_number_comes_back(dtype):
    for shape in ((), (1,), (1, 1)):
        one = torch.rand(shape).mul(3).to(dtype)
        back = through({"x": one})["x"]
        assert back.dtype == dtype and back.shape == one.shape and torch.equal(back, one)


@pytest.mark.parametrize("value", [object(), {1: 2}, {"$": 1}, torch.ones(2), {1, 2}])
def test_what_only_a_pickle_keeps_is_refused(value):
    with pytest.raises(NotPlain, match="only a pickle"):
        to_plain([value])


def test_generators_draw_what_they_would_have_drawn():
    random.seed(3)
    np.random.seed(4)  # noqa: NPY002
    torch.manual_seed(5)
    random.gauss(0, 1)
    np.random.standard_normal(3)  # noqa: NPY002

    def draws():
        return random.gauss(0, 1), np.random.standard_normal(), torch.rand(3).tolist()  # noqa: NPY002

    held = json.loads(json.dumps(random_state()))
    first = [draws() for _ in range(3)]
    restore_random(held)
    assert [draws() for _ in range(3)] == first


OPTIMISERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01, amsgrad=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1, fused=True),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.1),
    "adafactor": lambda groups: torch.optim.Adafactor(groups, lr=0.1),
    "rprop": lambda groups: torch.optim.Rprop(groups, lr=0.1),
}
SCHEDULES = {
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "cyclic": lambda o: torch.optim.lr_scheduler.CyclicLR(
        o, [0.001, 0.002], [0.01, 0.02], step_size_up=2, cycle_momentum=False, mode="triangular2"
    ),
    "one-cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(
        o, [0.1, 0.2], total_steps=20, cycle_momentum=False
    ),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "sequence": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [
            torch.optim.lr_scheduler.LinearLR(o, 0.1),
            torch.optim.lr_scheduler.CosineAnnealingLR(o, 8),
        ],
        milestones=[3],
    ),
}


def built(optimiser: str, schedule: str):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    groups = [
        {"params": list(network[0].parameters()), "lr": 0.01},
        {"params": list(network[1].parameters()), "lr": 0.02, "weight_decay": 0.0},
    ]
    made = OPTIMISERS[optimiser](groups)
    return network, made, SCHEDULES[schedule](made)


def stepped(network, optimiser, schedule, steps):
    for step in steps:
        torch.manual_seed(step)
        loss = network(torch.randn(5, 3)).square().mean()
        loss.backward()
        optimiser.step()
        plateau = isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau)
        schedule.step(1.0 + step % 2) if plateau else schedule.step()
        optimiser.zero_grad()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_optimiser_goes_on_bit_by_bit(optimiser, schedule):
    straight = built(optimiser, schedule)
    stepped(*straight, range(8))
    before = built(optimiser, schedule)
    stepped(*before, range(4))
    names = {id(p): name for name, p in before[0].named_parameters()}
    tensors, rest = optimiser_state(before[1], names)
    assert all(name.rpartition("/")[0] in names.values() for name in tensors)
    kept = save(tensors), json.dumps(rest, allow_nan=False)
    clock = json.dumps(to_plain(before[2].state_dict()), allow_nan=False)

    after = built(optimiser, schedule)
    after[0].load_state_dict(before[0].state_dict())
    names = {id(p): name for name, p in after[0].named_parameters()}
    restore_optimiser(after[1], names, load(kept[0]), json.loads(kept[1]))
    after[2].load_state_dict(from_plain(json.loads(clock)))
    stepped(*after, range(4, 8))
    for one, other in zip(straight[0].parameters(), after[0].parameters(), strict=True):
        assert torch.equal(one, other)
    rates = [[group["lr"] for group in made[1].param_groups] for made in (straight, after)]
    assert rates[0] == rates[1]


def test_state_goes_by_name_not_by_place():
    """Groups of the same tensors in another order are not silently given each other's state."""
    network, optimiser, schedule = built("adam", "lambda")
    stepped(network, optimiser, schedule, range(2))
    names = {id(p): name for name, p in network.named_parameters()}
    tensors, rest = optimiser_state(optimiser, names)
    fewer = torch.optim.Adam([{"params": [network[0].weight]}])
    with pytest.raises(BadOption, match=r"0\.bias, 1\.bias, 1\.weight only in one"):
        restore_optimiser(fewer, names, tensors, rest)
    turned = torch.optim.Adam([{"params": list(network[1].parameters())}, {"params": []}])
    with pytest.raises(BadOption, match="moves other tensors"):
        restore_optimiser(turned, names, tensors, rest)


def test_an_optimiser_that_keeps_objects_is_refused():
    network, optimiser, schedule = built("sgd", "lambda")
    stepped(network, optimiser, schedule, range(1))
    names = {id(p): name for name, p in network.named_parameters()}
    optimiser.state[network[0].weight]["projector"] = object()
    with pytest.raises(NotPlain, match=r"0\.weight, projector, holds a object"):
        optimiser_state(optimiser, names)
