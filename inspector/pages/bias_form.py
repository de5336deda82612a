"""What is asked of a probe: the chosen probe and data, scorers and margin, and what was asked."""

import dataclasses
from typing import Any, Final

import streamlit as st

from inspector.fairness.items import Stimuli
from inspector.fairness.probes.table import PROBES, ProbeKind
from inspector.fairness.scorer_table import SCORERS
from inspector.model.kinds import kind_of
from inspector.model.samples import class_of
from inspector.pages import material, waiting
from inspector.weights.checkpoint import DEMO, Checkpoint

KEY: Final = "bias"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """A probe with the items it asks about; `data` as in `probe`."""

    probe: str
    kind: ProbeKind
    data: str | None
    stimuli: Stimuli[Any]

    @classmethod
    def of(cls, probe: str, found: material.Material) -> "Chosen":
        """A probe of PROBES with what was read for it."""
        return cls(probe=probe, kind=PROBES[probe], data=found.data, stimuli=found.stimuli)

    @property
    def sha256(self) -> str:
        """Of the items."""
        return self.stimuli.sha256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """How a probe is asked; no scorer: the probe's own."""

    scorers: tuple[str, ...] = ()
    margin: float | None = None

    def asked(self) -> dict[str, Any]:
        """The options of `probe`, as they are kept."""
        scorer = list(self.scorers) if len(self.scorers) > 1 else "".join(self.scorers) or None
        return {"scorer": scorer, "margin": self.margin}


def speaks(checkpoint: Checkpoint) -> bool:
    """Whether the model gives probabilities of texts, as far as its config says."""
    return kind_of(class_of(checkpoint)) in ("causal", "masked")


def usual_probe(checkpoint: Checkpoint) -> str:
    """The probe that a model is asked first."""
    if checkpoint.model.startswith(DEMO):
        return "pairs"
    return "counterfactual-gap" if speaks(checkpoint) else "embedding-weat"


def usual(checkpoint: Checkpoint) -> Chosen | None:
    """The usual probe with the data that is offered first."""
    name = usual_probe(checkpoint)
    found = material.first(checkpoint, PROBES[name].shipped, PROBES[name].given)
    return None if found is None else Chosen.of(name, found)


def asked_before() -> dict[tuple[str, ...], Question]:
    """What was asked in this session: by model, probe and sha256 of the data."""
    found: dict[tuple[str, ...], Question] = st.session_state.setdefault(f"{KEY}_asked", {})
    return found


def ask(checkpoint: Checkpoint, chosen: Chosen) -> Question | None:
    """The form; what was asked of this model and data last, or is kept from before."""
    before = asked_before()
    place = (checkpoint.model, chosen.probe, chosen.sha256)
    typed = _form(checkpoint, chosen, before.get(place, Question()))
    if typed is not None:
        before[place] = typed
    if place in before:
        return before[place]
    plain = Question()
    kept = waiting.probed_before(checkpoint, chosen.probe, chosen.sha256, **plain.asked())
    return None if kept is None else plain


def scorers_for(checkpoint: Checkpoint, kind: ProbeKind) -> list[str]:
    """The scorers that this probe can be asked with in such a model."""
    if kind.asks != "sentences":
        return []
    runs = kind_of(class_of(checkpoint))
    return [name for name, one in SCORERS.items() if runs in one.kinds and one.needs in kind.takes]


def _form(checkpoint: Checkpoint, chosen: Chosen, before: Question) -> Question | None:
    if chosen.kind.asks == "sentences" and not speaks(checkpoint):
        st.warning(
            "By its config this model gives no probability of a text, which this probe needs. "
            "Those that look at weights or vectors do not: embedding-weat, weat, seat."
        )
    scorers = scorers_for(checkpoint, chosen.kind)
    where = f"{chosen.probe}_{'_'.join(scorers)}"
    with st.form(f"{KEY}_form", border=True):
        left, middle, right = st.columns([4, 2, 1], vertical_alignment="bottom")
        picked: list[str] = []
        if len(scorers) > 1:
            picked = left.multiselect(
                "Scorers (optional)",
                scorers,
                default=[name for name in before.scorers if name in scorers],
                placeholder="The probe's own",
                key=f"{KEY}_scorers_{where}",
                help="How a sentence gets its number. With several it is shown how far they agree.",
            )
        else:
            left.caption("How this probe scores is fixed: there is nothing to choose.")
        margin = middle.number_input(
            "Margin of equivalence (optional)",
            min_value=0.0,
            value=before.margin,
            step=0.05,
            format="%.3g",
            placeholder="None" if chosen.kind.margin is None else f"{chosen.kind.margin:g}",
            key=f"{KEY}_margin",
            help="Within this distance from no bias, in the probe's own unit (a share: 0.05 is "
            "five points), the result is called equivalent. Without a margin nothing is.",
        )
        sent = right.form_submit_button("Run", type="primary", key=f"{KEY}_run")
    if not sent:
        return None
    return Question(scorers=tuple(picked), margin=margin or None)
