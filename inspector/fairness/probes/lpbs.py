"""The log-probability bias score: a target's word odds beside those with the target hidden."""

import dataclasses
from pathlib import Path

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.fairness.items import Contrast, Item, Stimuli, Template
from inspector.fairness.probes.contrasted import Four, ask_contrasts
from inspector.fairness.probes.counterfactual_gap import sentences
from inspector.fairness.probes.records import Answers
from inspector.fairness.sentences import Sentence
from inspector.fairness.sets.own_templates import SLOT, contrasts
from inspector.model.load import Model

HIDDEN = "(hidden)"


def lpbs(
    model: Model,
    stimuli: Stimuli[Item],
    scorer: str | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
) -> Answers:
    """Mean of y D in nats, where D = log[P(a | target) / prior(a)] - log[P(b | target) / prior(b)].

    The prior is the same template with the target hidden too, as many masks as it has tokens. All
    else is as in `counterfactual_gap`. Raises BadOption for causal models, in which nothing can
    be hidden. Source: Kurita et al. 2019, arXiv 1906.07337.
    """
    if model.kind == "causal":
        raise BadOption(
            f"lpbs hides the target, which only masked models allow; "
            f"{type(model.network).__name__} is causal: ask it by counterfactual-gap."
        )
    templates = {item.id: item for item in stimuli.items}
    asked = contrasts(stimuli)
    return ask_contrasts(
        model,
        "lpbs",
        stimuli,
        asked,
        [_sentences(one, templates[one.template]) for one in asked],
        [HIDDEN] * len(asked),
        scorer,
        seed,
        lines,
        progress,
    )


def _sentences(contrast: Contrast, template: Item) -> Four:
    """With the target shown, then hidden."""
    assert isinstance(template, Template)
    first, second, *_ = sentences(contrast)
    return (
        first,
        second,
        _hidden(first, contrast.words[0], template),
        _hidden(second, contrast.words[1], template),
    )


def _hidden(sentence: Sentence, word: str, template: Template) -> Sentence:
    """The sentence with all of it hidden that the template does not say, but for the word."""
    start = template.text.replace("{Target}", "{target}").index("{target}")
    if template.slots[0] == "attribute":
        start += len(word) - len("{attribute}")
    length = len(sentence.text) - len(SLOT.sub("", template.text)) - len(word)
    return dataclasses.replace(sentence, hidden=((start, start + length),))
