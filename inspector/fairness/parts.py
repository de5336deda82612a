"""The parts of a model that can carry a gap, and how much of it each does in a batch."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inspector.fairness.patching import (
    Batch,
    Change,
    Seen,
    before,
    giving,
    put,
    put_along,
    put_before,
    run,
    with_stream,
    writers,
)
from inspector.model.gates import Site, sites
from inspector.model.hooks import gated, instead
from inspector.model.load import Model
from inspector.weights.architecture import place
from inspector.weights.header import TensorEntry

WRITING = ("o", "down")  # roles of matrices whose products are added to the stream


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """A batch with both its runs, and the direction of the words in each row, of length 1."""

    batch: Batch
    target: Seen
    neutral: Seen
    direction: Float[Tensor, "rows width"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Something that can carry a gap; `effect` is how much of it, in each row, in nats.

    None: it is not taken out, and only its slope is known.
    """

    name: str
    layer: int | None
    role: str | None = None
    head: int | None = None
    what: str
    quantity: str
    effect: Callable[[Pass], Float[Tensor, " rows"]] | None


def layers(model: Model) -> Iterator[Part]:
    """The stream after each layer, seen through the lens and patched, and what each layer adds."""
    for layer in (None, *range(len(model.blocks))):
        name = "embedding" if layer is None else f"layer {layer}"
        for quantity, effect in (
            ("lens", _lens(model, layer)),
            ("stream-here", _stream(model, layer, here=True)),
            ("stream-elsewhere", _stream(model, layer, here=False)),
        ):
            yield Part(name=name, layer=layer, what="layers", quantity=quantity, effect=effect)
    for block in model.blocks:
        yield Part(
            name=f"layer {block.layer}",
            layer=block.layer,
            what="layers",
            quantity="write",
            effect=_written(model, block.layer, writers(block)),
        )


def blocks(model: Model) -> Iterator[Part]:
    """What attention and MLP of each layer add to the stream."""
    for block in model.blocks:
        for name, writer in zip(("attention", "mlp"), writers(block), strict=True):
            yield Part(
                name=f"layer {block.layer} {name}",
                layer=block.layer,
                what="blocks",
                quantity="write",
                effect=_written(model, block.layer, [writer]),
            )


def matrices(model: Model) -> Iterator[Part]:
    """Each matrix whose product is added to the stream, along the direction of the words."""
    for name, layer, role, module in writing(model):
        yield Part(
            name=name,
            layer=layer,
            role=role,
            what="matrices",
            quantity="direction",
            effect=_along(model, layer, module),
        )


def writing(model: Model) -> list[tuple[str, int, str, nn.Module]]:
    """Name, layer, role and module of every matrix whose product is added to the stream."""
    named = dict(model.network.named_parameters())
    entries = [
        TensorEntry(name=name, dtype="F32", shape=tuple(p.shape), file="", start=0, end=0)
        for name, p in named.items()
    ]
    found = []
    for name, at in place(entries, model.checkpoint.config).placements.items():
        if at.role in WRITING and at.kind == "weight" and at.layer is not None:
            module = model.network.get_submodule(name.rpartition(".")[0])
            found.append((name, at.layer, at.role, module))
    return found


def heads(model: Model, chosen: Collection[int]) -> Iterator[Part]:
    """Every head; those of the chosen numbers are taken out, one at a time."""
    every = [(site, head) for site in sites(model) for head in range(site.heads)]
    for number, (site, head) in enumerate(every):
        yield Part(
            name=f"{site.name} head {head}",
            layer=site.layer,
            head=head,
            what="heads",
            quantity="ablation",
            effect=_without_head(model, site, head) if number in chosen else None,
        )


def gate_slopes(model: Model, batch: Batch) -> Float[Tensor, "rows heads"]:
    """Slope of the gap along each head's gate, at 1, heads of all sites side by side."""
    places = sites(model)
    total: list[Tensor] = []
    for side, sign in ((batch.target, 1), (batch.neutral, -1)):
        gates = [torch.ones((len(side.ids), s.heads), device=model.device) for s in places]
        for gate in gates:
            gate.requires_grad_(True)
        with torch.enable_grad():
            changes = [gated(s.output, gate) for s, gate in zip(places, gates, strict=True)]
            slopes = torch.autograd.grad(run(model, side, changes).sum(), gates)
        total.append(sign * torch.cat(slopes, 1))
    return total[0] + total[1]


def _lens(model: Model, layer: int | None) -> Callable[[Pass], Tensor]:
    def effect(one: Pass) -> Tensor:
        target = with_stream(model, one.target, one.target.stream(layer))
        neutral = with_stream(model, one.neutral, one.neutral.stream(layer))
        return run(model, one.batch.target, target) - run(model, one.batch.neutral, neutral)

    return effect


def _stream(model: Model, layer: int | None, here: bool) -> Callable[[Pass], Tensor]:
    """Lost when the stream after a layer is the neutral sentence's, here or everywhere else."""

    def effect(one: Pass) -> Tensor:
        other = one.batch.faced(one.neutral.stream(layer))
        where = one.batch.here if here else ~one.batch.here
        changes: list[Change]
        if layer is None:
            changes = [put_before(model.blocks[0].module, other, where)]
        else:
            own = one.target.stream(layer)
            stream = torch.where(where[..., None], other, own)
            known = giving(one.target.blocks[layer], stream)
            changes = [
                *before(model, layer, one.target),
                instead(model.blocks[layer].module, known),
            ]
        return one.target.value - run(model, one.batch.target, changes)

    return effect


def _written(model: Model, layer: int, modules: Sequence[nn.Module]) -> Callable[[Pass], Tensor]:
    def effect(one: Pass) -> Tensor:
        given = [put(m, one.batch.faced(one.neutral.given[m])) for m in modules]
        changes = [*before(model, layer, one.target), *given]
        return one.target.value - run(model, one.batch.target, changes)

    return effect


def _along(model: Model, layer: int, module: nn.Module) -> Callable[[Pass], Tensor]:
    def effect(one: Pass) -> Tensor:
        other = one.batch.faced(one.neutral.given[module])
        changes = [
            *before(model, layer, one.target),
            put_along(module, other, one.direction),
        ]
        return one.target.value - run(model, one.batch.target, changes)

    return effect


def _without_head(model: Model, site: Site, head: int) -> Callable[[Pass], Tensor]:
    def effect(one: Pass) -> Tensor:
        lost = torch.zeros_like(one.target.value)
        for side, seen, sign in (
            (one.batch.target, one.target, 1),
            (one.batch.neutral, one.neutral, -1),
        ):
            gates = torch.ones((len(side.ids), site.heads), device=model.device)
            gates[:, head] = 0
            changes = [*before(model, site.layer, seen), gated(site.output, gates)]
            lost = lost + sign * (seen.value - run(model, side, changes))
        return lost

    return effect
