"""Runs of a sentence in which parts of the model take what they give in another sentence."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from inspector.fairness.contrasts import Reading
from inspector.model.asking import LOGITS, MOST_ROWS
from inspector.model.direct import linear
from inspector.model.hooks import (
    captured,
    captured_inputs,
    changed_first,
    changed_input,
    changed_output,
    first,
    instead,
    returned,
)
from inspector.model.load import Model
from inspector.model.places import Block, final_norm

Change = AbstractContextManager[Any]
Returned = Tensor | tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Rows of one length and what is read off them: signed log-probabilities, added up."""

    ids: Int[Tensor, "rows tokens"]
    places: Int[Tensor, "rows asked"]
    wanted: Int[Tensor, "rows asked"]
    signs: Float[Tensor, "rows asked"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Readings of one shape: sentences with the target beside those with the neutral text.

    `numbers` says which readings they are; `facing` as in Reading.
    """

    numbers: tuple[int, ...]
    target: Side
    neutral: Side
    facing: Float[Tensor, "rows tokens neutral_tokens"]

    @property
    def here(self) -> Bool[Tensor, "rows tokens"]:
        """Where the words are read."""
        places = self.target.places
        found = torch.zeros(self.target.ids.shape, dtype=torch.bool, device=places.device)
        return found.scatter(1, places, torch.ones_like(places, dtype=torch.bool))

    def faced(
        self, other: Float[Tensor, "rows neutral_tokens width"]
    ) -> Float[Tensor, "rows tokens width"]:
        """What each position of the target's sentence faces in the neutral one."""
        return torch.bmm(self.facing.to(other.dtype), other)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A run: what was read off, the stream before the first block, and what each module gave."""

    value: Float[Tensor, " rows"]
    begin: Float[Tensor, "rows tokens width"]
    blocks: tuple[Returned, ...]
    given: Mapping[nn.Module, Tensor]

    def stream(self, layer: int | None) -> Float[Tensor, "rows tokens width"]:
        """What a block hands on; None: what the first is given."""
        return self.begin if layer is None else first(self.blocks[layer])


def batches(model: Model, readings: Sequence[Reading]) -> Iterator[Batch]:
    """Readings side by side, without padding, as many as LOGITS allows."""
    shapes: dict[tuple[int, int, int], list[int]] = {}
    for number, reading in enumerate(readings):
        shapes.setdefault(reading.shape, []).append(number)
    config = model.network.config.get_text_config()
    kept = 6 * config.hidden_size * len(model.blocks)
    for shape, numbers in shapes.items():
        row = max(shape[:2]) * kept + shape[2] * config.vocab_size
        most = min(MOST_ROWS, max(1, LOGITS // row))
        for begin in range(0, len(numbers), most):
            yield _batch(model, readings, numbers[begin : begin + most])


def _batch(model: Model, readings: Sequence[Reading], numbers: Sequence[int]) -> Batch:
    some = [readings[number] for number in numbers]

    def held(values: list[Any]) -> Tensor:
        return torch.tensor(values, device=model.device)

    wanted, signs = held([one.wanted for one in some]), held([one.signs for one in some]).float()
    return Batch(
        numbers=tuple(numbers),
        target=Side(
            ids=held([one.ids for one in some]),
            places=held([one.places for one in some]),
            wanted=wanted,
            signs=signs,
        ),
        neutral=Side(
            ids=held([one.neutral for one in some]),
            places=held([one.neutral_places for one in some]),
            wanted=wanted,
            signs=signs,
        ),
        facing=torch.stack([torch.from_numpy(one.facing()) for one in some]).to(model.device),
    )


def run(model: Model, side: Side, changes: Sequence[Change] = ()) -> Float[Tensor, " rows"]:
    """Log-odds that are read off, in nats, under changes of the model; float32 or finer."""
    given: dict[str, Any] = {"attention_mask": torch.ones_like(side.ids)}
    if model.kind == "causal":
        given["use_cache"] = False
    rows = torch.arange(len(side.ids), device=side.ids.device)[:, None]
    network: Any = model.network
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(change)
        # the last step sees the places that are read alone: a vocabulary is large
        last = network.get_output_embeddings()
        stack.enter_context(changed_input(last, lambda stream: stream[rows, side.places]))
        read: Tensor = network(side.ids, **given).logits
    said = read.to(torch.promote_types(read.dtype, torch.float32)).log_softmax(-1)
    return (said.gather(-1, side.wanted[..., None])[..., 0] * side.signs).sum(-1)


def see(model: Model, side: Side, parts: Sequence[nn.Module]) -> Seen:
    """Run the model as it is, and keep what blocks and parts give."""
    with ExitStack() as stack:
        begin = stack.enter_context(captured_inputs(model.blocks[0].module))
        blocks = [stack.enter_context(returned(block.module)) for block in model.blocks]
        given = [stack.enter_context(captured(part)) for part in parts]
        value = run(model, side)
    return Seen(
        value=value,
        begin=begin[0],
        blocks=tuple(one[0] for one in blocks),
        given={
            part: one[0].reshape(*side.ids.shape, -1)  # OPT's lays all tokens in one row
            for part, one in zip(parts, given, strict=True)
        },
    )


def before(model: Model, layer: int, seen: Seen) -> list[Change]:
    """Blocks below a layer give what they gave, without doing it again."""
    return [
        instead(block.module, giving(seen.blocks[i], first(seen.blocks[i])))
        for i, block in enumerate(model.blocks[:layer])
    ]


def with_stream(model: Model, seen: Seen, stream: Tensor) -> list[Change]:
    """What the model would say if this were the stream after its last block."""
    return [
        instead(block.module, giving(known, stream))
        for block, known in zip(model.blocks, seen.blocks, strict=True)
    ]


def giving(known: Returned, stream: Tensor) -> Callable[..., Returned]:
    """A forward that returns the stream in the shape in which a block returned its own."""
    out = (stream, *known[1:]) if isinstance(known, tuple) else stream
    return lambda *_given, **_named: out


def put(module: nn.Module, other: Float[Tensor, "rows tokens width"]) -> Change:
    """Let a module give something else."""
    return changed_output(module, lambda own: other.to(own.dtype).reshape(own.shape))


def put_before(
    module: nn.Module,
    other: Float[Tensor, "rows tokens width"],
    where: Bool[Tensor, "rows tokens"],
) -> Change:
    """Let a module be given something else in some positions."""
    return changed_first(
        module, lambda own: torch.where(where[..., None], other.to(own.dtype), own)
    )


def put_along(
    module: nn.Module,
    other: Float[Tensor, "rows tokens width"],
    direction: Float[Tensor, "rows width"],
) -> Change:
    """Let a module give, along a direction of length 1 in each row, what another run gave."""

    def change(own: Tensor) -> Tensor:
        along = ((other - own.reshape(other.shape)) * direction[:, None]).sum(-1, keepdim=True)
        return own + (along * direction[:, None]).to(own.dtype).reshape(own.shape)

    return changed_output(module, change)


def slopes_at_the_end(model: Model, side: Side, seen: Seen) -> Float[Tensor, "rows width"]:
    """How fast the log-odds rise as a vector is added to the last stream where they are read.

    The scale of the norm before the unembedding is held, where there is one: of a vector that is
    most of the stream it would hide what it does.
    """
    norm, end = final_norm(model.network), seen.stream(len(seen.blocks) - 1)
    last = model.blocks[-1].module if norm is None else norm
    kept: list[Tensor] = []

    def watch(out: Tensor) -> Tensor:
        kept.append(out.detach().clone().requires_grad_(True))
        return kept[-1]

    changes = [*with_stream(model, seen, end), changed_output(last, watch)]
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(run(model, side, changes).sum(), kept)
    rows = torch.arange(len(slope), device=slope.device)[:, None]
    read = torch.zeros(slope.shape[:2], dtype=torch.bool, device=slope.device)
    read[rows, side.places] = True
    total = (slope * read[..., None]).sum(1)
    if norm is None:
        return total
    frozen = linear(norm, end[0, -1])
    through = total * frozen.weight.to(total.dtype)
    return through - through.mean(-1, keepdim=True) if frozen.centred else through


def writers(block: Block) -> tuple[nn.Module, nn.Module]:
    """What a block adds to the stream comes out of these: attention's and the MLP's last step."""
    return block.attention_norm or block.output, block.mlp_norm or block.mlp
