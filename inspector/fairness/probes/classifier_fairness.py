"""Fairness of a classifier: whether its decisions, and their errors, differ between groups."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.classes import Predictions, classes_of, predict
from inspector.fairness.group_rates import FEWEST, Codes
from inspector.fairness.items import Labelled, Stimuli
from inspector.fairness.probes.classifier_parts import (
    balanced_accuracy,
    parts_of,
)
from inspector.fairness.probes.decided import (
    NAMED,
    Decided,
    GroupRate,
    attributes_of,
    labels_of,
    rates_of,
    reliability_of,
)
from inspector.fairness.probes.records import Answers, AskedItem
from inspector.fairness.probes.swapped import (
    ODDS_CHANGE,
    Swaps,
    swap_parts,
    swap_summary,
    swapped,
)
from inspector.fairness.swaps import Swapper
from inspector.model.asking import source, whole
from inspector.model.load import Model
from inspector.results import show_plain
from inspector.weights.problems import Log

MANY_UNKNOWN: Final = 0.1  # of all tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifiedText(AskedItem):
    """One text as it was classified, for audit; `category` is its label, `group` all its groups.

    `probability`: of the class that counts as yes, where there is one, else of the predicted
    class. With swaps: the text with its words swapped, what was predicted then, and the change in
    log-odds (nats) from first words to second ones; `not_swapped` is why there is none.
    """

    text: str
    label: str
    predicted: str | None
    right: bool | None
    probability: float | None
    swapped: str | None
    swapped_predicted: str | None
    log_odds_change: float | None
    not_swapped: str | None


def classifier_fairness(
    model: Model,
    stimuli: Stimuli[Labelled],
    attributes: str | Sequence[str] | None = None,
    positive: str | None = None,
    swaps: Sequence[Sequence[str]] | None = None,
    fewest: int = FEWEST,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Answers:
    """Gaps between groups in who is selected and in errors, by group, crossed, and by class.

    `attributes`: one or more columns of groups (None: all). `positive`: the class that counts as
    yes (None: of two the second, of more each in turn). `swaps`: pairs of words, each put in the
    other's place, to see which decisions flip. A rate that rests on under `fewest` texts is shown
    and not compared. Labels are names of the model's classes or their numbers. Source: Hardt,
    Price and Srebro 2016; Dwork et al. 2012; fairlearn and AIF360 for names.
    """
    classes = classes_of(model)
    swapper = None if swaps is None else Swapper(swaps)
    stimuli, truth = labels_of(stimuli, classes)
    outcomes = _outcomes(classes, truth, positive)
    chosen = [attributes] if isinstance(attributes, str) else attributes
    found, combos = attributes_of(stimuli.items, chosen)
    texts = [item.text for item in stimuli.items]
    said = predict(model, texts, progress)
    decided = Decided(
        classes=classes,
        outcomes=outcomes,
        attributes=found,
        single=len(found) - (len(found) > 1),
        values=_values(said, truth, combos, outcomes),
        fewest=fewest,
    )
    moved = None if swapper is None else swapped(model, texts, said, decided, swapper, progress)
    items = _items(stimuli, said, decided, moved)
    ids = [item.id for item in items]
    log = Log()
    problems = _guard(decided, log, seed)
    summary = _summary(decided, said, moved, log, seed)
    return Answers(
        probe="classifier-fairness",
        scorer="class probability",
        stimuli=stimuli,
        items=items,
        parts=(*parts_of(decided, ids), *swap_parts(moved, ids)),
        problems=problems,
        source=source(model, seed),
        coverage=whole(model),
        summary=summary,
        findings=(*model.findings, *log.findings),
    )


def _outcomes(classes: Sequence[str], truth: Codes, positive: str | None) -> tuple[int, ...]:
    if positive is not None:
        known = {str(i): i for i in range(len(classes))} | {c: i for i, c in enumerate(classes)}
        if positive not in known:
            named = ", ".join(show_plain(name, 40) for name in classes[:NAMED])
            raise BadOption(f"There is no class {show_plain(positive, 40)!r}; known are {named}.")
        return (known[positive],)
    return (1,) if len(classes) == 2 else tuple(np.unique(truth).tolist())


def _values(
    said: Predictions, truth: Codes, combos: Codes, outcomes: Sequence[int]
) -> Float[np.ndarray, "items columns"]:
    known = ~np.isnan(said.log_probabilities).any(1)
    told = np.where(known[:, None], said.log_probabilities, -np.inf)
    best = told.argmax(1)
    if len(outcomes) == 1:
        forecast, true = np.exp(told[:, outcomes[0]]), truth == outcomes[0]
    else:
        forecast, true = np.exp(told.max(1)), truth == best
    values = np.stack([truth, best, combos, forecast, true], axis=1).astype(float)
    values[~known] = np.nan
    return np.asarray(values)


def _items(
    stimuli: Stimuli[Labelled], said: Predictions, decided: Decided, moved: Swaps | None
) -> tuple[ClassifiedText, ...]:
    names = [attribute.name for attribute in decided.attributes[: decided.single]]
    items = []
    for i, item in enumerate(stimuli.items):
        known = bool(decided.known[i])
        predicted = decided.classes[int(decided.values[i, 1])] if known else None
        truth = decided.classes[int(decided.values[i, 0])] if known else item.label
        swap = None if moved is None else moved.texts[i]
        again = np.array([np.nan]) if moved is None else moved.said.log_probabilities[i]
        items.append(
            ClassifiedText(
                id=item.id,
                category=item.label,
                group=", ".join(f"{name}={item.groups[name]}" for name in names),
                cluster=item.id,
                excluded=said.excluded[i][1] if i in said.excluded else None,
                text=item.text,
                label=truth,
                predicted=predicted,
                right=predicted == truth if known else None,
                probability=float(decided.values[i, 3]) if known else None,
                swapped=None if swap is None else swap.text,
                swapped_predicted=(
                    None if np.isnan(again).any() else decided.classes[int(again.argmax())]
                ),
                log_odds_change=None if moved is None else _number(moved.values[ODDS_CHANGE][i]),
                not_swapped=None if moved is None else moved.why_not(i),
            )
        )
    return tuple(items)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _guard(decided: Decided, log: Log, seed: int) -> tuple[str, ...]:
    """Why no number of this classifier is to be believed: it is not better than chance."""
    try:
        measured = balanced_accuracy(decided.values, (), seed)
    except NotEnoughData:
        told = "no two labels have two texts each that were classified: errors cannot be seen"
        log.add("CL-GUARD", "labels", told)
        return (told,)
    found, chance = measured.estimate, measured.null
    if found.low > chance:
        return ()
    told = (
        f"the classifier is not shown to be better than chance: balanced accuracy "
        f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}), by chance {chance:.3f}"
    )
    log.add("CL-GUARD", "classifier", told, balanced_accuracy=found.value, chance=chance)
    return (told,)


def _named(one: GroupRate) -> str:
    return one.rate if one.outcome is None else f"{one.rate} of {one.outcome}"


def _summary(
    decided: Decided, said: Predictions, moved: Swaps | None, log: Log, seed: int
) -> dict[str, Any]:
    rates = rates_of(decided)
    small = [one for one in rates if not one.compared]
    if small:
        places = list(
            dict.fromkeys(f"{one.attribute}={one.group} ({_named(one)}: {one.n})" for one in small)
        )
        shown = "; ".join(show_plain(place, 80) for place in places[:NAMED])
        log.add(
            "CL-SMALL",
            "groups",
            f"{len(small)} rates rest on under {decided.fewest} texts and are not compared: "
            f"{shown}{' and more' if len(places) > NAMED else ''}",
            groups=places,
        )
    for reason, count in said.reasons().items():
        first = next(told for kind, told in said.excluded.values() if kind == reason)
        log.add("CL-EXCLUDED", "texts", f"{count} have no prediction: {first}", count=count)
    if said.tokens and said.unknown > MANY_UNKNOWN * said.tokens:
        share = said.unknown / said.tokens
        log.add("CL-UNKNOWN", "texts", f"{share:.0%} of all tokens are unknown to the model")
    return {
        "classes": list(decided.classes),
        "outcomes": [decided.classes[outcome] for outcome in decided.outcomes],
        "attributes": [attribute.name for attribute in decided.attributes],
        "fewest": decided.fewest,
        "rates": [dataclasses.asdict(one) for one in rates],
        "reliability": [dataclasses.asdict(one) for one in reliability_of(decided, seed)],
        "predictions": {
            "texts": len(decided.values),
            "classified": int(decided.known.sum()),
            "excluded": said.reasons(),
            "tokens": said.tokens,
            "unknown": said.unknown,
            "forwards": said.forwards,
        },
        "swaps": swap_summary(moved, log),
    }
