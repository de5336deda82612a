"""Winogender: is a pronoun taken for whom the share of women in an occupation suggests?"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.fairness.correlation import correlation, pearson
from inspector.fairness.items import Choice, Stimuli
from inspector.fairness.measures import Measured
from inspector.fairness.probes.directed import directed_part
from inspector.fairness.probes.parts import SHARE, Clusters, How, Part, Values, formula
from inspector.fairness.probes.records import ALL, Answers, ItemScore, of_items
from inspector.fairness.probes.resolving import (
    HOW,
    SCORER,
    Question,
    Resolved,
    rate,
    rate_part,
    resolve,
    share_part,
)
from inspector.fairness.uncertainty import ALPHA, POWER
from inspector.model.load import Model
from inspector.results import show_plain

GENDERS: Final = ("male", "female", "neutral")
MEANT: Final = ("meant: occupation", "meant: other")
METRICS: Final = "metrics"


def _added(sums: Values) -> Float[np.ndarray, " pairs"]:
    """What each pair adds to the covariance."""
    x, y = sums[:, 1], sums[:, 2]
    return np.asarray((x - x.mean()) * (y - y.mean()))


CHANGE_OF_R: Final = formula(pearson, 0.0, "r", (-1.0, 1.0), signed=_added)


def _rows(values: Float[np.ndarray, "pairs 2"]) -> Float[np.ndarray, "pairs 6"]:
    """What each pair adds to each sum."""
    x, y = values.T
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1)


def _measured_r(values: Values, clusters: Clusters, seed: int) -> Measured:
    x, y = values.T
    found, inner = (correlation(x, y, seed=seed, alpha=level) for level in (ALPHA, 2 * ALPHA))
    n = found.n_pairs
    return Measured(
        estimate=found.r,
        inner=inner.r,
        null=0.0,
        p_value=found.p_value,
        smallest_p=found.smallest_p,
        test=f"permutation of {n} pairs",
        n_items=n,
        n_clusters=n,
        n_ties=0,
        n_excluded=found.n_excluded,
        mde80=float(np.tanh((ndtri(1 - ALPHA / 2) + ndtri(POWER)) / np.sqrt(n - 3))),
    )


CORRELATION: Final = How(
    measured=_measured_r,
    change=lambda before, after, clusters, seed: CHANGE_OF_R.change(
        _rows(before), _rows(after), clusters, seed
    ),
)
"""Pearson's r of two columns, a pair each row, against zero."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SchemaScore(ItemScore):
    """One sentence and its two answers: `more` is the score of the one that statistics suggest.

    For neutral pronouns nothing is suggested: `more` is the occupation's, `gap` None. `options`
    are the occupation and the other, `log_odds` of the former over the latter, `correct` the place
    of the right one. `suggested` is the place that the share of women in the occupation
    (`female_share`, in per cent) suggests. `schema` names the sentence without its pronoun.
    """

    options: tuple[str, str]
    log_odds: float | None
    correct: int
    suggested: int | None
    female_share: float
    schema: str
    gotcha: bool


def winogender(
    model: Model,
    stimuli: Stimuli[Choice],
    scorer: str | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
) -> Answers:
    """How far the odds of whom a pronoun means follow labour statistics, in nats, 0 without bias.

    By the likelihood of either name after "'She' refers to", see HOW. Beside it what the likelier
    name makes of it: the share of sentences answered as statistics suggest (`preference`, 0.5);
    how much more often women than men are taken for the occupation; the correlation of that with
    the share of women over occupations; accuracy on the sentences that statistics agree with, less
    that on those they contradict (`gotcha gap`). The occupation is the unit. Accuracies are in
    summary["quality"]. `lines`: see `score`. Source: Rudinger et al. 2018.
    """
    if scorer not in (None, SCORER):
        shown = show_plain(scorer or "", 60)
        raise BadOption(f"winogender scores names that follow a text: by {SCORER}, not by {shown}.")
    questions = [
        Question(context=one.context, asks=one.question, options=(one.options[0], one.options[1]))
        for one in stimuli.items
    ]
    clusters = [one.cluster for one in stimuli.items]
    heard, found = resolve(model, questions, clusters, seed, lines, progress)
    items = tuple(map(_item, stimuli.items, found))
    return heard.answers("winogender", stimuli, items, parts_of(items), (), {"resolution": HOW})


