"""What is written down with every attribution: what was asked, what it cost, and if it holds."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from inspector.model.coalitions import Coalitions
from inspector.model.faithfulness import FEW, NOTHING, RANDOM, WORSE, Faithfulness, Measure
from inspector.model.features import Prompt
from inspector.model.load import Model
from inspector.model.records import TokenScore
from inspector.weights.problems import Log

MET, MISSED, UNPROMISED = "met", "missed", "not promised"  # do the scores sum to F(x) - F(x')


def asked(rows: Coalitions) -> dict[str, Any]:
    """The question, and the log-probability of each answer in nats, whole and per token."""
    question = rows.scorer.question
    answers, ids = question.named, question.answers
    each = [float(value) for value in rows.each]
    per_token = [value / len(given) for value, given in zip(each, ids, strict=True)]
    gap = {"per_token": per_token[0] - per_token[1]} if len(ids) == 2 else {}
    return {
        "text": rows.prompt.text,
        "answers": [
            {"text": text, "ids": list(given), "log_probability": whole, "per_token": share}
            for text, given, whole, share in zip(answers, ids, each, per_token, strict=True)
        ],
        **gap,
        "kept": list(rows.prompt.kept),
    }


def sums(
    scores: Float[np.ndarray, " units"], whole: float, none: float, tolerance: float, promised: bool
) -> dict[str, Any]:
    """F of the text and of the baseline, and how far the scores are from their difference."""
    gap = abs(float(scores.sum()) - (whole - none))
    met = gap <= allowed(whole - none, tolerance)
    return {
        "f_input": whole,
        "f_baseline": none,
        "sum": float(scores.sum()),
        "completeness_gap": gap,
        "completeness_relative": gap / abs(whole - none) if whole != none else None,
        "completeness": (MET if met else MISSED) if promised else UNPROMISED,
    }


def allowed(difference: float, tolerance: float) -> float:
    """The largest completeness gap that passes, in nats."""
    return tolerance * max(1.0, abs(difference))


def shown_baseline(prompt: Prompt) -> dict[str, Any]:
    """What stood in the place of words: its name, ids and text."""
    return {
        "name": prompt.baseline_name,
        "ids": prompt.baseline.tolist(),
        "text": prompt.baseline_text,
    }


def shown(held: Faithfulness | None, moved: Measure | None) -> dict[str, Any] | None:
    """Faithfulness as plain values; None where nothing was tested."""
    if held is None and moved is None:
        return None
    found: dict[str, Any] = {}
    if held is not None:
        found = {
            field.name: getattr(held, field.name)
            for field in dataclasses.fields(held)
            if field.name not in ("verdict", "removal", "measures")
        } | dict(held.measures)
    return found | {"sensitivity": moved}


def dtype(model: Model) -> str:
    """What the model computes in."""
    return str(model.dtype).removeprefix("torch.")


def records(
    prompt: Prompt, scores: Float[np.ndarray, " units"], held: Faithfulness | None
) -> tuple[TokenScore, ...]:
    """One record per unit."""
    return tuple(
        TokenScore(
            position=unit.positions[0],
            token=unit.token,
            text=unit.text,
            score=float(scores[i]),
            start=unit.start,
            end=unit.end,
            tokens=len(unit.positions),
            baseline=unit.baseline,
            removal=held.removal[i] if held else None,
        )
        for i, unit in enumerate(prompt.units)
    )


def note(
    log: Log, model: Model, rows: Coalitions, summary: Mapping[str, Any], gradient: bool
) -> None:
    """Findings on what stands in the way of believing the scores."""
    where = str(summary["method"])
    if summary["completeness"] == MISSED:
        log.add(
            "AT-GAP",
            where,
            f"the scores sum to {summary['sum']:.4g}, not to {summary['f_input']:.4g} less "
            f"{summary['f_baseline']:.4g}: they miss by {summary['completeness_gap']:.2g} nats "
            f"with {summary['samples']} steps or samples",
            gap=summary["completeness_gap"],
        )
    for id, verdict in (
        ("AT-RANDOM", RANDOM),
        ("AT-WORSE", WORSE),
        ("AT-NOTHING", NOTHING),
        ("AT-FEW", FEW),
    ):
        if summary["verdict"] == verdict:
            log.add(id, where, str(summary["told"]))
    if gradient and model.dtype.itemsize < 4:
        log.add("AT-DTYPE", where, f"gradients are computed in {summary['dtype']}")
    unknown = model.tokenizer.unk_token_id
    count = int((rows.prompt.ids == unknown).sum()) if unknown is not None else 0
    if count:
        log.add("AT-UNKNOWN", "text", f"{count} tokens of the text are unknown words", count=count)
    if model.kind == "causal" and not rows.scorer.reuse:
        log.add("AT-REUSE", where, "what lies before a replaced word could not be remembered")
