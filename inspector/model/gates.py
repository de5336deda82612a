"""Heads as things that can be weakened, taken out or exchanged, and what the answer makes of it."""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.model.asking import Question, logits, outcome, rows_at_once
from inspector.model.hooks import captured_inputs, exchanged, frozen, gated
from inspector.model.load import Model

Contexts = list[AbstractContextManager[None]]
Put = Callable[[int, Int[Tensor, " batch"]], Callable[[Tensor], Tensor]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """Where the heads of one attention enter its output projection; `part` is self or cross."""

    stack: str
    layer: int
    part: str
    output: nn.Module
    heads: int

    @property
    def name(self) -> str:
        """Stack, layer and, where there are two, which attention."""
        words = [self.stack, f"layer {self.layer}", "cross" if self.part == "cross" else ""]
        return " ".join(word for word in words if word)


def sites(model: Model) -> tuple[Site, ...]:
    """Every attention of a model, a decoder's attention to its encoder included."""
    found = []
    for block in model.blocks:
        for part, output in (("self", block.output), ("cross", block.cross)):
            if output is not None:
                found.append(
                    Site(
                        stack=block.stack,
                        layer=block.layer,
                        part=part,
                        output=output,
                        heads=block.heads,
                    )
                )
    return tuple(found)


def gate_gradients(
    model: Model, places: Sequence[Site], asked: Sequence[Question]
) -> tuple[Float[Tensor, "questions heads"], ...]:
    """Slope of each question's score along the gate of each head, at 1; one tensor a site.

    One forward and one backward pass for all heads. Each question has gates of its own: sums over
    questions would let opposite signs cancel (Michel et al. 2019, arXiv:1905.10650).
    """
    most = max(1, rows_at_once(model, asked[0].readings[0]) // len(model.blocks))
    parts: list[tuple[Tensor, ...]] = []
    for begin in range(0, len(asked), most):
        some = asked[begin : begin + most]
        gates = [torch.ones((len(some), s.heads), device=model.device) for s in places]
        for gate in gates:
            gate.requires_grad_(True)

        def weakened(rows: Tensor, gates: list[Tensor] = gates) -> Contexts:
            pairs = zip(places, gates, strict=True)
            return [gated(site.output, gate[rows]) for site, gate in pairs]

        with torch.enable_grad(), frozen(model.network):
            total = outcome(model, some, weakened).score.sum()
            parts.append(torch.autograd.grad(total, gates))
    return tuple(torch.cat(one) for one in zip(*parts, strict=True))


def scores_without(
    model: Model,
    places: Sequence[Site],
    asked: Sequence[Question],
    chosen: Sequence[tuple[int, int]],
    put: Put,
    progress: Progress = no_progress,
) -> Float[Tensor, "questions chosen"]:
    """Score of each question with one head, (site, head), exchanged at a time."""
    many = [question for question in asked for _ in chosen]
    closed = [torch.zeros((len(chosen), s.heads), dtype=torch.bool) for s in places]
    for number, (site, head) in enumerate(chosen):
        closed[site][number, head] = True
    touched = [i for i, one in enumerate(closed) if bool(one.any())]

    def without(rows: Tensor) -> Contexts:
        which: list[Bool[Tensor, "batch heads"]] = [
            closed[i].to(rows.device)[rows % len(chosen)] for i in touched
        ]
        return [
            exchanged(places[i].output, shut, put(i, rows // len(chosen)))
            for i, shut in zip(touched, which, strict=True)
        ]

    with torch.no_grad():
        return outcome(model, many, without, progress).score.reshape(len(asked), len(chosen))


def put_zero(_model: Model, _places: Sequence[Site], _asked: Sequence[Question], _seed: int) -> Put:
    """Nothing stands where a head was: far from what the model has ever seen."""
    return lambda _site, _rows: torch.zeros_like


def put_mean(model: Model, places: Sequence[Site], asked: Sequence[Question], _seed: int) -> Put:
    """A head gives its mean over all positions of all texts."""
    seen = head_outputs(model, places, asked)
    means = [torch.cat(one).float().mean(0) for one in seen]
    return lambda site, _rows: lambda heads: means[site].expand_as(heads)


def put_resampled(
    model: Model, places: Sequence[Site], asked: Sequence[Question], seed: int
) -> Put:
    """A head gives what it gave on another text, drawn by `seed`, equally far along."""
    if len(asked) < 2:
        raise BadOption("Ablation by resampling needs two texts or more: one gives to the other.")
    seen = head_outputs(model, places, asked)
    steps = torch.randint(
        1, len(asked), (len(asked),), generator=torch.Generator().manual_seed(seed)
    )
    donors = (torch.arange(len(asked)) + steps) % len(asked)

    def put(site: int, rows: Tensor) -> Callable[[Tensor], Tensor]:
        given = [seen[site][int(donors[row])] for row in rows]

        def others(heads: Tensor) -> Tensor:
            return torch.stack([_stretched(one, heads.shape[1]) for one in given])

        return others

    return put


ABLATIONS: dict[str, Callable[[Model, Sequence[Site], Sequence[Question], int], Put]] = {
    "zero": put_zero,
    "mean": put_mean,
    "resample": put_resampled,
}


def head_outputs(
    model: Model, places: Sequence[Site], asked: Sequence[Question]
) -> list[list[Float[Tensor, "tokens heads width"]]]:
    """What the heads of each site give on each question's first reading."""
    seen: list[list[Tensor]] = [[] for _ in places]
    for question in asked:
        with ExitStack() as stack, torch.no_grad():
            given = [stack.enter_context(captured_inputs(site.output)) for site in places]
            logits(model, question.readings[:1])
        for one, site, kept in zip(given, places, seen, strict=True):
            kept.append(one[0][0].reshape(one[0].shape[1], site.heads, -1))
    return seen


def _stretched(
    values: Float[Tensor, "tokens heads width"], length: int
) -> Float[Tensor, "length heads width"]:
    at = torch.linspace(0, len(values) - 1, length, device=values.device).round().long()
    return values[at]
