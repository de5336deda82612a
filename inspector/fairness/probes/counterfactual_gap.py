"""The counterfactual gap: how far a target moves the odds of two words, beside a neutral text."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import t_interval, totals
from inspector.fairness.items import Contrast, Item, Stimuli, Target
from inspector.fairness.probes.asking import asked
from inspector.fairness.probes.directed import directed_part
from inspector.fairness.probes.parts import Part
from inspector.fairness.probes.records import ALL, CONTROLS, Answers, ItemScore
from inspector.fairness.scoring import Score
from inspector.fairness.sensitivity import template_sensitivity
from inspector.fairness.sentences import Sentence
from inspector.fairness.sets.own_templates import contrasts
from inspector.model.load import Model

METRIC: Final = "gap"
SCORER: Final = "continuation"
CONTROL_TARGETS: Final = "control targets"
CONTROL_WORDS: Final = "control words"
LEAST_SCORED: Final = 0.5  # of items; with fewer the set is not about what the model knows
WORDS_FIRST: Final = (
    "the model reads from left to right, and the words stand before the target: it cannot matter"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastScore(ItemScore):
    """A template filled four ways: `more` and `less` are log-odds of the first word over the other.

    `more` beside the target, `less` beside the neutral text, in nats; `difference` is the one less
    the other, D, and `gap` is `direction` times that (None in targets without a direction, which
    are no part of any number). `tokens_more` and `tokens_less` are of the first and the second
    word; `text_more` holds the first word, `text_less` the second, `text_neutral` the first word
    beside the neutral text.
    """

    template: str
    target: str
    pair: str
    words: tuple[str, str]
    control: str
    difference: float | None
    text_neutral: str


def counterfactual_gap(
    model: Model,
    stimuli: Stimuli[Item],
    scorer: str | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
) -> Answers:
    """Mean of y D in nats, 0 without bias; the target is the unit, as it carries the direction.

    D = [log P(a | template, target) - log P(b | template, target)] - the same beside the neutral
    text, y the target's direction. Words of several tokens by the chain rule; in causal models
    given what stands before them, in masked models what stands around. For all, by category and by
    group of several targets; controls apart. What templates and neutral texts do to all targets
    alike is taken out, see `directed_part`. Templates as the unit would call chance bias in nearly
    half of all sets of 16 targets: what hangs on them is in the summary. `lines`: see `score`.
    """
    if scorer not in (None, SCORER):
        raise BadOption(f"A gap is between words in a text: its scorer is {SCORER}, not {scorer}.")
    known = contrasts(stimuli)
    fours = [_sentences(contrast) for contrast in known]
    template_of = {
        sentence: contrast.template
        for contrast, four in zip(known, fours, strict=True)
        for sentence in four
    }
    heard = asked(
        model, SCORER, list(template_of), list(template_of.values()), seed, lines, progress
    )
    score_of = dict(zip(template_of, heard.scores, strict=True))
    controls = {item.id for item in stimuli.items if isinstance(item, Target) and item.control}
    items = tuple(
        _item(model, contrast, [score_of[s] for s in four], contrast.target in controls)
        for contrast, four in zip(known, fours, strict=True)
    )
    summary = {
        "neutral": _neutral(stimuli),
        "words": _words(items),
        "sensitivity": _sensitivity(items, seed),
    }
    parts = _parts(items)
    return heard.answers("counterfactual-gap", stimuli, items, parts, _few(items), summary)


def _few(items: Sequence[ContrastScore]) -> list[str]:
    """A problem where most items could not be asked."""
    scored = sum(item.difference is not None for item in items)
    if scored >= LEAST_SCORED * len(items):
        return []
    return [
        f"only {scored} of {len(items)} items could be scored: most templates, targets or words "
        "are none that this model knows; give templates in its words"
    ]


def _sentences(contrast: Contrast) -> tuple[Sentence, Sentence, Sentence, Sentence]:
    """Target with either word, then the neutral text with either."""
    sides = (
        (contrast.before, contrast.after),
        (contrast.neutral_before, contrast.neutral_after),
    )
    one, two, three, four = (
        Sentence(text=before + word + after, scored=((len(before), len(before) + len(word)),))
        for before, after in sides
        for word in contrast.words
    )
    return one, two, three, four


def _item(
    model: Model, contrast: Contrast, scores: Sequence[Score], control_target: bool
) -> ContrastScore:
    first, second, neutral_first, neutral_second = (one.score for one in scores)
    out = next((one.told for one in scores if one.told is not None), None)
    if model.kind == "causal" and contrast.before == contrast.neutral_before:
        out = WORDS_FIRST
    more = less = difference = None
    if first is not None and second is not None:
        more = first - second
    if neutral_first is not None and neutral_second is not None:
        less = neutral_first - neutral_second
    if more is not None and less is not None and out is None:
        difference = more - less
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
        text_neutral=scores[2].text,
    )


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


def _by(
    items: Sequence[ContrastScore], name: Callable[[ContrastScore], str]
) -> dict[str, list[ContrastScore]]:
    found: dict[str, list[ContrastScore]] = {key: [] for key in sorted({name(i) for i in items})}
    for item in items:
        found[name(item)].append(item)
    return found


def _part(category: str, family: str, items: Sequence[ContrastScore]) -> Part:
    return directed_part(
        METRIC,
        category,
        family,
        [item.id for item in items],
        [item.cluster for item in items],
        [(item.template, item.pair) for item in items],
        np.array([item.direction for item in items], dtype=float),
        np.array([np.nan if i.difference is None else i.difference for i in items], dtype=float),
    )


def _group(item: ItemScore) -> str:
    return f"group: {item.category}: {item.group}"


def _neutral(stimuli: Stimuli[Item]) -> dict[str, list[str]]:
    """The texts that take a target's place, by category."""
    found: dict[str, dict[str, None]] = {}
    for item in stimuli.items:
        if isinstance(item, Target):
            found.setdefault(item.category, {})[item.neutral] = None
    return {category: list(texts) for category, texts in found.items()}


def _words(items: Sequence[ContrastScore]) -> list[dict[str, Any]]:
    """Of each pair of words: how many tokens either has, and how its odds stand uncorrected."""
    found: dict[str, list[ContrastScore]] = {}
    for item in items:
        if item.control != CONTROL_TARGETS:
            found.setdefault(item.pair, []).append(item)
    return [_pair(pair, part) for pair, part in found.items()]


def _pair(pair: str, items: Sequence[ContrastScore]) -> dict[str, Any]:
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


def _sensitivity(items: Sequence[ContrastScore], seed: int) -> Mapping[str, Any]:
    """How far each category's result hangs on its templates, with the number over all of them."""
    asked = [item for item in items if item.direction and not item.control]
    categories = list(dict.fromkeys(item.category for item in asked))
    told = {}
    for category in categories if len(categories) == 1 else (ALL, *categories):
        part = [item for item in asked if category in (ALL, item.category)]
        values = np.array([np.nan if i.gap is None else i.gap for i in part], dtype=float)
        try:
            found = template_sensitivity(
                values, [i.template for i in part], [i.target for i in part], seed=seed
            )
            told[category] = dataclasses.asdict(found)
        except NotEnoughData as error:
            told[category] = {"refused": str(error)}
    return told
