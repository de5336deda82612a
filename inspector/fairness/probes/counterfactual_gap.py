"""The counterfactual gap: how far a target moves the odds of two words, beside a neutral text."""

from pathlib import Path

from inspector.engine import Progress, no_progress
from inspector.fairness.items import Contrast, Item, Stimuli, Target
from inspector.fairness.probes.contrasted import Four, ask_contrasts
from inspector.fairness.probes.records import Answers
from inspector.fairness.sentences import Sentence
from inspector.fairness.sets.own_templates import contrasts
from inspector.model.load import Model


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
    asked = contrasts(stimuli)
    texts = {item.id: item.neutral for item in stimuli.items if isinstance(item, Target)}
    return ask_contrasts(
        model,
        "counterfactual-gap",
        stimuli,
        asked,
        [sentences(contrast) for contrast in asked],
        [texts[contrast.target] for contrast in asked],
        scorer,
        seed,
        lines,
        progress,
    )


def sentences(contrast: Contrast) -> Four:
    """Beside the target with either word, beside the neutral text with either; the word scored."""
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
