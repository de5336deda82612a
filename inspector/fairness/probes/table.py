"""The probes: one table, and one way to run any of them; torch is imported when one runs."""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.about import ABOUT
from inspector.fairness.items import Stimuli
from inspector.fairness.panel import scorer_panel
from inspector.fairness.probes.options import checked
from inspector.fairness.probes.records import Answers, AskedItem, ItemScore, Probed
from inspector.fairness.probes.running import compared, judged
from inspector.fairness.scorer_table import Needs
from inspector.fairness.stimuli import read
from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from inspector.model.load import Model

Asks = Literal["sentences", "vectors", "weights", "classes", "text"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeKind:
    """A probe: the function that asks, what it reads, and what its number means.

    `function` stands in the module of that name, or in `module`. `shipped` is the set of the
    package that is asked when no data is given, `given` the set that data is read as. `asks`:
    sentences are scored (so there is a scorer), else what of the model is looked at; "weights"
    needs no forward pass, "text" is what it writes. `takes`: what scorers it can be asked with
    need (`Scorer.needs`). `margin`: what counts as nothing unless another margin is stated.
    """

    function: str
    asks: Asks
    measures: str
    ideal: str
    source: str
    criticism: tuple[str, ...] = ()
    shipped: str | None = None
    given: str | None = None
    module: str | None = None
    margin: float | None = None
    takes: tuple[Needs, ...] = ("sentence", "pair")

    @property
    def known_criticism(self) -> tuple[str, ...]:
        """What was said against the probe and against the sets that it reads."""
        sets = [name for name in (self.shipped, self.given) if name is not None]
        told = [*self.criticism, *(one for name in sets for one in ABOUT[name].criticism)]
        return tuple(dict.fromkeys(told))


SMALL_GAP: Final = 0.05  # nats: odds of two words that change by less than a twentieth
POOLED: Final = "What stands for a word is a choice of pooling and layer, and can turn a sign."

PROBES: Final[Mapping[str, ProbeKind]] = {
    "crows-pairs": ProbeKind(
        function="crows_pairs",
        asks="sentences",
        given="crows-pairs",
        measures="How often the sentence with the stereotype is the likelier of two.",
        ideal="0.5",
        source="Nangia, Vania, Bhalerao and Bowman 2020, arXiv 2010.00133",
    ),
    "pairs": ProbeKind(
        function="crows_pairs",
        module="crows_pairs",
        asks="sentences",
        given="pairs",
        measures="The same on pairs of one's own.",
        ideal="0.5",
        source="Nangia, Vania, Bhalerao and Bowman 2020, arXiv 2010.00133",
    ),
    "stereoset": ProbeKind(
        function="stereoset",
        takes=("sentence", "pair", "spans"),
        asks="sentences",
        given="stereoset",
        measures="How often the stereotype is likelier than the anti-stereotype, if both beat "
        "nonsense.",
        ideal="0.5, with lms 1",
        source="Nadeem, Bethke and Reddy 2021, arXiv 2004.09456",
        criticism=(
            "Terms share words: a model that likes words at random is over 0.035 from 0.5 in one "
            "case of twenty, which intervals over terms do not show.",
        ),
    ),
    "bbq": ProbeKind(
        function="bbq",
        asks="sentences",
        given="bbq",
        measures="Whether answers to questions on people follow a stereotype, and what it costs.",
        ideal="0 (target rate 0.5)",
        source="Parrish et al. 2022, arXiv 2110.08193",
        criticism=(
            "Its target rate moves with any liking for a group's name; s_amb and s_dis do not, as "
            "every question is also asked the other way round.",
        ),
    ),
    "counterfactual-gap": ProbeKind(
        function="counterfactual_gap",
        asks="sentences",
        shipped="own",
        given="templates",
        takes=("spans",),
        margin=SMALL_GAP,
        measures="How far a stereotype's target moves the log-odds of two words, in nats.",
        ideal="0",
        source="difference in differences of log-odds; the prior is subtracted as in Kurita, Vyas, "
        "Pareek, Black and Tsvetkov 2019, arXiv 1906.07337",
    ),
    "weat": ProbeKind(
        function="weat",
        module="contextual_weat",
        asks="vectors",
        shipped="weat",
        given="word-lists",
        measures="Whether the last layer sets words, each given alone, nearer to some attributes.",
        ideal="0",
        source="Caliskan, Bryson and Narayanan 2017, Science 356, arXiv 1608.07187",
        criticism=("Alone, a word stands where models rarely see one.", POOLED),
    ),
    "seat": ProbeKind(
        function="seat",
        module="contextual_weat",
        asks="vectors",
        shipped="weat",
        given="word-lists",
        measures="Whether the last layer sets words nearer to some attributes, each in sentences "
        "that say nothing about it and averaged over them first.",
        ideal="0",
        source="May, Wang, Bordia, Bowman and Rudinger 2019, arXiv 1903.10561; the spread over "
        "sentences is told as Guo and Caliskan 2021, arXiv 2006.03955, ask for",
        criticism=("Sentences that say nothing are rare in use.", POOLED),
    ),
    "lpbs": ProbeKind(
        function="lpbs",
        asks="sentences",
        shipped="own",
        given="templates",
        takes=("spans",),
        margin=SMALL_GAP,
        measures="How far a stereotype's target moves the log-odds of two words from what they "
        "are with the target hidden, in nats; for masked models alone.",
        ideal="0",
        source="Kurita, Vyas, Pareek, Black and Tsvetkov 2019, arXiv 1906.07337",
    ),
    "embedding-weat": ProbeKind(
        function="embedding_weat",
        asks="weights",
        shipped="weat",
        given="word-lists",
        measures="Whether rows of the word tables lie nearer to one set of attributes; file alone.",
        ideal="0",
        source="Caliskan, Bryson and Narayanan 2017, Science 356, arXiv 1608.07187",
        criticism=(
            "Rare words, and words of several pieces, lie apart from frequent ones for no other "
            "reason than that.",
            "What later layers make of a row is not seen.",
            "Where the two tables are not tied, rows can lean against what the model says: those "
            "of demo:planted do.",
        ),
    ),
    "classifier-fairness": ProbeKind(
        function="classifier_fairness",
        asks="classes",
        given="labelled",
        measures="How far groups are apart in who is selected and in errors, by a classifier.",
        ideal="0 (ratio 1)",
        source="Hardt, Price and Srebro 2016, arXiv 1610.02413; Dwork et al. 2012, arXiv "
        "1104.3913; names as in fairlearn and AIF360",
        criticism=(
            "Parity of selection, of errors and of calibration cannot all hold where groups "
            "differ in their true rates (Kleinberg, Mullainathan and Raghavan 2016).",
            "Labels are taken as the truth; where they are biased, so is every error rate.",
            "A ratio of 0.8 is a convention of US employment law, not a statistical rule.",
        ),
    ),
    "direction-writers": ProbeKind(
        function="direction_writers",
        asks="weights",
        shipped="gender-words",
        given="pairs",
        measures="Which W_O and W_down write the direction between words; file alone.",
        ideal="no z above those of directions between random words",
        source="a direction by paired differences as in Bolukbasi et al. 2016, arXiv 1607.06520; "
        "random pairs of the vocabulary are the null",
        criticism=(
            "A matrix that can write a direction need not do so: nothing is run.",
            "Random words are about as frequent as those asked only in sorted vocabularies.",
            "The norm before the unembedding is left out.",
        ),
    ),
    "winobias": ProbeKind(
        function="winobias",
        asks="sentences",
        given="winobias",
        measures="How often a pronoun is likelier where it agrees with an occupation's stereotype.",
        ideal="0.5",
        source="Zhao, Wang, Yatskar, Ordonez and Chang 2018, arXiv 1804.06876",
    ),
    "holistic-bias": ProbeKind(
        function="holistic_bias",
        asks="sentences",
        given="holistic-bias",
        measures="Whether descriptors of people are likelier in warm than in cold sentences.",
        ideal="0",
        source="descriptors and sentences of Smith et al. 2022, arXiv 2205.09209; the contrast of "
        "warm and cold sentences is this package's",
        criticism=("Three pairs of sentences stand for all that is warm and cold.",),
    ),
    "winogender": ProbeKind(
        function="winogender",
        asks="sentences",
        given="winogender",
        measures="How far the odds of whom a pronoun means follow labour statistics, in nats.",
        ideal="0",
        source="Rudinger, Naradowsky, Leonard and Van Durme 2018, arXiv 1804.09301",
        criticism=("Grammatical cases are mixed and some sentences have typing errors.",),
    ),
    "continuation": ProbeKind(
        function="continuation",
        asks="text",
        shipped="own-prompts",
        given="prompts",
        measures="How far a classifier's scores of what a model writes differ between groups.",
        ideal="0",
        source="the design of Sheng, Chang, Natarajan and Peng 2019, arXiv 1909.01326, and Dhamala "
        "et al. 2021, arXiv 2101.11718; prompts and statistics are this package's",
        criticism=(
            "The number is the classifier's as much as the model's: it errs, and can be biased "
            "itself. It is shown beside, on the same text behind prompts of either side.",
            "The text is judged without its prompt, so that the word for a group is not what the "
            "classifier reacts to; it loses who is spoken of, and may name the group again.",
            "Classifiers of sentiment, regard and toxicity disagree, and were made for whole "
            "sentences, not for ends of sentences.",
            "Texts hang on temperature, length and seed; a few samples say little of rare ones.",
        ),
    ),
}
"""Every probe by name."""


def probe(
    model: "Model | Checkpoint",
    name: str,
    data: str | Path | None = None,
    *,
    scorer: str | Sequence[str] | None = None,
    baseline: "Model | Checkpoint | None" = None,
    margin: float | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
    **options: Any,
) -> Probed:
    """Run a probe of PROBES on data from a path, from `hub:ID`, or from the package.

    `baseline`: a model from before; each record then tells the change, paired by item. `margin`:
    within which a number is called equivalent to no bias, in its own unit (None: the probe's).
    Several scorers: the records of each, and how they agree in the summary (`panel`). `lines`: a
    file that scores are added to, so that a run that was killed goes on. `options` are those of
    the probe's function.
    Raises BadOption for an unknown name, BadStimuli where nothing in the data can be used.
    """
    kind = known_probe(name)
    margin = kind.margin if margin is None else margin
    stimuli = stimuli_of(name, data)
    scorers = [scorer] if scorer is None or isinstance(scorer, str) else list(scorer)
    if kind.asks != "sentences" and scorers != [None]:
        raise BadOption(f"{name} scores no sentences: it has no scorer.")
    if len(set(scorers)) != len(scorers) or not scorers:
        raise BadOption("Give each scorer once.")
    ask = function_of(kind)
    options = checked(name, ask, options)
    found: list[Probed] = []
    for one in scorers:
        if kind.asks == "sentences":
            options = {**options, "scorer": one, "lines": lines}
        elif kind.asks == "text":
            options = {**options, "lines": lines}
        elif lines is not None:
            raise BadOption(f"{name} keeps no scores: there is nothing to go on from.")

        def answers(asked: "Model | Checkpoint", chosen: dict[str, Any] = options) -> Answers:
            made: Answers = ask(asked, stimuli, seed=seed, progress=progress, **chosen)
            return dataclasses.replace(made, probe=name)

        after = judged(answers(model), margin, seed)
        if baseline is not None:
            after = compared(judged(answers(baseline), margin, seed), after, seed)
        found.append(after)
    return found[0] if len(found) == 1 else _together(found)


def known_probe(name: str) -> ProbeKind:
    """The entry of PROBES; BadOption, with what is known, for any other name."""
    if name not in PROBES:
        known = ", ".join(PROBES)
        raise BadOption(f"There is no probe {show_plain(name, 60)!r}; known are {known}.")
    return PROBES[name]


def stimuli_of(name: str, data: str | Path | None = None) -> Stimuli[Any]:
    """The items a probe asks about: those in `data`, else those that come with the package."""
    kind = known_probe(name)
    chosen = kind.shipped if data is None and kind.shipped is not None else kind.given
    if chosen is None:
        raise BadOption(f"{name} asks about what comes with the package; it reads no data.")
    return read(chosen, data)


def function_of(kind: ProbeKind) -> Any:
    """The function that asks; only now its module is imported, and torch where it needs that."""
    module = f"inspector.fairness.probes.{kind.module or kind.function}"
    return getattr(importlib.import_module(module), kind.function)


def _gap(item: AskedItem) -> float:
    return item.gap if isinstance(item, ItemScore) and item.gap is not None else np.nan


def _together(found: Sequence[Probed]) -> Probed:
    """Records of several scorers on the same items, with how far they agree."""
    first = found[0]
    gaps = {
        one.answers[0].scorer: np.array([_gap(item) for item in one.items], dtype=float)
        for one in found
    }
    try:
        panel: dict[str, Any] = dataclasses.asdict(
            scorer_panel(gaps, [item.cluster for item in first.items])
        )
        panel["disputed"] = [first.items[i].id for i in panel["disputed"]]
    except NotEnoughData as error:
        panel = {"refused": str(error)}
    scorers = {
        one.answers[0].scorer: {key: one.summary[key] for key in ("verdict", "reason", "problems")}
        for one in found
    }
    verdicts = {one["verdict"] for one in scorers.values()}
    return dataclasses.replace(
        first,
        summary={**first.summary, "scorers": scorers, "panel": panel, "agree": len(verdicts) == 1},
        records=tuple(record for one in found for record in one),
        findings=tuple({(f.id, f.statement): f for one in found for f in one.findings}.values()),
        items=tuple(item for one in found for item in one.items),
        answers=tuple(answers for one in found for answers in one.answers),
    )
