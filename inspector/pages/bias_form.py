"""What is asked of a probe: the chosen probe and data, scorers and margin."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import streamlit as st

from inspector.fairness.items import Stimuli
from inspector.fairness.probes.catalog import scorers_of
from inspector.fairness.probes.table import PROBES, ProbeKind
from inspector.fairness.scorer_table import SCORERS
from inspector.model.kinds import kind_of
from inspector.model.samples import class_of
from inspector.pages import asking, judge_form, material
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
    """How a probe is asked; no scorer: the probe's own. `options`: those of this probe alone."""

    scorers: tuple[str, ...] = ()
    margin: float | None = None
    options: tuple[tuple[str, str | int], ...] = ()

    def asked(self) -> dict[str, Any]:
        """The options of `probe`, as they are kept."""
        scorer = list(self.scorers) if len(self.scorers) > 1 else "".join(self.scorers) or None
        return {"scorer": scorer, "margin": self.margin, **dict(self.options)}

    def like(self, told: Mapping[str, Any]) -> "Question":
        """The question whose options are these."""
        scorer = told.get("scorer") or ()
        scorers = (scorer,) if isinstance(scorer, str) else tuple(scorer)
        options = tuple((name, told[name]) for name in judge_form.OPTIONS if name in told)
        return Question(scorers=scorers, margin=told.get("margin"), options=options)


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


def ask(
    checkpoint: Checkpoint, chosen: Chosen, baseline: Checkpoint | None = None
) -> Question | None:
    """The form; what was asked of these models and data last, or is kept from before."""
    if chosen.kind.asks == "sentences" and not speaks(checkpoint):
        st.warning(
            "By its config this model gives no probability of a text, which this probe needs. "
            "Those that look at weights or vectors do not: embedding-weat, weat, seat."
        )
    if chosen.kind.asks == "text" and kind_of(class_of(checkpoint)) != "causal":
        st.warning("By its config this model does not write: only causal models go on from a text.")
    models = [checkpoint, *([] if baseline is None else [baseline])]
    scorers = [
        name
        for name in scorers_of(chosen.kind)
        if all(kind_of(class_of(one)) in SCORERS[name].kinds for one in models)
    ]

    def form(before: Question) -> Question | None:
        return _form(chosen, scorers, before, several=baseline is None)

    return asking.ask(checkpoint, chosen.probe, chosen.sha256, Question(), form, baseline)


def _form(
    chosen: Chosen, scorers: Sequence[str], before: Question, several: bool
) -> Question | None:
    where, writes = f"{chosen.probe}_{'_'.join(scorers)}", chosen.kind.asks == "text"
    with st.form(f"{KEY}_form", border=True):
        picked = _scorers(scorers, before.scorers, where, several)
        options = judge_form.fields(dict(before.options), where) if writes else {}
        with st.container(horizontal=True, vertical_alignment="bottom"):
            usual = chosen.kind.margin
            margin = st.number_input(
                "Margin of equivalence (optional)",
                min_value=0.0,
                value=before.margin,
                step=0.05,
                format="%.3g",
                placeholder="None" if usual is None else f"{usual:g}",
                key=f"{KEY}_margin_{where}",
                width=280,
                help="Within this distance from no bias, in the probe's own unit (a share: 0.05 "
                "is five points), the result is called equivalent. "
                + ("Without a margin nothing is." if usual is None else "Left empty: as shown."),
            )
            label = "Run" if several else "Ask both models"
            sent = st.form_submit_button(label, type="primary", key=f"{KEY}_run")
    if not sent or (writes and not judge_form.usable(options)):
        return None
    return Question(scorers=picked, margin=margin or None, options=tuple(options.items()))


def _scorers(
    known: Sequence[str], before: Sequence[str], where: str, several: bool
) -> tuple[str, ...]:
    """The scorers that are chosen; none: the probe's own."""
    if len(known) < 2:
        st.caption("How this probe scores is fixed: there is nothing to choose.")
        return ()
    default = [name for name in before if name in known]
    if several:
        return tuple(
            st.multiselect(
                "Scorers (optional)",
                known,
                default=default,
                placeholder="The probe's own",
                key=f"{KEY}_scorers_{where}",
                help="How a sentence gets its number. With several it is shown how far they agree.",
            )
        )
    one = st.selectbox(
        "Scorer (optional)",
        known,
        index=known.index(default[0]) if default else None,
        placeholder="The probe's own",
        key=f"{KEY}_scorer_{where}",
        help="How a sentence gets its number.",
    )
    return () if one is None else (one,)
