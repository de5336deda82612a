"""Templates filled four ways: what probes of the odds of two words have in common."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from inspector.engine import Progress
from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import t_interval, totals
from inspector.fairness.items import Contrast, Item, Stimuli, Target
from inspector.fairness.probes.asking import asked
from inspector.fairness.probes.directed import added, directed_part
from inspector.fairness.probes.parts import Part
from inspector.fairness.probes.records import ALL, CONTROLS, Answers, ItemScore
from inspector.fairness.scoring import Score
from inspector.fairness.sensitivity import template_sensitivity
from inspector.fairness.sentences import Sentence
from inspector.model.load import Model
from inspector.results import show_plain

SCORER: Final = "continuation"
CONTROL_TARGETS: Final = "control targets"
CONTROL_WORDS: Final = "control words"
LEAST_SCORED: Final = 0.5  # of items; with fewer the set is not about what the model knows
WORDS_FIRST: Final = (
    "the model reads from left to right, and the words stand before the target: it cannot matter"
)
Four = tuple[Sentence, Sentence, Sentence, Sentence]
"""Beside the target with either word, beside what stands in its place with either word."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastScore(ItemScore):
    """A template filled four ways: `more` and `less` are log-odds of the first word over the other.

    `more` beside the target, `less` beside what stands in its place, in nats; `difference` is the
    one less the other, D, and `gap` is `direction` times that (None in targets without a
    direction, which are no part of any number). `tokens_more` and `tokens_less` are of the first
    and of the second word, `text_more` holds the first, `text_less` the second. `neutral` is what
    stands in the target's place, `control` the kind of control or empty.
    """

    template: str
    target: str
    pair: str
    words: tuple[str, str]
    control: str
    difference: float | None
    neutral: str


def ask_contrasts(
    model: Model,
    probe: str,
    stimuli: Stimuli[Item],
    contrasts: Sequence[Contrast],
    fours: Sequence[Four],
    neutral: Sequence[str],
    scorer: str | None,
    seed: int,
    lines: Path | None,
    progress: Progress,
) -> Answers:
    """Answers of a probe that asks each contrast in four sentences; `neutral`: see ContrastScore.

    The guard is tried on the sentences beside targets, either word, by template. Raises BadOption
    for another scorer.
    """
    if scorer not in (None, SCORER):
        shown = show_plain(scorer or "", 60)
        raise BadOption(f"{probe} scores words within a text: by {SCORER}, not by {shown}.")
    template_of = {
        sentence: contrast.template
        for contrast, four in zip(contrasts, fours, strict=True)
        for sentence in four
    }
    beside = {four[0]: four[:2] for four in fours}
    heard = asked(
        model,
        SCORER,
        list(template_of),
        list(template_of.values()),
        seed,
        lines,
        progress,
        [beside.get(sentence) for sentence in template_of],
    )
    score_of = dict(zip(template_of, heard.scores, strict=True))
    controls = {item.id for item in stimuli.items if isinstance(item, Target) and item.control}
    items = tuple(
        _item(model, contrast, [score_of[s] for s in four], text, contrast.target in controls)
        for contrast, four, text in zip(contrasts, fours, neutral, strict=True)
    )
    parts = _parts(items)
    summary = {
        "neutral": list(dict.fromkeys(neutral)),
        "words": _words(items),
        "sensitivity": _sensitivity(items, parts, seed),
    }
    return heard.answers(probe, stimuli, items, parts, _few(items), summary)


def _item(
    model: Model,
    contrast: Contrast,
    scores: Sequence[Score],
    neutral: str,
    control_target: bool,
) -> ContrastScore:
    more, less = _log_odds(scores[0], scores[1]), _log_odds(scores[2], scores[3])
    out = next((one.told for one in scores if one.told is not None), None)
    if model.kind == "causal" and contrast.before == contrast.neutral_before:
        out = WORDS_FIRST
    known = more is not None and less is not None and out is None
    difference = more - less if known and more is not None and less is not None else None
    direction = contrast.direction
    control = ""
    if contrast.control:
        control = CONTROL_TARGETS if control_target else CONTROL_WORDS
    return ContrastScore(
        id=contrast.id,
        category=contrast.category,
        group=contrast.group,
        cluster=contrast.target,
        direction=direction,
        scorer=SCORER,
        gap=direction * difference if direction and difference is not None else None,
        more=more,
        less=less,
        tokens_more=scores[0].tokens,
        tokens_less=scores[1].tokens,
        excluded=out,
        text_more=scores[0].text,
        text_less=scores[1].text,
        template=contrast.template,
        target=contrast.target,
        pair=contrast.pair,
        words=contrast.words,
        control=control,
        difference=difference,
        neutral=neutral,
    )


