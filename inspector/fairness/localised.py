"""What the parts of a model were found to carry, as records with intervals and verdicts."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from inspector.errors import NotEnoughData
from inspector.fairness.carried import Carried
from inspector.fairness.items import Contrast
from inspector.fairness.localize_records import Localised
from inspector.fairness.measures import Measured, measured_gap
from inspector.fairness.parts import Part as Place
from inspector.fairness.probes.directed import added, directed_part
from inspector.fairness.probes.parts import Part, measure
from inspector.fairness.uncertainty import benjamini_hochberg
from inspector.fairness.verdicts import DETECTED, INCONCLUSIVE, Judgement, judge

NOTHING: Final = "the gap itself is not shown: there is nothing to localise"
SMALL: Final = "not taken out: its slope is smaller than that of those that were"
EXACT: Final = "exactly nothing is lost in any contrast"
RESAMPLES: Final = 1999  # for the interval of each part
RANKED: Final = {
    "layers": "write",
    "heads": "ablation",
    "blocks": "write",
    "matrices": "direction",
}
"""The quantity by which parts are compared, and whose sum is held against the whole gap."""
WRITTEN: Final = ("layers", "blocks")  # parts of which all that they add is replaced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """What a number is made of: which contrasts, in columns of effects, and how.

    As in the probe of the gap: the target is the unit, since it carries the direction, and what
    template and neutral text do to all targets alike is taken out (`directed_part`).
    """

    rows: tuple[int, ...]
    contrasts: tuple[Contrast, ...]
    seed: int

    def gap(self, effects: Float[np.ndarray, " contrasts"]) -> Measured | None:
        """The mean of direction times effect as the probe has it; None of too few."""
        return measure(self._part(effects), self.seed)

    def mean(self, effects: Float[np.ndarray, " contrasts"]) -> float | None:
        """The same without interval; None where there is no number."""
        values = added(self._part(effects))
        return None if np.isnan(values).any() else float(values.mean())

    def measured(
        self, effects: Float[np.ndarray, " contrasts"], over_templates: bool = False
    ) -> Measured | None:
        """The same with fewer resamples, for one of many parts, over targets or over templates."""
        units = [one.template if over_templates else one.target for one in self.contrasts]
        try:
            values = added(self._part(effects))
            return measured_gap(values, units, seed=self.seed, resamples=RESAMPLES)
        except NotEnoughData:
            return None

    def _part(self, effects: Float[np.ndarray, " contrasts"]) -> Part:
        return directed_part(
            "gap",
            "all",
            "all",
            [one.id for one in self.contrasts],
            [one.target for one in self.contrasts],
            [(one.template, one.pair) for one in self.contrasts],
            np.array([one.direction for one in self.contrasts], dtype=float),
            effects[list(self.rows)],
        )


def sample(kept: Sequence[Contrast], control: bool, seed: int) -> Sample:
    """The contrasts that are controls, or those that are not; without direction none counts."""
    rows = tuple(n for n, one in enumerate(kept) if one.control == control and one.direction)
    return Sample(rows=rows, contrasts=tuple(kept[n] for n in rows), seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """What was carried, on contrasts and on controls; `problems`: why no number is believed."""

    found: Carried
    main: Sample
    null: Sample
    problems: Sequence[str]

    @functools.cached_property
    def total(self) -> Measured | None:
        """The gap of the contrasts."""
        return self.main.gap(self.found.gaps)

    @functools.cached_property
    def total_null(self) -> Measured | None:
        """The gap of the controls."""
        return self.null.gap(self.found.gaps)

    @functools.cached_property
    def verdict(self) -> Judgement:
        """What may be said of the gap."""
        return judge(self.total, problems=self.problems)

    @property
    def shown(self) -> bool:
        """Whether there is a gap that can be carried to parts."""
        return self.verdict.verdict == DETECTED

    def records(self) -> list[Localised]:
        """One for each part and quantity; for heads that were not taken out their slope alone."""
        measured = [self.main.measured(one) for one in self.found.effects.T]
        made = []
        for n, (part, one, p) in enumerate(
            zip(self.found.parts, measured, self._adjusted(measured), strict=True)
        ):
            control = self.null.measured(self.found.effects[:, n])
            by_template = self.main.measured(self.found.effects[:, n], over_templates=True)
            verdict, reason = self._verdict(part, one, p, control)
            made.append(
                Localised(
                    name=part.name,
                    layer=part.layer,
                    role=part.role,
                    head=part.head,
                    what=part.what,
                    quantity=part.quantity,
                    **ranged(one, "effect"),
                    template_low=by_template.estimate.low if by_template else None,
                    template_high=by_template.estimate.high if by_template else None,
                    p_value=one.p_value if one else None,
                    p_adjusted=p if one else None,
                    share=self._share(one),
                    **{f"null_{name}": value for name, value in ranged(control, "effect").items()},
                    slope=self.main.mean(self.found.slopes[:, n]),
                    n_items=one.n_items if one else 0,
                    n_clusters=one.n_clusters if one else 0,
                    verdict=verdict,
                    reason=reason,
                )
            )
        return made

    def _adjusted(self, measured: Sequence[Measured | None]) -> list[float | None]:
        """P corrected over the parts of one kind; heads that were not taken out count as 1."""
        families: dict[tuple[str, str], list[int]] = {}
        for n, part in enumerate(self.found.parts):
            families.setdefault((part.what, part.quantity), []).append(n)
        found: dict[int, float | None] = {}
        for numbers in families.values():
            known = [(measured[n], self.found.parts[n]) for n in numbers]
            p_values = [
                one.p_value if one else 1.0 if part.effect is None else None for one, part in known
            ]
            found.update(zip(numbers, benjamini_hochberg(p_values), strict=True))
        return [found[n] for n in range(len(measured))]

    def _verdict(
        self, part: Place, one: Measured | None, p: float | None, control: Measured | None
    ) -> tuple[str, str]:
        """As `judge`, but nothing of a gap that is not shown, nor where controls show as much."""
        if part.effect is None and not self.problems:
            return INCONCLUSIVE, SMALL
        if one is not None and one.n_ties == one.n_items and not self.problems:
            return INCONCLUSIVE, EXACT
        judged = judge(one, p, problems=self.problems)
        if judged.verdict == DETECTED and not self.shown:
            return INCONCLUSIVE, NOTHING
        if judged.verdict == DETECTED and one and control:
            low, high = control.estimate.low, control.estimate.high
            if low <= one.estimate.value <= high:
                return INCONCLUSIVE, f"controls show as much: {low:.2g} to {high:.2g}"
        return judged.verdict, judged.reason

    def _share(self, one: Measured | None) -> float | None:
        if one is None or self.total is None or not self.shown:
            return None
        return one.estimate.value / self.total.estimate.value

    def _leaving_least(self, some: Sequence[Localised]) -> dict[str, Any] | None:
        """The part without which the least of the gap is left: more may be lost than there is.

        Where a bias arises in one part, without it the rest of the model shows no gap; without
        what feeds that part or hands it on, a little is left on either side.
        """
        if self.total is None or not self.shown:
            return None
        whole = self.total.estimate.value
        return _named(min(some, key=lambda record: abs(whole - (record.effect or 0.0))))

    def summary(self, records: Sequence[Localised]) -> dict[str, Any]:
        """The gap with its verdict, what carries most of it, and what the parts add up to."""
        known = {
            what: [r for r in records if (r.what, r.quantity) == (what, quantity) and r.n_items]
            for what, quantity in RANKED.items()
        }
        ranked = {what: some for what, some in known.items() if some}
        return {
            "unit": "nats",
            "gap": {
                **ranged(self.total, "gap"),
                "p_value": self.total.p_value if self.total else None,
                "mde80": self.total.mde80 if self.total else None,
                "n_items": self.total.n_items if self.total else 0,
                "n_clusters": self.total.n_clusters if self.total else 0,
                "verdict": self.verdict.verdict,
                "reason": self.verdict.reason,
            },
            "null_gap": {
                **ranged(self.total_null, "gap"),
                "p_value": self.total_null.p_value if self.total_null else None,
                "n_items": self.total_null.n_items if self.total_null else 0,
            },
            "carries_most": {what: _named(max(some, key=_size)) for what, some in ranked.items()},
            "leaves_least": {
                what: self._leaving_least(ranked[what]) for what in WRITTEN if what in ranked
            },
            "adds_up_to": {
                what: {
                    "effect": sum(record.effect or 0.0 for record in some),
                    "share": sum(r.share or 0.0 for r in some) if self.shown else None,
                    "parts": len(some),
                }
                for what, some in ranked.items()
            },
        }


def _size(record: Localised) -> float:
    return abs(record.effect or 0.0)


def _named(record: Localised) -> dict[str, Any]:
    return {"name": record.name, "effect": record.effect, "share": record.share}


def ranged(measured: Measured | None, name: str) -> dict[str, float | None]:
    """A number with the ends of its interval, under `name`, low and high."""
    if measured is None:
        return {name: None, "low": None, "high": None}
    estimate = measured.estimate
    return {name: estimate.value, "low": estimate.low, "high": estimate.high}