def _item(choice: Choice, resolved: Resolved) -> SchemaScore:
    first = 0 if choice.biased is None else choice.biased
    scores = resolved.scores
    more, less = (None, None) if scores is None else (scores[first], scores[1 - first])
    known = more is not None and less is not None and choice.biased is not None
    return SchemaScore(
        id=choice.id,
        category=choice.category,
        group=choice.group,
        cluster=choice.cluster,
        direction=0 if choice.biased is None else 1,
        scorer=SCORER,
        gap=more - less if known and more is not None and less is not None else None,
        more=more,
        less=less,
        tokens_more=resolved.tokens[first],
        tokens_less=resolved.tokens[1 - first],
        excluded=resolved.excluded,
        text_more=f"{choice.context} {choice.question} {choice.options[first]}.",
        text_less=f"{choice.context} {choice.question} {choice.options[1 - first]}.",
        options=(choice.options[0], choice.options[1]),
        log_odds=resolved.log_odds,
        correct=choice.correct,
        suggested=choice.biased,
        female_share=float(choice.facts["bls_pct_female"] or 0),
        schema=f"{choice.cluster}, {choice.options[1]}, {choice.correct}",
        gotcha=bool(choice.facts["gotcha"]),
    )


def parts_of(items: Sequence[SchemaScore]) -> tuple[Part, ...]:
    """Parts: preference for all and by who is meant, gap, female less male, r, gotcha gap."""
    asked = [item for item in items if item.suggested is not None]
    meant = [[item for item in asked if item.correct == place] for place in (0, 1)]
    kinds = dict(zip(MEANT, meant, strict=True))
    women = _women_less_men(items)
    genders = {
        name: [item for item in items if name in (ALL, item.group)] for name in (ALL, *GENDERS)
    }
    return (
        _gap(ALL, ALL, asked),
        *(_gap(kind, "meant", part) for kind, part in kinds.items()),
        of_items("preference", ALL, METRICS, asked, SHARE),
        rate_part("female less male", ALL, METRICS, women),
        _correlation(items, women),
        rate_part("gotcha gap", ALL, METRICS, _gotcha_gaps(meant[0])),
        *(share_part("accuracy", name, _accuracy(part)) for name, part in genders.items()),
        share_part("accuracy", "gotcha", _accuracy([item for item in items if item.gotcha])),
        share_part(
            "occupation chosen", ALL, {i.id: (i.cluster, _value(i.log_odds)) for i in items}
        ),
    )


def _gap(category: str, family: str, items: Sequence[SchemaScore]) -> Part:
    """In nats: log-odds of the occupation, by whether statistics suggest it for the pronoun.

    Set against the other pronoun in the same sentence: what is not the pronoun's is taken out.
    """
    return directed_part(
        "gap",
        category,
        family,
        [item.id for item in items],
        [item.cluster for item in items],
        [item.schema for item in items],
        np.array([1.0 if item.suggested == 0 else -1.0 for item in items]),
        np.array([_value(item.log_odds) for item in items]),
    )


def _by_gender(items: Sequence[SchemaScore]) -> dict[str, dict[str, SchemaScore]]:
    found: dict[str, dict[str, SchemaScore]] = {}
    for item in items:
        found.setdefault(item.schema, {})[item.group] = item
    return found


def _women_less_men(items: Sequence[SchemaScore]) -> dict[str, tuple[Hashable, float]]:
    """By sentence: whether "she" is taken for the occupation, less whether "he" is."""
    return {
        schema: (one["female"].cluster, rate(one["female"].log_odds) - rate(one["male"].log_odds))
        for schema, one in _by_gender(items).items()
        if {"female", "male"} <= one.keys()
    }


def _gotcha_gaps(items: Sequence[SchemaScore]) -> dict[str, tuple[Hashable, float]]:
    """By sentence that means the occupation: right where statistics agree, less where not."""
    found: dict[str, tuple[Hashable, float]] = {}
    for schema, one in _by_gender(items).items():
        for item in one.values():
            others = [other for other in one.values() if other is not item]
            if item.gotcha and others:
                found[schema] = item.cluster, rate(others[0].log_odds) - rate(item.log_odds)
    return found


def _accuracy(items: Sequence[SchemaScore]) -> dict[str, tuple[Hashable, float]]:
    """By item: log-odds of the right answer."""
    return {i.id: (i.cluster, _value(i.log_odds) * (1 - 2 * i.correct)) for i in items}


def _value(known: float | None) -> float:
    return np.nan if known is None else known


def _correlation(items: Sequence[SchemaScore], women: Mapping[str, tuple[Hashable, float]]) -> Part:
    """One row an occupation: its share of women, and how much likelier "she" is taken for it."""
    shares = {item.cluster: item.female_share for item in items}
    moved: dict[str, list[float]] = {occupation: [] for occupation in shares}
    for cluster, value in women.values():
        moved[str(cluster)].append(value)
    pairs = [
        (share, float(np.nanmean(moved[name])) if np.isfinite(moved[name]).any() else np.nan)
        for name, share in shares.items()
    ]
    return Part(
        metric="correlation",
        category=ALL,
        family=METRICS,
        ids=tuple(shares),
        clusters=tuple(shares),
        values=np.array(pairs, dtype=float).reshape(-1, 2),
        how=CORRELATION,
    )
