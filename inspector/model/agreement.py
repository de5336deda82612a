"""Do methods and attention agree on which words matter; ranked by how well each one holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from inspector.engine import Progress, no_progress
from inspector.errors import InspectorError
from inspector.model import receipt
from inspector.model.asking import source, whole
from inspector.model.attention_map import attention_map
from inspector.model.attribution import METHODS, converged, explain, method_of
from inspector.model.coalitions import MEMORY, Coalitions, asked_of
from inspector.model.faithfulness import NOTHING, ORDERS, Faithfulness, faithfulness, kendall
from inspector.model.load import Model
from inspector.model.places import is_causal
from inspector.model.records import Agreement
from inspector.results import Records, show_plain
from inspector.weights.problems import Log

ALONE = "leave-one-out"
ATTENTION = ("attention", "attention, by values", "attention rollout")
NOTHING_TO_AGREE = "Nothing to explain here, so nothing that methods or attention could agree on."
ALIKE = 0.5  # rank correlation under which two pictures are not the same


def agreement(
    model: Model,
    text: str,
    target: str,
    versus: str | None = None,
    methods: Sequence[str] = tuple(METHODS),
    baseline: str | None = None,
    units: str | Sequence[str] = "tokens",
    orders: int = ORDERS,
    seed: int = 0,
    memory: int = MEMORY,
    progress: Progress = no_progress,
) -> Records[Agreement]:
    """Rank correlations of methods, leave-one-out and attention on one question.

    The summary ranks them by the area between insertion and deletion, each against random orders,
    and says whether attention is attribution here (Jain & Wallace 2019, Wiegreffe & Pinter 2019).
    Attention is that of the place where the answer is read, the mean over heads and layers.
    """
    log = Log()
    chosen = {name: method_of(model, name) for name in methods}
    rows = asked_of(model, text, target, versus, units, baseline, memory, log)
    scores: dict[str, np.ndarray] = {}
    steps = 2 * len(chosen) + 1 + len(ATTENTION)  # to run them, and to hold each against chance
    for done, (name, method) in enumerate(chosen.items(), 1):
        scores[name], _ = converged(rows, method, seed=seed)
        progress(done, steps, name)
    alone = explain(rows, METHODS["feature-ablation"], 0, seed)
    scores[ALONE] = alone
    seen = _attention(rows, log)
    held: dict[str, Faithfulness] = {}
    for name, each in {**scores, **seen}.items():
        held[name] = faithfulness(rows, each, orders, seed, versus is not None)
        progress(len(chosen) + len(held), steps, f"{name} against random orders")
    progress(steps, steps, "done")
    records = _pairs(scores, seen)
    ranked = sorted(held, key=lambda name: -held[name].measures["area"].value)
    idle = all(one.verdict == NOTHING for one in held.values())
    told = NOTHING_TO_AGREE if idle else _told(log, ranked, scores, seen)
    return Records(
        command="agreement",
        record_type=Agreement,
        source=source(model, seed),
        coverage=whole(model),
        summary={
            **receipt.asked(rows),
            "f_input": rows.plain,
            "f_baseline": rows.one(False),
            "baseline": receipt.shown_baseline(rows.prompt),
            "tokens": [unit.text for unit in rows.prompt.units],
            "ranking": [_line(name, held[name], {**scores, **seen}[name]) for name in ranked],
            "told": told,
        },
        records=tuple(records),
        findings=(*model.findings, *log.findings),
    )


def _attention(rows: Coalitions, log: Log) -> dict[str, Float[np.ndarray, " units"]]:
    """Attention of the place that is asked to each unit, the mean over all heads."""
    model = rows.scorer.model
    if model.kind == "encoder-decoder":
        log.add("AT-ATTENTION", "attention", "the answer is read in another stack than the text")
        return {}
    heads = [(b.layer, head) for b in model.blocks for head in range(b.heads)]
    try:
        found = attention_map(model, rows.prompt.text, heads)
    except InspectorError as error:
        log.add("AT-ATTENTION", "attention", show_plain(str(error)))
        return {}
    places = list(_asked_at(rows))
    maps = {
        ATTENTION[0]: found.weights.mean(0),
        ATTENTION[1]: None if found.value_weighted is None else found.value_weighted.mean(0),
        ATTENTION[2]: found.rollout,
    }
    return {
        name: np.array(
            [values[places][:, list(u.positions)].sum(-1).mean() for u in rows.prompt.units]
        )
        for name, values in maps.items()
        if values is not None
    }


def _asked_at(rows: Coalitions) -> Sequence[int]:
    """The positions of the text whose output holds the answer."""
    question, model = rows.scorer.question, rows.scorer.model
    if model.kind == "masked":
        return question.places
    last = is_causal(model.network, model.blocks[-1], model.kind)
    return (len(question.ids) - 1,) if last else (0,)


def _pairs(
    scores: Mapping[str, Float[np.ndarray, " units"]],
    seen: Mapping[str, Float[np.ndarray, " units"]],
) -> list[Agreement]:
    names = [*scores, *seen]
    found = []
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            signed = not {one, other} & seen.keys()
            pair = [{**scores, **seen}[name] for name in (one, other)]
            if not signed:
                pair = [np.abs(values) for values in pair]
            found.append(
                Agreement(
                    one=one,
                    other=other,
                    signed=signed,
                    spearman=spearman(*pair),
                    kendall=kendall(*pair),
                )
            )
    return found


def spearman(one: Float[np.ndarray, " units"], other: Float[np.ndarray, " units"]) -> float | None:
    """Spearman's rank correlation, equal values sharing their ranks; None where one is constant."""
    first, second = (_ranks(values) - (len(values) - 1) / 2 for values in (one, other))
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / size if size else None


def _ranks(values: Float[np.ndarray, " units"]) -> Float[np.ndarray, " units"]:
    below = (values[:, None] > values[None]).sum(1)
    same = (values[:, None] == values[None]).sum(1)
    return np.asarray(below + (same - 1) / 2)


def _line(name: str, held: Faithfulness, scores: Float[np.ndarray, " units"]) -> dict[str, Any]:
    headline = held.measures["area"]
    return {
        "name": name,
        "verdict": held.verdict,
        "area": headline,
        "tau": held.tau,
        "scores": [float(score) for score in scores],
    }


def _told(
    log: Log,
    ranked: Sequence[str],
    scores: Mapping[str, Float[np.ndarray, " units"]],
    seen: Mapping[str, Float[np.ndarray, " units"]],
) -> str:
    """Whether attention points where the method that holds best does."""
    best = next((name for name in ranked if name in scores), None)
    if best is None or ATTENTION[0] not in seen:
        return "Attention was not compared."
    found = spearman(np.abs(scores[best]), seen[ATTENTION[0]])
    if found is None:
        return "One of the two is the same for every word: no rank correlation."
    told = f"its rank correlation with {best}, which holds best, is {found:.2f}"
    if found >= ALIKE:
        return f"Attention points where attribution does, here: {told}."
    log.add("AT-DISAGREE", "attention", f"attention is not attribution, here: {told}")
    return f"Attention is not attribution, here: {told}."
