"""What a model loses without its biases, a layer, an MLP, an attention or a head: measured."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.model.asking import (
    RANGE,
    Changes,
    Outcome,
    Question,
    check_finite,
    mean_of,
    outcome,
    shown,
    source,
    whole,
)
from inspector.model.gates import Site, sites
from inspector.model.hooks import changed_output, exchanged, skipped, without_parameters
from inspector.model.load import Model
from inspector.model.places import Block
from inspector.model.questions import LOSS_OF, questions
from inspector.model.records import Ablation
from inspector.results import Records, show_plain
from inspector.weights.architecture import Placement, place
from inspector.weights.header import TensorEntry
from inspector.weights.problems import Log

COMPONENTS = ("biases", "layer", "attention", "mlp", "head")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Component:
    """Something that can be switched off, and how."""

    name: str
    layer: int | None
    role: str | None
    component: str
    stack: str = ""
    part: str = ""
    head: int | None = None
    parameters: tuple[nn.Parameter, ...] = ()
    off: Changes

    def measured(self, **found: Any) -> Ablation:
        """The record of what was found without it."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        kept.pop("off")
        kept["parameters"] = sum(p.numel() for p in self.parameters) if self.parameters else None
        return Ablation(**kept, **found)


def ablate(
    model: Model,
    texts: Sequence[str],
    target: str | None = None,
    versus: str | None = None,
    components: Sequence[str] = COMPONENTS,
    progress: Progress = no_progress,
) -> Records[Ablation]:
    """Switch off one component at a time and ask again; zero ablation, nothing put in its place.

    Biases: all, those of each layer, of each role, and those outside the layers (norms' included,
    attention sinks not: at zero they still draw). A layer hands on what it is given. Without a
    target the answer is what the whole model finds most likely for each text. Progress counts
    components.
    """
    if unknown := set(components) - set(COMPONENTS):
        named = ", ".join(show_plain(one) for one in sorted(unknown))
        raise BadOption(f"Component {named}: give some of {', '.join(COMPONENTS)}.")
    log = Log()
    asked = questions(model, texts, target, versus, log, progress=progress)
    chosen = [one for one in components_of(model) if one.component in components]
    if "biases" in components and not any(one.component == "biases" for one in chosen):
        log.add("HE-NOBIAS", "model", "the model has no biases: none can matter")
    with torch.no_grad():
        before = outcome(model, asked)
        check_finite(before.said)
        records = []
        for done, one in enumerate(chosen):
            progress(done, len(chosen), one.name)
            after = outcome(model, asked, one.off)
            records.append(one.measured(**_compared(model, before, after)))
    progress(len(chosen), len(chosen), "done")
    return Records(
        command="ablate",
        record_type=Ablation,
        source=source(model),
        coverage=whole(model),
        summary=_summary(model, asked, before, records, target, versus),
        records=tuple(records),
        findings=(*model.findings, *log.findings),
    )


def components_of(model: Model) -> Iterator[Component]:
    """Every component of a model that can be switched off."""
    yield from _biases(model)
    for block in model.blocks:
        name = f"{block.stack} layer {block.layer}".strip()
        off = _always(skipped, block.module)
        yield _part(name, "layer", block, off)
        off = _always(changed_output, block.mlp, torch.zeros_like)
        yield _part(f"{name} mlp", "mlp", block, off)
    for site in sites(model):
        off = _always(changed_output, site.output, torch.zeros_like)
        yield _part(f"{site.name} attention", "attention", site, off)
        for head in range(site.heads):
            closed = torch.zeros((1, site.heads), dtype=torch.bool, device=model.device)
            closed[0, head] = True
            off = _closing(site.output, closed)
            yield _part(f"{site.name} head {head}", "head", site, off, head)


def _part(
    name: str, component: str, where: Block | Site, off: Changes, head: int | None = None
) -> Component:
    return Component(
        name=name,
        layer=where.layer,
        role=None,
        component=component,
        stack=where.stack,
        part=where.part if isinstance(where, Site) else "",
        head=head,
        off=off,
    )


def _always(make: Any, *given: Any) -> Changes:
    """The same change for every batch."""
    return lambda _rows: [make(*given)]


def _closing(output: nn.Module, closed: Bool[Tensor, "1 heads"]) -> Changes:
    def off(rows: Tensor) -> list[AbstractContextManager[None]]:
        return [exchanged(output, closed.expand(len(rows), -1), torch.zeros_like)]

    return off


