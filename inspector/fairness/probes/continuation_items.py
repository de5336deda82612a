"""The texts behind the numbers of continuations: each with its scores, counted by what they are."""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from inspector.fairness.continuing import Continued
from inspector.fairness.probes.continuation_parts import Heard, Scores
from inspector.fairness.probes.records import AskedItem
from inspector.fairness.sentences import Excluded
from inspector.fairness.sets.own_prompts import Prompt
from inspector.fairness.written import Judged, degenerate

WORD: Final = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrittenText(AskedItem):
    """One text that was written, for audit; `group` is the target's, `cluster` the target.

    `score`: the probability of the label for the continuation alone, `score_with_prompt` with the
    prompt before it, `score_neutral` for the prompt with `neutral_continuation`, which was written
    behind the neutral prompt. `degenerate`: what is wrong with a text that says nothing.
    `names_target`: it holds a word of the prompt that the neutral prompt has not. `excluded`: why
    there is no text, or no score. `sample` counts from 0, None where none was
    written.
    """

    direction: float
    control: bool
    template: str
    prompt: str
    sample: int | None
    continuation: str | None
    tokens: int
    ended: bool
    degenerate: str | None
    names_target: bool
    score: float | None
    score_with_prompt: float | None
    neutral_prompt: str
    neutral_continuation: str | None
    score_neutral: float | None


def texts_of(prompts: Sequence[Prompt], made: Mapping[str, Continued]) -> list[str]:
    """All that is shown to the classifier."""
    found: list[str] = []
    for one in prompts:
        own, neutral = made[one.text], made[one.neutral]
        if not isinstance(own, Excluded):
            found += [t for each in own for t in (each.text.strip(), one.text + each.text)]
        if not isinstance(neutral, Excluded):
            found += [one.text + each.text for each in neutral]
    return found


def items_of(
    prompts: Sequence[Prompt], made: Mapping[str, Continued], said: Judged
) -> tuple[WrittenText, ...]:
    """Every text that was written; where a prompt could not be continued, one item says so."""
    return tuple(item for one in prompts for item in _of_prompt(one, made, said))


def _of_prompt(prompt: Prompt, made: Mapping[str, Continued], said: Judged) -> list[WrittenText]:
    own, neutral = made[prompt.text], made[prompt.neutral]
    nothing = WrittenText(
        id=prompt.id,
        category=prompt.category,
        group=prompt.group,
        cluster=prompt.target,
        excluded=own.told if isinstance(own, Excluded) else None,
        direction=prompt.direction,
        control=prompt.control,
        template=prompt.template,
        prompt=prompt.text,
        sample=None,
        continuation=None,
        tokens=0,
        ended=False,
        degenerate=None,
        names_target=False,
        score=None,
        score_with_prompt=None,
        neutral_prompt=prompt.neutral,
        neutral_continuation=None,
        score_neutral=None,
    )
    if isinstance(own, Excluded):
        return [nothing]
    telling = _words(prompt.text) - _words(prompt.neutral)
    found = []
    for k, one in enumerate(own):
        text = one.text.strip()
        other = None if isinstance(neutral, Excluded) else neutral[k].text
        found.append(
            dataclasses.replace(
                nothing,
                id=f"{prompt.id} | {k}",
                excluded=said.excluded.get(text),
                sample=k,
                continuation=one.text,
                tokens=one.tokens,
                ended=one.ended,
                degenerate=degenerate(text),
                names_target=not telling.isdisjoint(_words(text)),
                score=said.scores.get(text),
                score_with_prompt=said.scores.get(prompt.text + one.text),
                neutral_continuation=other,
                score_neutral=None if other is None else said.scores.get(prompt.text + other),
            )
        )
    return found


def _words(text: str) -> set[str]:
    return set(WORD.findall(text.casefold()))


def heard_of(prompts: tuple[Prompt, ...], items: Sequence[WrittenText]) -> Heard:
    """The mean score of each prompt over its texts, and of the same with the neutral ones."""
    place = {(one.template, one.target): i for i, one in enumerate(prompts)}

    def mean(name: str) -> Scores:
        sums, counts = np.zeros(len(prompts)), np.zeros(len(prompts))
        for item in items:
            value = getattr(item, name)
            if value is not None:
                i = place[item.template, item.cluster]
                sums[i], counts[i] = sums[i] + value, counts[i] + 1
        return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))

    return Heard(
        prompts=prompts,
        alone=mean("score"),
        beside=mean("score_with_prompt"),
        neutral=mean("score_neutral"),
    )


def range_of(items: Sequence[WrittenText]) -> dict[str, float | None]:
    """How far apart the classifier's scores lie."""
    values = [item.score for item in items if item.score is not None]
    if not values:
        return {"lowest": None, "mean": None, "highest": None}
    return {"lowest": min(values), "mean": float(np.mean(values)), "highest": max(values)}


def counts_of(items: Sequence[WrittenText]) -> dict[str, Any]:
    """How many texts were written, scored, and degenerate, on either side and in all."""

    def told(some: Sequence[WrittenText]) -> dict[str, Any]:
        written = [item for item in some if item.continuation is not None]
        return {
            "prompts": len({(item.template, item.cluster) for item in some}),
            "written": len(written),
            "distinct": len({item.continuation for item in written}),
            "scored": sum(item.score is not None for item in written),
            "ended": sum(item.ended for item in written),
            "name_target": sum(item.names_target for item in written),
            "degenerate": dict(Counter(i.degenerate for i in written if i.degenerate)),
        }

    asked = [item for item in items if not item.control]
    return {
        **told(items),
        "first": told([item for item in asked if item.direction > 0]),
        "second": told([item for item in asked if item.direction < 0]),
    }
