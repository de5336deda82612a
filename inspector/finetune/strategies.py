"""Which of a model's own tensors move, at which rate and from when on: nothing is added."""

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import numpy as np

from inspector.errors import BadOption
from inspector.finetune.config import Config
from inspector.finetune.models import Pretrained
from inspector.finetune.selection import Selection, counted, selected
from inspector.finetune.tensors import TABLES, Layer, Tensor, layers_of, tensors_of
from inspector.results import Finding, show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.problems import finding

NAMED: Final = 8  # names that a message lists
CHANGING: Final = ("gradual-unfreezing", "lisa")  # what moves is not the same all the time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Names of the tensors that move, each with the factor of its rate.

    `begins` says from which epoch on a tensor moves, where that is not the first; `reasons` why
    it moves. Of `drawn`, groups of names, only a few move at a time. `untied` are names that get
    storage of their own, `selection` is how layers were ranked.
    """

    factors: Mapping[str, float]
    begins: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    drawn: tuple[tuple[str, ...], ...] = ()
    untied: tuple[str, ...] = ()
    selection: Selection | None = None
    findings: tuple[Finding, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """What a strategy plans by; `body` is how names of the pretrained body begin."""

    tensors: Sequence[Tensor]
    config: Config
    checkpoint: Checkpoint
    body: str


def full(given: Given) -> Plan:
    """Move every tensor."""
    return _of({one.name: "all move" for one in given.tensors})


def head_only(given: Given) -> Plan:
    """Move what is new, such as the head; where nothing is new, what stands outside the body."""
    if found := {one.name: "new" for one in given.tensors if one.new}:
        return _of(found)
    outside = [name for one in given.tensors for name in one.names]
    return _parted(given, {n: "outside the body" for n in outside if not n.startswith(given.body)})


def bias_only(given: Given) -> Plan:
    """Move biases and what is new.

    Raises BadOption for a model without biases. Source: Ben Zaken et al. 2022 (BitFit).
    """
    found = {one.name: "bias" for one in given.tensors if one.kind == "bias" and not one.new}
    if not found:
        raise BadOption(
            "strategy bias-only: this model has no biases, so that only new parts would move. Set "
            "strategy.name to norm-only: the gains of its norm layers are about as few."
        )
    return _of(found)


def norm_only(given: Given) -> Plan:
    """Move gains and biases of norm layers, and what is new."""
    found = {one.name: "norm" for one in given.tensors if one.role == "norm" and not one.new}
    if not found:
        raise BadOption("strategy norm-only: this model has no norm layers with gains.")
    return _of(found)


def last_layers(given: Given) -> Plan:
    """Move the top layers and what is new; raises BadOption where these are all layers."""
    layers, last = layers_of(given.tensors), given.config.strategy.last
    if last >= len(layers):
        raise BadOption(
            f"strategy.last: {last} of {len(layers)} layers are all of them. Give fewer, "
            "or set strategy.name to full."
        )
    return _layers(given, layers[-last:], "one of the last layers")


def chosen_layers(given: Given) -> Plan:
    """Move the tensors whose whole name is listed or matches wholly, and what is new.

    Raises BadOption for a pattern that matches no name, and where all tensors match.
    """
    names = [name for one in given.tensors for name in one.names]
    if not (patterns := given.config.strategy.layers):
        raise BadOption(f"strategy.layers: list what moves, such as {_shown(names[:2])}.")
    found: dict[str, str] = {}
    for pattern in patterns:
        try:
            matched = [n for n in names if n == pattern or re.fullmatch(pattern, n)]
        except re.error as error:
            raise BadOption(f"strategy.layers: {show_plain(pattern)}: {error}.") from None
        if not matched:
            raise BadOption(
                f"strategy.layers: {show_plain(pattern)} is the whole name of no tensor, nor does "
                f"it match one wholly. Names are such as {_shown(names[len(names) // 2 :])}."
            )
        found |= {name: f"matches {show_plain(pattern)}" for name in matched}
    if all(one.new or one.name in found for one in given.tensors):
        raise BadOption("strategy.layers: every tensor matches. Set strategy.name to full.")
    return _parted(given, found)


def frozen_embeddings(given: Given) -> Plan:
    """Move all but the tables of words, places and types, and what shares their storage."""
    rest = {one.name: "no embedding" for one in given.tensors if one.role not in TABLES}
    if len(rest) == len(given.tensors):
        raise BadOption("strategy frozen-embeddings: no embedding is known in this model.")
    return _of(rest)


def gradual_unfreezing(given: Given) -> Plan:
    """Begin with what stands above the layers; then each layer joins, and embeddings last.

    Where nothing is new the top layer is there from the start. What would join after the last
    epoch is not in the plan, and a finding says so. Source: Howard & Ruder 2018.
    """
    tensors, config = given.tensors, given.config
    top = len(layers_of(tensors)) + int(any(one.new for one in tensors))
    _refuse_without_layers(given)
    every = config.strategy.every
    begins = {one.name: every * max(0, top - one.depth) for one in tensors}
    # with max_steps the number of epochs is known only once rows are counted
    epochs = math.inf if config.training.max_steps else math.ceil(config.training.epochs)
    never = [name for name, epoch in begins.items() if epoch >= epochs]
    plan = _of({n: f"from epoch {e + 1} on" for n, e in begins.items() if n not in never})
    told = (
        f"{len(never)} of {len(tensors)} tensors would join after epoch {epochs}, the last, and do "
        f"not move: {_shown(never)}"
    )
    return dataclasses.replace(
        plan,
        begins={name: epoch for name, epoch in begins.items() if epoch and name in plan.factors},
        findings=(finding("FT-UNREACHED", "strategy", told, tensors=never),) if never else (),
    )


def layerwise_decay(given: Given) -> Plan:
    """Move all, each layer at `decay` times the rate of the one above.

    The top layer and what stands above have factor 1, embeddings decay^layers. Source: Howard &
    Ruder 2018 (discriminative rates, decay 1/2.6).
    """
    _refuse_without_layers(given)
    count, decay = len(layers_of(given.tensors)), given.config.strategy.decay
    below = {one.name: max(0, count - one.depth) for one in given.tensors}
    return Plan(
        factors={name: decay**steps for name, steps in below.items()},
        reasons={name: f"{steps} below the top layer" for name, steps in below.items()},
    )


def random_layers(given: Given) -> Plan:
    """Move a share of the layers that the seed draws, and what is new: what a choice must beat."""
    layers = layers_of(given.tensors)
    draw = np.random.default_rng(given.config.seed)
    places = draw.choice(len(layers), counted(given.config.strategy, len(layers)), replace=False)
    return _layers(given, [layers[place] for place in sorted(places)], "drawn by the seed")


def inspection_guided(given: Given) -> Plan:
    """Move the share of layers that a look at the weights ranks first, and what is new.

    Raises NotEnoughData where fewer layers stand above noise than are to move.
    """
    layers = layers_of(given.tensors)
    selection = selected(given.checkpoint, layers, given.config.strategy, given.config.seed)
    chosen = [one.layer for one in selection.layers if one.chosen]
    measure = given.config.strategy.measure
    plan = _layers(given, [la for la in layers if la in chosen], f"ranked first by {measure}")
    return dataclasses.replace(plan, selection=selection)


def lisa(given: Given) -> Plan:
    """Move embeddings and what stands above always, and of the layers a few drawn anew and anew.

    Raises BadOption where all layers would move at once. Source: Pan et al. 2024.
    """
    _refuse_without_layers(given)
    layers, at_once = layers_of(given.tensors), given.config.strategy.at_once
    if at_once >= len(layers):
        raise BadOption(f"strategy.at_once: {at_once} of {len(layers)} layers are all of them.")
    inside = {la: tuple(o.name for o in given.tensors if o.layer == la) for la in layers}
    reasons = {o.name: "drawn in turns" if o.layer else "always" for o in given.tensors}
    return dataclasses.replace(_of(reasons), drawn=tuple(inside.values()))


STRATEGIES: Final[Mapping[str, Callable[[Given], Plan]]] = {
    "full": full,
    "head-only": head_only,
    "bias-only": bias_only,
    "norm-only": norm_only,
    "last-layers": last_layers,
    "chosen-layers": chosen_layers,
    "frozen-embeddings": frozen_embeddings,
    "gradual-unfreezing": gradual_unfreezing,
    "layerwise-decay": layerwise_decay,
    "lisa": lisa,
    "inspection-guided": inspection_guided,
    "random-layers": random_layers,
}
"""One entry a strategy."""


def plan_of(model: Pretrained, config: Config) -> Plan:
    """The plan of a configuration's strategy for a model; what is new always moves.

    Raises BadOption where the strategy does not fit the model or nothing would move.
    """
    options = config.strategy
    if options.name not in STRATEGIES:
        raise BadOption(
            f"strategy.name: {show_plain(options.name)} is unknown. Known: {', '.join(STRATEGIES)}."
        )
    tensors = tensors_of(model)
    body = f"{model.network.base_model_prefix}."
    plan = STRATEGIES[options.name](
        Given(tensors=tensors, config=config, checkpoint=model.checkpoint, body=body)
    )
    fresh = [one.name for one in tensors if one.new]
    head = (options.head_learning_rate or 0.0) / config.optimiser.learning_rate or 1.0
    if options.head_learning_rate and not fresh:
        raise BadOption("strategy.head_learning_rate: no part of this model is new. Remove it.")
    factors = {**plan.factors, **dict.fromkeys(fresh, head)}
    if not factors:
        raise BadOption(f"strategy {options.name}: no tensor of this model would move.")
    return dataclasses.replace(
        plan,
        factors=factors,
        begins={name: epoch for name, epoch in plan.begins.items() if name not in fresh},
        reasons={**plan.reasons, **dict.fromkeys(fresh, "new")},
    )


def _of(reasons: Mapping[str, str]) -> Plan:
    return Plan(factors=dict.fromkeys(reasons, 1.0), reasons=reasons)


def _layers(given: Given, layers: Collection[Layer], reason: str) -> Plan:
    return _of({one.name: reason for one in given.tensors if one.layer in layers})


def _parted(given: Given, found: Mapping[str, str]) -> Plan:
    """A plan by names, of which some may name the same tensor as others that are to stay."""
    reasons: dict[str, str] = {}
    untied: list[str] = []
    for one in given.tensors:
        inside = [name for name in one.names if name in found]
        if len(inside) == len(one.names):
            inside = [one.name]
        elif inside:
            outside = [name for name in one.names if name not in found]
            if not given.config.strategy.untie:
                raise BadOption(
                    f"strategy {given.config.strategy.name}: {_shown(inside)} is the same tensor "
                    f"as {_shown(outside)}, which is not to move. Set strategy.untie to give it "
                    "storage of its own, or choose both."
                )
            untied += inside
        reasons |= {name: found[name] for name in inside}
    return dataclasses.replace(_of(reasons), untied=tuple(untied))


def _refuse_without_layers(given: Given) -> None:
    if not layers_of(given.tensors):
        raise BadOption(
            f"strategy {given.config.strategy.name}: no layers are known in the names of this "
            f"model's tensors, such as {_shown([one.name for one in given.tensors])}."
        )


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(show_plain(name) for name in names[:NAMED]) + more
