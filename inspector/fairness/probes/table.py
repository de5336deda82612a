"""The probes: one table, and one way to run any of them."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.fairness.about import ABOUT
from inspector.fairness.items import About
from inspector.fairness.probes.crows_pairs import crows_pairs
from inspector.fairness.probes.records import Probed
from inspector.fairness.stimuli import read
from inspector.model.load import Model
from inspector.results import show_plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeKind:
    """A probe: what runs it on which set, and what it gives without bias."""

    run: Callable[..., Probed]
    set: str

    @property
    def about(self) -> About:
        """What it measures, its source and what was said against it."""
        return ABOUT[self.set]


PROBES: Final[Mapping[str, ProbeKind]] = {
    "crows-pairs": ProbeKind(run=crows_pairs, set="crows-pairs"),
    "pairs": ProbeKind(run=crows_pairs, set="pairs"),
}
"""Every probe by name."""


def probe(
    model: Model,
    name: str,
    data: str | Path | None = None,
    progress: Progress = no_progress,
    **options: Any,
) -> Probed:
    """Run a probe of PROBES on data from a path, from `hub:ID`, or from the package.

    `options` are those of the probe's function, such as scorer, margin and seed. Raises BadOption
    for an unknown name, BadStimuli where nothing in the data can be used.
    """
    if name not in PROBES:
        known = ", ".join(PROBES)
        raise BadOption(f"There is no probe {show_plain(name, 60)!r}; known are {known}.")
    kind = PROBES[name]
    return kind.run(model, read(kind.set, data), progress=progress, **options)