def _log_odds(first: Score, second: Score) -> float | None:
    if first.score is None or second.score is None:
        return None
    return first.score - second.score


def _few(items: Sequence[ContrastScore]) -> list[str]:
    return too_few(sum(item.difference is not None for item in items), len(items))


def too_few(scored: int, items: int) -> list[str]:
    """A problem where most items could not be asked."""
    if scored >= LEAST_SCORED * items:
        return []
    return [
        f"only {scored} of {items} items could be scored: most templates, targets or words "
        "are none that this model knows; give templates in its words"
    ]


def _parts(items: Sequence[ContrastScore]) -> tuple[Part, ...]:
    directed = [item for item in items if item.direction]
    asked = [item for item in directed if not item.control]
    targets: dict[str, set[str]] = {}
    for item in asked:
        targets.setdefault(_group(item), set()).add(item.target)
    kinds: list[tuple[str, dict[str, list[ContrastScore]]]] = [
        (ALL, {ALL: asked}),
        ("categories", _by(asked, lambda item: item.category)),
        ("groups", _by([i for i in asked if len(targets[_group(i)]) > 1], _group)),
        (CONTROLS, _by([item for item in directed if item.control], lambda item: item.control)),
    ]
    return tuple(
        _part(category, family, part) for family, parts in kinds for category, part in parts.items()
    )


def _group(item: ContrastScore) -> str:
    return f"group: {item.category}: {item.group}"


def _by(
    items: Sequence[ContrastScore], name: Callable[[ContrastScore], str]
) -> dict[str, list[ContrastScore]]:
    found: dict[str, list[ContrastScore]] = {key: [] for key in sorted({name(i) for i in items})}
    for item in items:
        found[name(item)].append(item)
    return found


def _part(category: str, family: str, items: Sequence[ContrastScore]) -> Part:
    return directed_part(
        "gap",
        category,
        family,
        [item.id for item in items],
        [item.cluster for item in items],
        [(item.template, item.pair) for item in items],
        np.array([item.direction for item in items], dtype=float),
        np.array([np.nan if i.difference is None else i.difference for i in items], dtype=float),
    )


def _words(items: Sequence[ContrastScore]) -> list[dict[str, Any]]:
    """Of each pair of words: how many tokens either has, and how its odds stand uncorrected."""
    asked = [item for item in items if item.control != CONTROL_TARGETS]
    return [_pair(pair, part) for pair, part in _by(asked, lambda item: item.pair).items()]


def _pair(pair: str, items: Sequence[ContrastScore]) -> dict[str, Any]:
    """`raw_log_odds` and `neutral_log_odds` are means of `more` and `less`, whatever the direction.

    `raw_gap` is the mean of direction times `more`: what would be told without the correction.
    """
    scored = [item for item in items if item.difference is not None]
    directed = [item for item in scored if item.direction]
    return {
        "pair": pair,
        "category": items[0].category,
        "words": list(items[0].words),
        "control": bool(items[0].control),
        "tokens": [
            sorted({item.tokens_more for item in scored}),
            sorted({item.tokens_less for item in scored}),
        ],
        "raw_log_odds": _mean(scored, [item.more for item in scored]),
        "neutral_log_odds": _mean(scored, [item.less for item in scored]),
        "raw_gap": _mean(directed, [item.direction * (item.more or 0.0) for item in directed]),
        "gap": _mean(directed, [item.gap for item in directed]),
        "n_items": len(scored),
        "n_excluded": len(items) - len(scored),
    }


def _mean(items: Sequence[ContrastScore], values: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean with its interval over targets; None for fewer than two of them."""
    try:
        found = totals(np.array(values, dtype=float), [item.cluster for item in items])
        return dataclasses.asdict(t_interval(found))
    except NotEnoughData:
        return None


def _sensitivity(
    items: Sequence[ContrastScore], parts: Sequence[Part], seed: int
) -> Mapping[str, Any]:
    """How far each category's number hangs on its templates, and that over all of them."""
    place = {item.id: item for item in items}
    wanted = [part for part in parts if part.family in (ALL, "categories")]
    told = {}
    for part in wanted[:1] if len(wanted) == 2 else wanted:
        own = [place[id] for id in part.ids]
        try:
            found = template_sensitivity(
                added(part), [i.template for i in own], [i.target for i in own], seed=seed
            )
            told[part.category] = dataclasses.asdict(found)
        except NotEnoughData as error:
            told[part.category] = {"refused": str(error)}
    return told
