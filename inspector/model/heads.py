"""Which heads carry an answer: slopes for all of them, and for the first what is really lost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, UnsupportedModel
from inspector.model.asking import (
    RANGE,
    Question,
    check_finite,
    mean_of,
    outcome,
    shown,
    source,
    whole,
)
from inspector.model.direct import Direct, direct_effects
from inspector.model.gates import ABLATIONS, Site, gate_gradients, scores_without, sites
from inspector.model.load import Model
from inspector.model.questions import questions
from inspector.model.records import HeadEffect, PartEffect
from inspector.results import Records, show_plain
from inspector.weights.problems import Log

TOP = 20  # heads that are taken out one at a time
FEWEST = 3  # heads below which no rank correlation is given
CLEAR = 0.1  # of the largest effect: below it a difference in sign says nothing

Ranged = tuple[float | None, float | None, float | None]  # value, low, high


def heads(
    model: Model,
    texts: Sequence[str],
    target: str | None = None,
    versus: str | None = None,
    ablation: str = "zero",
    top: int = TOP,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Records[HeadEffect]:
    """What each head does to log p(target), less log p(versus) where it is given.

    Slopes of all heads come from one backward pass (Michel et al. 2019); the `top` by importance
    are then taken out one at a time, put in their place being what `ablation` says: zero, mean
    (of the head over all texts) or resample (what it gave on another text, drawn by `seed`).
    The summary holds the rank correlation of the two, and direct effects of MLPs and embedding.
    """
    if ablation not in ABLATIONS:
        raise BadOption(f"Ablation {show_plain(ablation)}: give {', '.join(ABLATIONS)}.")
    if top < 1:
        raise BadOption(f"top={top}: at least one head is to be taken out.")
    log = Log()
    asked = questions(model, texts, target, versus, log, False, progress)
    places = sites(model)
    progress(0, 1, "slopes")
    slopes = [one.cpu().numpy() for one in gate_gradients(model, places, asked)]
    importance = np.concatenate([np.abs(one).mean(0) for one in slopes])
    every = [(site, head) for site, place in enumerate(places) for head in range(place.heads)]
    chosen = [every[i] for i in np.argsort(-importance, kind="stable")[:top]]
    progress(0, 1, "what stands in their place")
    with torch.no_grad():
        found = outcome(model, asked)
        check_finite(found.said)
        score = found.score
    put = ABLATIONS[ablation](model, places, asked, seed)

    def note(done: int, total: int, _label: str) -> None:
        progress(done, total, "taking heads out")

    without = scores_without(model, places, asked, chosen, put, note)
    lost = (score[:, None] - without).cpu().numpy()
    progress(1, 1, "direct effects")
    straight = _direct(model, asked, log)
    largest = float(np.abs(lost.mean(0)).max())
    records = [
        _record(places, slopes, site, head, straight, effect, largest)
        for site, head in every
        for effect in [lost[:, chosen.index((site, head))] if (site, head) in chosen else None]
    ]
    _signs(records, log)
    progress(1, 1, "done")
    return Records(
        command="heads",
        record_type=HeadEffect,
        source=source(model, seed),
        coverage=whole(model),
        summary={
            **_summary(model, asked, score.cpu().numpy(), target, versus),
            "ablation": ablation,
            "heads": len(every),
            "ablated": len(chosen),
            **_correlation(records),
            **_parts(straight),
        },
        records=tuple(records),
        findings=(*model.findings, *log.findings),
    )


def _record(
    places: Sequence[Site],
    slopes: Sequence[Float[np.ndarray, "texts heads"]],
    site: int,
    head: int,
    straight: Direct | None,
    lost: Float[np.ndarray, " texts"] | None,
    largest: float,
) -> HeadEffect:
    place, slope = places[site], slopes[site][:, head]
    sizes = np.abs(slopes[site]).mean(0)
    gate, importance = mean_of(slope), mean_of(np.abs(slope))
    direct: Ranged = (None, None, None)
    effect: Ranged = (None, None, None)
    if straight is not None:
        for i, part in enumerate(straight.parts):
            where = (part.stack, part.layer, part.part, part.head)
            if where == (place.stack, place.layer, place.part, head):
                direct = mean_of(straight.effects[:, i].cpu().numpy())
    confirmed = None
    if lost is not None:
        effect = mean_of(lost)
        mean = float(lost.mean())
        if max(abs(mean), abs(gate[0])) > CLEAR * largest:
            confirmed = mean * gate[0] > 0
    return HeadEffect(
        name=f"{place.name} head {head}",
        stack=place.stack,
        layer=place.layer,
        part=place.part,
        head=head,
        **_ranged("gate", gate),
        **_ranged("importance", importance),
        share=float(sizes[head] / (np.linalg.norm(sizes) or 1.0)),
        **_ranged("direct", direct),
        **_ranged("effect", effect),
        confirmed=confirmed,
    )


def _ranged(name: str, estimate: Ranged) -> dict[str, Any]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), estimate, strict=True))


def _direct(model: Model, asked: Sequence[Question], log: Log) -> Direct | None:
    try:
        found = direct_effects(model, asked)
    except UnsupportedModel as error:
        log.add("HE-DIRECT", "direct", str(error))
        return None
    if found.softcap:
        gap = float(found.gap.abs().max())
        told = f"logits are bent by a soft cap: direct effects are slopes and miss up to {gap:.2g}"
        log.add("HE-SOFTCAP", "direct", told, gap=gap)
    return found


def _signs(records: Sequence[HeadEffect], log: Log) -> None:
    wrong = [record for record in records if record.confirmed is False]
    if wrong:
        told = ", ".join(f"{r.name} ({r.gate:+.2g} against {r.effect:+.2g})" for r in wrong[:5])
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        log.add("HE-SIGN", "heads", f"slope and exact effect differ in sign: {told}{more}")


def _summary(
    model: Model,
    asked: Sequence[Question],
    score: Float[np.ndarray, " texts"],
    target: str | None,
    versus: str | None,
) -> dict[str, Any]:
    return {
        "texts": len(asked),
        "target": target,
        "versus": versus,
        "answers": None if target else [shown(model, question.answer) for question in asked],
        "unit": "nats",
        **_ranged("score", mean_of(score)),
        "range": RANGE,
    }


def _correlation(records: Sequence[HeadEffect]) -> dict[str, Any]:
    """Spearman's, between slopes and exact effects of the heads that were taken out."""
    taken = [record for record in records if record.effect is not None]
    effects = np.array([record.effect for record in taken])
    slopes = np.array([record.gate for record in taken])
    return {
        "rank_correlation": rank_correlation(slopes, effects),
        "signs_confirmed": sum(record.confirmed is True for record in taken),
        "signs_refuted": sum(record.confirmed is False for record in taken),
    }


def rank_correlation(
    one: Float[np.ndarray, " heads"], other: Float[np.ndarray, " heads"]
) -> float | None:
    """Spearman's, ties sharing their mean rank; None for fewer than FEWEST or no spread."""
    if len(one) < FEWEST or not one.std() or not other.std():
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Float[np.ndarray, " heads"]) -> Float[np.ndarray, " heads"]:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def _parts(straight: Direct | None) -> dict[str, Any]:
    """Direct effects of what is no head, their sum with the heads' and the logit it should be."""
    if straight is None:
        return {"direct_parts": None, "direct_logit": None, "direct_gap": None}
    parts = [
        PartEffect(
            name=part.name,
            kind=part.kind,
            layer=part.layer,
            **_ranged("direct", mean_of(straight.effects[:, i].cpu().numpy())),
        )
        for i, part in enumerate(straight.parts)
        if part.head is None
    ]
    return {
        "direct_parts": parts,
        "direct_logit": float(straight.logit.mean()),
        "direct_gap": float(straight.gap.abs().max()),
    }
