"""Ways to watch and change a running model; each is undone when its block ends, however it ends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from inspector.errors import UnsupportedModel


@contextmanager
def captured(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module returns at each call, copied; of a tuple the first element."""
    seen: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, out: Tensor | tuple[Any, ...]) -> None:
        seen.append(first(out).detach().clone())  # Falcon adds to it in place

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def returned(module: nn.Module) -> Iterator[list[Tensor | tuple[Any, ...]]]:
    """Collect all that a module returns at each call, the very objects."""
    seen: list[Tensor | tuple[Any, ...]] = []
    handle = module.register_forward_hook(lambda _m, _i, out: seen.append(out))
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def watched(module: nn.Module, see: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Call `see(input, output)` at each call, keeping nothing; of tuples the first element."""

    def hook(_module: nn.Module, given: tuple[Any, ...], out: Tensor | tuple[Any, ...]) -> None:
        see(given[0].detach(), first(out).detach())

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def captured_inputs(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect a module's first input at each call, copied."""
    seen: list[Tensor] = []

    def hook(_module: nn.Module, given: tuple[Any, ...]) -> None:
        seen.append(given[0].detach().clone())

    handle = module.register_forward_pre_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def changed_input(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put `change(tensor)` in the place of each tensor that a module is given."""

    def pre(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(change(one) if isinstance(one, Tensor) else one for one in given)

    handle = module.register_forward_pre_hook(pre)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def changed_first(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put `change(tensor)` in the place of the first that a module is given, a block's stream."""

    def pre(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (change(given[0]), *given[1:])

    handle = module.register_forward_pre_hook(pre)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def changed_output(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put `change(output)` in the place of what a module returns; of a tuple the first element."""

    def hook(_module: nn.Module, _inputs: object, out: Tensor | tuple[Any, ...]) -> object:
        if isinstance(out, tuple):
            return (change(out[0]), *out[1:])
        return change(out)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def gated(output: nn.Module, gates: Float[Tensor, "batch heads"]) -> Iterator[None]:
    """Multiply each head by its gate where the heads enter the output projection.

    Gates of 1 change no bit; gates that require a gradient get that of each example's heads.
    """

    def pre(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        values: Tensor = given[0]
        heads = values.reshape(*values.shape[:-1], gates.shape[-1], -1)
        return ((heads * gates[:, None, :, None].to(heads.dtype)).flatten(-2), *given[1:])

    handle = output.register_forward_pre_hook(pre)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def exchanged(
    output: nn.Module,
    closed: Bool[Tensor, "batch heads"],
    others: Callable[[Float[Tensor, "batch tokens heads width"]], Tensor],
) -> Iterator[None]:
    """Put `others(heads)` in the place of the heads that are closed, where they enter `output`."""

    def pre(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        values: Tensor = given[0]
        heads = values.reshape(*values.shape[:-1], closed.shape[-1], -1)
        put = torch.where(closed[:, None, :, None], others(heads).to(heads.dtype), heads)
        return (put.flatten(-2), *given[1:])

    handle = output.register_forward_pre_hook(pre)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def skipped(module: nn.Module) -> Iterator[None]:
    """Let a module return its first input; of a tuple that it returns, the rest stays."""

    def hook(_module: nn.Module, given: tuple[Any, ...], out: Tensor | tuple[Any, ...]) -> object:
        return (given[0], *out[1:]) if isinstance(out, tuple) else given[0]

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def instead(module: nn.Module, forward: Callable[..., object]) -> Iterator[None]:
    """Let a module do something else, without the work it does itself."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Ask no parameter for a gradient, so that a backward pass keeps only what gates need."""
    asked = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)


@contextmanager
def all_of(contexts: Sequence[object]) -> Iterator[None]:
    """Several of these at once."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)  # type: ignore[arg-type]
        yield


@contextmanager
def attention_by(network: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Run attention by another implementation; UnsupportedModel where the switch does not take.

    Models outside transformers' attention interface keep their own with a mere log line, so the
    configuration is read again after every switch.
    """
    before = network.config._attn_implementation
    try:
        if before != implementation and network._can_set_attn_implementation():  # else it only logs
            network.set_attn_implementation(implementation)
        if network.config._attn_implementation != implementation:
            raise UnsupportedModel(
                f"{type(network).__name__} cannot run {implementation} attention: it stays at "
                f"{network.config._attn_implementation}."
            )
        yield
    finally:
        if network.config._attn_implementation != before:
            network.set_attn_implementation(before)


@contextmanager
def without_parameters(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Set parameters to zero; their values come back bit for bit."""
    kept = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter in parameters:
                parameter.zero_()
        yield
    finally:
        with torch.no_grad():
            for parameter, values in zip(parameters, kept, strict=True):
                parameter.copy_(values)


def first(out: Tensor | tuple[Any, ...]) -> Tensor:
    """What a block returns: a tensor, or of a tuple its first element."""
    found: Tensor = out if isinstance(out, Tensor) else out[0]
    return found
