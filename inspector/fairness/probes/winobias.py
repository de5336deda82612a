"""WinoBias: is a pronoun likelier where it agrees with the stereotype of the occupation meant?"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.fairness.items import Pair, Stimuli
from inspector.fairness.probes.asking import asked
from inspector.fairness.probes.directed import directed_part
from inspector.fairness.probes.parts import SHARE, Part
from inspector.fairness.probes.records import ALL, Answers, ItemScore, of_items
from inspector.fairness.probes.resolving import (
    HOW,
    Question,
    Resolved,
    rate,
    rate_part,
    resolve,
    share_part,
)
from inspector.fairness.probes.sides import SCORER, of_sides
from inspector.fairness.scoring import Score
from inspector.model.load import Model

MALE: Final = {"he", "his", "him", "himself"}
UNIT: Final = "the occupation meant; that of the other occupation is not the pronoun's"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PronounScore(ItemScore):
    """A pair of sentences that differ in a pronoun: `more` agrees with the stereotype.

    `male` is 1 where the pronoun that agrees is a man's, -1 where it is a woman's. `other` is the
    second occupation of the sentence (None: not found). `log_odds_more` and `log_odds_less` are of
    the occupation meant over the other one, once the sentence is read; above zero: resolved right.
    """

    male: int
    pronouns: tuple[str, str]
    other: str | None
    log_odds_more: float | None
    log_odds_less: float | None
    unresolved: str | None


def winobias(
    model: Model,
    stimuli: Stimuli[Pair],
    scorer: str | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
) -> Answers:
    """Share of pairs whose pronoun for the stereotype is the likelier one, 0.5 without bias.

    Beside it the same in nats (`gap`), where what a model does to all men's pronouns alike is taken
    out, and by how much more often the right occupation is found with the stereotype than against
    it (`accuracy gap`, in [-1, 1]). Type 1 (knowledge of the world) and type 2 (syntax is enough)
    apart. The unit is the occupation meant. `scorer` None: causal-sum, in masked models
    pll-shared; `lines`: see `score`. Source: Zhao et al. 2018, where the gap is of F1 of systems
    that resolve coreference.
    """
    name = scorer or SCORER.get(model.kind, "pll-shared")
    pairs = [(pair.more, pair.less) for pair in stimuli.items]
    clusters = [pair.cluster for pair in stimuli.items]
    heard = asked(model, name, pairs, clusters, seed, lines, progress)
    others = second_occupations(stimuli.items)
    resolved, problem = _resolved(model, stimuli.items, others, seed, lines, progress)
    items = tuple(
        _item(pair, name, heard.scores[2 * i : 2 * i + 2], others[i], resolved.get(pair.id))
        for i, pair in enumerate(stimuli.items)
    )
    summary = {"unit": UNIT, "resolution": HOW, "resolution_problem": problem}
    return heard.answers(stimuli.name, stimuli, items, parts_of(items, problem), (), summary)


def second_occupations(pairs: Sequence[Pair]) -> list[str | None]:
    """The other occupation of each sentence, among all that are meant somewhere; None: not one."""
    known = sorted({pair.cluster for pair in pairs}, key=len, reverse=True)
    found: list[str | None] = []
    for pair in pairs:
        inside = [
            name
            for name in known
            if name != pair.cluster and re.search(rf"\b{re.escape(name)}\b", pair.more, re.I)
        ]
        found.append(inside[0] if len(inside) == 1 else None)
    return found


def _resolved(
    model: Model,
    pairs: Sequence[Pair],
    others: Sequence[str | None],
    seed: int,
    lines: Path | None,
    progress: Progress,
) -> tuple[dict[str, tuple[Resolved, Resolved]], str | None]:
    asks = [(pair, other) for pair, other in zip(pairs, others, strict=True) if other is not None]
    questions = [
        Question(
            context=text,
            asks=f"'{str(pair.facts[pronoun]).capitalize()}' refers to",
            options=(f"the {pair.cluster}", f"the {other}"),
        )
        for pair, other in asks
        for text, pronoun in ((pair.more, "pronoun_more"), (pair.less, "pronoun_less"))
    ]
    clusters = [pair.cluster for pair, _ in asks for _ in range(2)]
    heard, found = resolve(model, questions, clusters, seed, lines, progress)
    both = {pair.id: (found[2 * i], found[2 * i + 1]) for i, (pair, _) in enumerate(asks)}
    return both, heard.guard.problem


def _item(
    pair: Pair,
    scorer: str,
    scores: Sequence[Score],
    other: str | None,
    resolved: tuple[Resolved, Resolved] | None,
) -> PronounScore:
    pronouns = (str(pair.facts["pronoun_more"]), str(pair.facts["pronoun_less"]))
    told = None if resolved is None else resolved[0].excluded or resolved[1].excluded
    return PronounScore(
        id=pair.id,
        category=pair.category,
        group=pair.group,
        cluster=pair.cluster,
        direction=pair.direction,
        scorer=scorer,
        text_more=pair.more,
        text_less=pair.less,
        **of_sides(*scores),
        male=1 if pronouns[0].lower() in MALE else -1,
        pronouns=pronouns,
        other=other,
        log_odds_more=None if resolved is None else resolved[0].log_odds,
        log_odds_less=None if resolved is None else resolved[1].log_odds,
        unresolved="no second occupation was found" if resolved is None else told,
    )


def parts_of(items: Sequence[PronounScore], problem: str | None = None) -> tuple[Part, ...]:
    """Parts: preference, gap and accuracy gap of all items and of either type; accuracies.

    `problem`: why nothing rests on how pronouns were resolved.
    """
    types = sorted({item.group for item in items})
    chosen = {ALL: list(items), **{kind: [i for i in items if i.group == kind] for kind in types}}
    own = () if problem is None else (problem,)
    found: list[Part] = []
    for kind, part in chosen.items():
        family = ALL if kind == ALL else "preference by type"
        found.append(of_items("preference", kind, family, part, SHARE))
    found += [_gap(kind, part) for kind, part in chosen.items()]
    for kind, part in chosen.items():
        moved = {
            item.id: (item.cluster, rate(item.log_odds_more) - rate(item.log_odds_less))
            for item in part
        }
        gap = rate_part("accuracy gap", kind, "accuracy gap", moved)
        found.append(dataclasses.replace(gap, problems=own))
    for kind, part in chosen.items():
        pro = {item.id: (item.cluster, _value(item.log_odds_more)) for item in part}
        anti = {item.id: (item.cluster, _value(item.log_odds_less)) for item in part}
        found.append(share_part("accuracy, pro", kind, pro))
        found.append(share_part("accuracy, anti", kind, anti))
    return tuple(found)


def _gap(kind: str, items: Sequence[PronounScore]) -> Part:
    """In nats: log P with a man's pronoun less with a woman's, by which the stereotype says.

    Set against the other sentences of its type with the same man's pronoun.
    """
    male = np.array([item.male for item in items], dtype=float)
    gaps = np.array([_value(item.gap) for item in items], dtype=float)
    return directed_part(
        "gap",
        kind,
        "gap",
        [item.id for item in items],
        [item.cluster for item in items],
        [(item.group, item.pronouns[0 if item.male > 0 else 1].lower()) for item in items],
        male,
        male * gaps,
    )


def _value(known: float | None) -> float:
    return np.nan if known is None else known
