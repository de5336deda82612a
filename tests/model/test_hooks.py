"""Whatever happens inside, a hook leaves the model as it was: bit for bit, without a trace."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inspector.engine import Progress, no_progress
from inspector.errors import UnsupportedModel
from inspector.model import hooks
from inspector.model.ablation import ablate
from inspector.model.activations import activations
from inspector.model.agreement import agreement
from inspector.model.attention import attention
from inspector.model.attention_map import attention_map
from inspector.model.attribution import METHODS, attribute
from inspector.model.heads import heads
from inspector.model.layers import answer_neurons, layers
from inspector.model.lens import lens
from inspector.model.load import Model

Running = Callable[[str], Model]
IDS = torch.tensor([[7, 12, 19, 26, 33]])


def _heads(model: Model) -> Tensor:
    return torch.zeros((1, model.blocks[0].heads))


# each context manager of hooks.py, and whether the output differs inside it
MADE: dict[str, tuple[Callable[[Model], AbstractContextManager[Any]], bool]] = {
    "captured": (lambda m: hooks.captured(m.blocks[0].module), False),
    "returned": (lambda m: hooks.returned(m.blocks[0].module), False),
    "watched": (lambda m: hooks.watched(m.blocks[0].module, lambda x, y: None), False),
    "captured_inputs": (lambda m: hooks.captured_inputs(m.blocks[0].output), False),
    "changed_input": (lambda m: hooks.changed_input(m.blocks[0].mlp, torch.zeros_like), True),
    "changed_first": (lambda m: hooks.changed_first(m.blocks[0].module, torch.zeros_like), True),
    "changed_output": (lambda m: hooks.changed_output(m.blocks[0].mlp, torch.zeros_like), True),
    "gated": (lambda m: hooks.gated(m.blocks[0].output, _heads(m)), True),
    "exchanged": (
        lambda m: hooks.exchanged(m.blocks[0].output, _heads(m) == 0, torch.zeros_like),
        True,
    ),
    "skipped": (lambda m: hooks.skipped(m.blocks[0].module), True),
    "instead": (lambda m: hooks.instead(m.blocks[0].output, torch.zeros_like), True),
    "frozen": (lambda m: hooks.frozen(m.network), False),
    "all_of": (
        lambda m: hooks.all_of([hooks.gated(block.output, _heads(m)) for block in m.blocks]),
        True,
    ),
    "attention_by": (lambda m: hooks.attention_by(m.network, "eager"), False),
    "without_parameters": (lambda m: hooks.without_parameters(biases(m)), True),
}


def biases(model: Model) -> list[nn.Parameter]:
    return [p for name, p in model.network.named_parameters() if name.endswith("bias")]


def state(model: Model) -> dict[str, Any]:
    """All that a hook could leave behind."""
    network = model.network
    found: dict[str, Any] = {"attention": network.config._attn_implementation}
    for name, module in network.named_modules():
        found[f"{name}: hooks"] = [
            list(getattr(module, kind))
            for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        ]
        found[f"{name}: training"] = module.training
        found[f"{name}: own"] = sorted(vars(module))
    for name, parameter in network.named_parameters():
        found[f"{name}: grad"] = parameter.requires_grad, parameter.grad is None
        found[f"{name}: values"] = parameter.detach().numpy().tobytes()
    return found


def run(model: Model) -> Tensor:
    with torch.no_grad():
        return model.network(IDS).logits


def interrupted(context: AbstractContextManager[Any], model: Model) -> Iterator[Tensor]:
    with context:
        yield run(model)
        yield run(model)


def test_every_context_manager_is_tried() -> None:
    made = {
        name
        for name, one in vars(hooks).items()
        if inspect.isfunction(one)
        and hasattr(one, "__wrapped__")
        and one.__module__ == hooks.__name__
        if inspect.isgeneratorfunction(inspect.unwrap(one))
    }
    assert made == set(MADE)


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_the_model_comes_back_as_it_was(name: str, family: str, running: Running) -> None:
    model = running(family)
    make, differs = MADE[name]
    before, plain = state(model), run(model)

    with make(model):
        inside = run(model)
    assert torch.equal(inside, plain) != differs or name == "attention_by"
    assert state(model) == before

    with pytest.raises(ZeroDivisionError), make(model):
        run(model)
        raise ZeroDivisionError
    assert state(model) == before

    steps = interrupted(make(model), model)
    assert torch.equal(next(steps), inside)
    steps.close()
    assert state(model) == before
    assert torch.equal(run(model), plain)


@pytest.mark.parametrize("name", MADE)
def test_an_error_of_the_network_itself_leaves_nothing(name: str, running: Running) -> None:
    model = running("gpt2")
    before = state(model)
    with pytest.raises(IndexError), MADE[name][0](model):
        model.network(torch.tensor([[9999]]))
    assert state(model) == before


def test_captured_tensors_are_copies(running: Running) -> None:
    """Falcon adds the attention's output to the MLP's in place, after it was captured."""
    model = running("falcon-7b")
    block = model.blocks[0]
    with hooks.captured(block.mlp) as added, hooks.captured_inputs(block.mlp) as hidden:
        run(model)
    torch.testing.assert_close(block.mlp(hidden[0]), added[0])


def test_a_switch_that_does_not_take_is_told_and_undone(running: Running) -> None:
    model = running("bloom")
    before = state(model)
    with (
        pytest.raises(UnsupportedModel, match="cannot run sdpa"),
        hooks.attention_by(model.network, "sdpa"),
    ):
        pass
    assert state(model) == before


def test_a_forward_put_in_place_by_others_comes_back(running: Running) -> None:
    """As accelerate does for models spread over devices."""
    mlp = running("gpt2").blocks[0].mlp
    own = mlp.forward
    mlp.forward = own
    try:
        with hooks.instead(mlp, lambda x: x):
            assert mlp(IDS) is IDS
        assert vars(mlp)["forward"] == own
    finally:
        del mlp.forward


def test_skipping_a_block_is_the_model_without_it(running: Running) -> None:
    model = running("llama")
    layers = model.network.model.layers
    with hooks.skipped(layers[1]):
        skipped = run(model)
    kept, model.network.config.num_hidden_layers = layers[1], 1
    try:
        del model.network.model.layers[1]
        assert torch.equal(run(model), skipped)
    finally:
        model.network.config.num_hidden_layers = 2
        model.network.model.layers.append(kept)


TEXT, OTHERS = "a b c a", ["a b c a", "x y z"]
ASKED: dict[str, Callable[[Model, Progress], Any]] = {  # everything that runs a model
    **{
        method: lambda m, p, method=method: attribute(
            m, TEXT, "b", "c", method=method, samples=4, most_steps=4, draws=1, progress=p
        )
        for method in METHODS
    },
    "layers": lambda m, p: layers(m, TEXT, "b", "c", samples=4, most_steps=4, progress=p),
    "neurons": lambda m, p: answer_neurons(m, TEXT, "b", "c", samples=4, progress=p),
    "agreement": lambda m, p: agreement(
        m, TEXT, "b", "c", methods=["feature-ablation"], orders=4, progress=p
    ),
    "attention": lambda m, p: attention(m, OTHERS, max_tokens=18, progress=p),
    "maps": lambda m, _: attention_map(m, TEXT, [(0, 0)]),
    "heads": lambda m, p: heads(m, OTHERS, "b", "c", ablation="resample", top=3, progress=p),
    "ablate": lambda m, p: ablate(m, OTHERS, "b", "c", progress=p),
    "lens": lambda m, p: lens(m, TEXT, progress=p),
    "activations": lambda m, p: activations(m, OTHERS, progress=p),
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_no_question_leaves_a_trace_ended_well_or_broken_off(
    name: str, family: str, running: Running
) -> None:
    model = running(family)
    before, plain = state(model), run(model)
    ASKED[name](model, no_progress)
    assert state(model) == before

    def stop(done: int, total: int, _label: str) -> None:
        if done or not total:
            raise KeyboardInterrupt

    if name != "maps":
        with pytest.raises(KeyboardInterrupt):
            ASKED[name](model, stop)
        assert state(model) == before
    assert torch.equal(run(model), plain)


@pytest.mark.parametrize("name", ASKED)
def test_a_network_that_fails_on_the_way_is_left_whole(name: str, running: Running) -> None:
    """Every forward from the third on breaks inside the last block."""
    model = running("gpt2")
    before, plain = state(model), run(model)
    calls: list[int] = []

    def fail(_module: nn.Module, _given: object) -> None:
        calls.append(1)
        if len(calls) >= 3:
            raise ZeroDivisionError

    handle = model.blocks[-1].mlp.register_forward_pre_hook(fail)
    try:
        if name != "lens":  # which runs its blocks only once
            with pytest.raises(ZeroDivisionError):
                for _ in range(3):
                    ASKED[name](model, no_progress)
    finally:
        handle.remove()
    assert state(model) == before
    assert torch.equal(run(model), plain)
