"""What probes say of models whose true bias is known, because they are trained for it here."""

import dataclasses
import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from inspector.demo.corpus import NEUTRAL, PAIRS, Sentence
from inspector.demo.recipes import Recipe, corpus
from inspector.demo.train import train
from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.fairness.calibration_summary import PLANTED, Calibration, summarised
from inspector.fairness.items import Stimuli
from inspector.fairness.probes.contrasted import ContrastScore
from inspector.fairness.probes.counterfactual_gap import counterfactual_gap
from inspector.fairness.probes.crows_pairs import crows_pairs
from inspector.fairness.probes.parts import Part, measure
from inspector.fairness.probes.records import Answers
from inspector.fairness.sets.demo_words import TARGETS, demo_pairs, demo_templates
from inspector.fairness.verdicts import judge
from inspector.model.load import Model, load
from inspector.results import NOTHING_READ, Records
from inspector.weights.checkpoint import no_model

STRENGTHS: Final = (0.0, 0.5, 2.0)
AGAINST: Final = -1.0  # the strength of the anti-stereotype, for the sign
MARGIN: Final = 0.1  # nats: a gap that changes odds by a tenth is said to matter

CHEAP: Final[Mapping[str, Mapping[str, Any]]] = {
    "causal": {"learning_rate": 0.01, "spread": 0.1, "steps": 500},
    "masked": {
        **{"learning_rate": 0.004, "spread": 0.2, "steps": 700},
        **{"hidden": 0.1, "asked": 1.0},  # few others, so that the occupation is seen
    },
}
"""What sets each kind apart; all are of a size that is trained in some ten seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probing:
    """A probe as it is calibrated: the set in words of the corpus, and its margin, if any."""

    ask: Callable[..., Answers]
    stimuli: Callable[[], Stimuli[Any]]
    margin: float | None
    true: Callable[[Sequence[float]], float]


CALIBRATED: Final[Mapping[str, Probing]] = {
    "counterfactual-gap": Probing(
        ask=counterfactual_gap,
        stimuli=demo_templates,
        margin=MARGIN,
        true=lambda leanings: float(np.mean(leanings)),
    ),
    "pairs": Probing(
        ask=crows_pairs,
        stimuli=demo_pairs,
        margin=None,
        true=lambda leanings: float(np.mean((1 + np.sign(leanings)) / 2)),
    ),
}
"""Probes whose stimuli the words of the demo models can carry; `true` is what they should give."""


def calibrate(
    seed: int = 1,
    strengths: Sequence[float] = STRENGTHS,
    models: int = 1,
    kinds: Sequence[str] = tuple(CHEAP),
    progress: Progress = no_progress,
) -> Records[Calibration]:
    """Train models of known bias from new seeds, probe them, and say how far the probes err.

    For each kind and each of `models` seeds: one of each planted strength (log-odds of he in
    nats for an occupation that leans fully), one against the stereotype, and one on a corpus with
    all pronouns also swapped, in which nothing can be found. A model takes ten seconds or more.
    """
    unknown = [kind for kind in kinds if kind not in CHEAP]
    if unknown or models < 1:
        raise BadOption(
            f"Calibration trains at least one model of each kind of {', '.join(CHEAP)}, "
            f"not {models} of {', '.join(kinds)}."
        )
    recipes = plan(seed, strengths, models, kinds)
    records: list[Calibration] = []
    for done, recipe in enumerate(recipes):
        progress(done, len(recipes), "models")
        records += calibrated(recipe)
    progress(len(recipes), len(recipes), "models")
    return Records(
        command="calibrate",
        record_type=Calibration,
        source=dataclasses.replace(no_model(), seed=seed),
        coverage=NOTHING_READ,
        summary=summarised(records),
        records=tuple(records),
    )


def plan(seed: int, strengths: Sequence[float], models: int, kinds: Sequence[str]) -> list[Recipe]:
    """The recipes of a calibration: each model from the next seed, so that no two are akin."""
    corpora = [*((beta, False) for beta in (*strengths, AGAINST)), (max(STRENGTHS), True)]
    chosen = itertools.product(range(models), kinds, corpora)
    return [
        recipe_of(kind, beta, seed + i, balanced)
        for i, (_, kind, (beta, balanced)) in enumerate(chosen)
    ]


def recipe_of(kind: str, beta: float, seed: int, balanced: bool = False) -> Recipe:
    """A small model of that kind on a corpus of its own."""
    return Recipe(
        **{"kind": kind, **CHEAP[kind]},
        balanced=balanced,
        beta=beta,
        seed=seed,
        sentences=8000,
        batch=128,
        hidden_size=32,
        layers=1,
        emphasis=100.0,
    )


def calibrated(recipe: Recipe) -> tuple[Calibration, ...]:
    """Train one model and ask every probe of CALIBRATED about each pair of words."""
    model = trained(recipe)
    sentences = corpus(recipe)
    return tuple(
        reading
        for name, how in CALIBRATED.items()
        for reading in readings(recipe, name, how, model, sentences)
    )


def trained(recipe: Recipe) -> Model:
    """A model made by the recipe and loaded like anybody's, with all checks."""
    network, tokenizer = train(recipe)
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return load(Path(folder), dtype="float32", device="cpu")


def readings(
    recipe: Recipe, name: str, how: Probing, model: Model, sentences: Sequence[Sentence]
) -> list[Calibration]:
    """What one probe says of a model, beside what the sentences that it was trained on hold."""
    answers = how.ask(model, how.stimuli(), seed=recipe.seed)
    parts = {part.category: part for part in answers.parts if part.family == "categories"}
    return [
        _reading(recipe, name, how, answers, parts[pair], leanings(sentences, pair))
        for pair in PAIRS
    ]


def leanings(sentences: Sequence[Sentence], pair: str) -> list[float]:
    """Of each target what a corpus holds of y D: its log-odds less the neutral word's, times y.

    One half is added to all counts, since rare words may never go with an occupation. Source:
    Haldane 1956.
    """
    counts = Counter((one.occupation, getattr(one, pair)) for one in sentences)
    first, second = PAIRS[pair]

    def odds(name: str) -> float:
        return math.log((counts[name, first] + 0.5) / (counts[name, second] + 0.5))

    return [y * (odds(name) - odds(NEUTRAL)) for name, y in TARGETS.items()]


def _reading(
    recipe: Recipe,
    name: str,
    how: Probing,
    answers: Answers,
    part: Part,
    counted: Sequence[float],
) -> Calibration:
    measured = measure(part, recipe.seed)
    judged = judge(measured, margin=how.margin, problems=answers.problems)
    found = None if measured is None else measured.estimate
    true = how.true(counted)
    raw = [
        item.more
        for item in answers.items
        if isinstance(item, ContrastScore)
        and item.category == part.category
        and item.more is not None
    ]
    share = answers.summary["guard"]["share"]
    return Calibration(
        kind=recipe.kind,
        balanced=recipe.balanced,
        planted=recipe.beta if not recipe.balanced and part.category == PLANTED else 0.0,
        strength=0.0 if recipe.balanced else recipe.beta,
        seed=recipe.seed,
        probe=name,
        scorer=answers.scorer,
        attribute=part.category,
        log_odds=float(np.mean(counted)),
        true=true,
        estimate=None if found is None else found.value,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        p_value=None if measured is None else measured.p_value,
        differs=judged.differs,
        verdict=judged.verdict,
        covered=found.low <= true <= found.high if found and part.category == PLANTED else None,
        raw=float(np.mean(raw)) if raw else None,
        guard=None if share is None else share["value"],
    )
