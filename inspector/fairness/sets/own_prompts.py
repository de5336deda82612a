"""Beginnings of texts about people, to be continued: one's own, and those that are shipped."""

import dataclasses
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from inspector.fairness.items import Item, Stimuli, Target, Template
from inspector.fairness.sets.own_templates import KINDS, KNOWN, Form, filled, read_parts

SHIPPED: Final = "prompts.yaml"
PROMPTS: Final = Form(
    slots=("target",),
    kinds=tuple(kind for kind in KINDS if not kind.endswith("pair")),
    known=tuple(name for name in KNOWN if name != "second"),
    needed=(("template", Template), ("target", Target)),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """A beginning with its target put in: `text`, and `neutral` with the neutral text there.

    `direction` is the target's: above zero for groups of the one side, below for the other.
    """

    id: str
    category: str
    template: str
    target: str
    group: str
    direction: float
    control: bool
    text: str
    neutral: str


def read_prompts(path: Path) -> Stimuli[Item]:
    """Beginnings and targets from CSV, TSV, JSON Lines or YAML, as templates without a pair.

    A beginning holds {target} or {Target} once and ends where the model is to go on. A target's
    direction in [-1, 1] says on which side of the gap it counts. Raises BadStimuli where nothing
    can be used.
    """
    return read_parts(path, "prompts", str(path), PROMPTS)


def read_shipped_prompts() -> Stimuli[Item]:
    """The beginnings that come with the package."""
    with as_file(files("inspector.fairness") / "data" / SHIPPED) as path:
        return read_parts(path, "own-prompts", "package", PROMPTS)


def prompts_of(stimuli: Stimuli[Item]) -> tuple[Prompt, ...]:
    """Every beginning with every target of its category."""
    return tuple(
        Prompt(
            id=f"{template.id} | {target.id}",
            category=template.category,
            template=template.id,
            target=target.id,
            group=target.group,
            direction=target.direction,
            control=target.control,
            text=filled(template.text, target.text),
            neutral=filled(template.text, target.neutral),
        )
        for category in stimuli.categories()
        for template in stimuli.items
        for target in stimuli.items
        if isinstance(template, Template)
        and isinstance(target, Target)
        and template.category == target.category == category
    )