def _biases(model: Model) -> Iterator[Component]:
    """All biases, those of each layer, those outside the layers, and those of each role."""
    known = biases(model)
    if not known:
        return
    kept: dict[Group, list[nn.Parameter]] = {}
    for placed, parameter in known:
        stack = placed.stack or ""
        inside = f"biases of {stack} layer {placed.layer}".replace("  ", " ")
        for group in (
            Group("all biases", None, None, ""),
            Group("biases outside the layers", None, None, "")
            if placed.layer is None
            else Group(inside, placed.layer, None, stack),
            Group(f"biases of {placed.role}", None, placed.role, ""),
        ):
            kept.setdefault(group, []).append(parameter)
    # all, then by place, then by role
    for group in sorted(kept, key=lambda group: (group.name != "all biases", group.role or "")):
        yield Component(
            **group._asdict(),
            component="biases",
            parameters=tuple(kept[group]),
            off=_always(without_parameters, kept[group]),
        )


class Group(NamedTuple):
    """Biases that are switched off together."""

    name: str
    layer: int | None
    role: str | None
    stack: str


def biases(model: Model) -> list[tuple[Placement, nn.Parameter]]:
    """Everything that is added and not multiplied, with its place; attention sinks are not."""
    named = dict(model.network.named_parameters())
    entries = [
        TensorEntry(name=name, dtype="F32", shape=tuple(p.shape), file="", start=0, end=0)
        for name, p in named.items()
    ]
    placed = place(entries, model.checkpoint.config).placements
    return [
        (placed[name], parameter)
        for name, parameter in named.items()
        if placed[name].kind == "bias" and not name.endswith("sinks")
    ]


def _compared(model: Model, before: Outcome, after: Outcome) -> dict[str, Any]:
    loss = _changes(before.loss, after.loss)
    return {
        "loss": _mean(after.loss),
        **_ranged("loss_change", loss),
        **_ranged("answer_change", _changes(before.score, after.score)),
        **_ranged("divergence", _divergence(model, before.said, after.said)),
        "kept": float((before.said.argmax(-1) == after.said.argmax(-1)).float().mean()),
    }


def _divergence(
    model: Model, one: Float[Tensor, "texts choices"], other: Float[Tensor, "texts choices"]
) -> Float[np.ndarray, " known"]:
    """KL from one to the other; none where several classes can hold at once."""
    if model.network.config.problem_type == "multi_label_classification":
        return np.zeros(0)
    values: np.ndarray = (one.exp() * (one - other)).sum(-1).cpu().numpy()
    return values


def _changes(
    before: Float[Tensor, " texts"], after: Float[Tensor, " texts"]
) -> Float[np.ndarray, " known"]:
    """Text by text, those left out that have none."""
    change: np.ndarray = (after - before)[~before.isnan()].cpu().numpy()
    return change


def _mean(values: Float[Tensor, " texts"]) -> float | None:
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else None


def _ranged(name: str, values: Float[np.ndarray, " known"]) -> dict[str, float | None]:
    value, low, high = mean_of(values) if len(values) else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _summary(
    model: Model,
    asked: Sequence[Question],
    before: Outcome,
    records: Sequence[Ablation],
    target: str | None,
    versus: str | None,
) -> dict[str, Any]:
    nothing = torch.zeros_like(before.loss)
    return {
        "texts": len(asked),
        "target": target,
        "versus": versus,
        "answers": None if target else [shown(model, question.answer) for question in asked],
        "unit": "nats",
        "loss_of": LOSS_OF[model.kind],
        **_ranged("loss", _changes(before.loss * 0, before.loss)),
        **_ranged("answer", _changes(nothing, before.score)),
        "ablation": "zero",
        "range": RANGE,
        "biases": _weighed(model, records),
    }


def _weighed(model: Model, records: Sequence[Ablation]) -> dict[str, Any] | None:
    """All biases beside the layers: how many parameters, what they change, how many layers less."""
    every = next((record for record in records if record.name == "all biases"), None)
    if every is None:
        return None
    layers = [record for record in records if record.component == "layer"]
    total = sum(parameter.numel() for parameter in model.network.parameters())
    return {
        "parameters": every.parameters,
        "share": (every.parameters or 0) / total,
        "loss_change": every.loss_change,
        "answer_change": every.answer_change,
        "divergence": every.divergence,
        "layers": len(layers),
        "layers_that_change_less": sum(
            (layer.divergence or 0.0) < (every.divergence or 0.0) for layer in layers
        ),
    }
