"""Which of a model's own tensors move, and at which rate: names only, nothing is added."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from inspector.errors import BadOption
from inspector.finetune.config import Strategy
from inspector.results import show_plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of the network as a strategy sees it; `ties` are its other names."""

    name: str
    parameters: int
    ties: tuple[str, ...] = ()
    new: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Names of the tensors that move, each with the factor of its rate.

    `begins` says from which epoch on a tensor moves, where that is not the first.
    """

    factors: Mapping[str, float]
    begins: Mapping[str, int] = dataclasses.field(default_factory=dict)


def full(tensors: Sequence[Tensor], options: Strategy) -> Plan:
    """Move every tensor."""
    return Plan(factors={one.name: 1.0 for one in tensors})


def head_only(tensors: Sequence[Tensor], options: Strategy) -> Plan:
    """Move what is new, such as the head; the pretrained body stays as it is."""
    return Plan(factors={one.name: 1.0 for one in tensors if one.new})


STRATEGIES: Final[Mapping[str, Callable[[Sequence[Tensor], Strategy], Plan]]] = {
    "full": full,
    "head-only": head_only,
}
"""One entry a strategy."""


def plan_of(tensors: Sequence[Tensor], options: Strategy) -> Plan:
    """The plan of a strategy for a model; raises BadOption where nothing would move."""
    if options.name not in STRATEGIES:
        raise BadOption(
            f"strategy.name: {show_plain(options.name)} is unknown. Known: {', '.join(STRATEGIES)}."
        )
    plan = STRATEGIES[options.name](tensors, options)
    if not plan.factors:
        raise BadOption(f"strategy {options.name}: no tensor of this model would move.")
    return plan
