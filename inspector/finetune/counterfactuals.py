"""Training rows beside the same rows with the words of one group in the place of another's."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inspector.errors import BadOption
from inspector.fairness.items import BadStimuli
from inspector.fairness.sets.own_pairs import read_gender_words, read_pairs
from inspector.fairness.swaps import AMBIGUOUS, PRONOUNS, Swapped, Swapper, left_out
from inspector.finetune.config import Config
from inspector.finetune.data import Answer, Example
from inspector.finetune.pronouns import resolved
from inspector.results import Finding, show_plain
from inspector.weights.problems import finding

PRONOUN_PAIRS: Final = (("he", "she"), ("him", "her"), ("hers", "his"), ("himself", "herself"))
MORE_PAIRS: Final = (  # beside those of the package's own gender words
    *(("fathers", "mothers"), ("sons", "daughters"), ("brothers", "sisters"), ("dad", "mom")),
    *(("dads", "moms"), ("daddy", "mommy"), ("uncles", "aunts"), ("nephews", "nieces")),
    *(("grandson", "granddaughter"), ("grandsons", "granddaughters"), ("grandpa", "grandma")),
    *(("grandfathers", "grandmothers"), ("husbands", "wives"), ("kings", "queens")),
    *(("prince", "princess"), ("princes", "princesses"), ("gentlemen", "ladies")),
    *(("boyfriend", "girlfriend"), ("boyfriends", "girlfriends"), ("males", "females")),
    *(("stepfather", "stepmother"), ("stepson", "stepdaughter"), ("widower", "widow")),
    *(("businessman", "businesswoman"), ("businessmen", "businesswomen"), ("mr", "ms")),
    *(("sir", "madam"), ("waiter", "waitress"), ("waiters", "waitresses")),
)
SHOWN: Final = 5  # rows of a file of pairs that an error names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doubled:
    """How many training rows have a counterfactual, and why the others have none.

    `without` name no group, `unclear` hold a word whose counterpart cannot be told, `labelled`
    have a label that itself names a group.
    """

    rows: int
    swapped: int
    without: int
    unclear: int
    labelled: int

    def findings(self) -> tuple[Finding, ...]:
        """What is to be known of rows that stay single."""
        if self.swapped == self.rows:
            return ()
        return (
            finding(
                "FT-SINGLE",
                "train",
                f"{self.rows - self.swapped:,} of {self.rows:,} training rows have no "
                f"counterfactual: {self.without:,} name no group, {self.unclear:,} are "
                f"ambiguous, the label of {self.labelled:,} names a group",
            ),
        )


class Grammatical(Swapper):
    """A Swapper that tells from the words beside them what "her" and "his" become.

    A text whose counterfactual would not swap back to it is left out as well.
    """

    def __call__(self, text: str) -> Swapped:
        """The text with its words swapped; a word keeps its capitals."""
        there = super().__call__(text)
        if there.text is None:
            return there
        back = super().__call__(there.text)
        if back.text not in (None, text):
            return left_out("ambiguous", ": swapped twice it is another text")
        return there

    def other(self, match: re.Match[str]) -> tuple[str, int] | None:
        """The counterpart of a word where it stands, and its side; None where it is unsure."""
        word = match.group().lower()
        if self.known.get("he", ("", 0))[0] != "she" or word not in AMBIGUOUS:
            return super().other(match)
        found = resolved(word, match.string[: match.start()], match.string[match.end() :])
        return None if found is None else (found, 1 if word == "his" else -1)


def swapper_of(config: Config) -> Grammatical:
    """The swapper of a configuration: its own pairs, or English pronouns and kinship terms.

    Pairs of one's own stand in the columns `more` and `less`; where one of them is of English
    pronouns, all of these are swapped. Raises BadOption that names each bad row of the file.
    """
    path = config.objective.pairs
    if path is None:
        found = [(pair.more, pair.less) for pair in read_gender_words().items]
        return Grammatical([*PRONOUN_PAIRS, *found, *MORE_PAIRS])
    try:
        stimuli = read_pairs(Path(path))
    except BadStimuli as error:
        told = "; ".join(str(remark) for remark in error.remarks[:SHOWN])
        raise BadOption(f"objective.pairs: {error} {told}".strip()) from None
    if stimuli.excluded:
        told = "; ".join(str(remark) for remark in stimuli.excluded[:SHOWN])
        raise BadOption(
            f"objective.pairs: {len(stimuli.excluded)} rows are no pair of words: {told}. "
            "Mend them or take them out."
        )
    pairs = [(pair.more, pair.less) for pair in stimuli.items]
    pronouns = [pair for pair in pairs if PRONOUNS.issuperset(word.lower() for word in pair)]
    rest = [pair for pair in pairs if pair not in pronouns]
    return Grammatical([*(PRONOUN_PAIRS if pronouns else ()), *rest])


def counterfactual(example: Example, swapper: Swapper) -> tuple[Example | None, str]:
    """A row with its words swapped and the same answer; or None, and why: a field of Doubled."""
    found = swapper(example.text)
    if found.text is None or found.text == example.text:
        return None, "unclear" if found.excluded == "ambiguous" else "without"
    if any(swapper(label).excluded != "no word" for label in _labels(example)):
        return None, "labelled"
    words = tuple(found.text.split()) if example.words is not None else None
    if words is not None and len(words) != len(example.words or ()):
        return None, "unclear"  # a pair of words in the place of one: labels would shift
    group = swapper(example.group).text if example.group is not None else None
    made = dataclasses.replace(
        example,
        text=found.text,
        words=words,
        group=group,
        together=_together(example),
        derived=True,
    )
    return made, "swapped"


def doubled(
    examples: Sequence[Example], config: Config
) -> tuple[tuple[Example, ...], Doubled | None]:
    """Training rows with their counterfactuals as the objective wants them: behind them, or tied.

    A row and its counterfactual have the same `together`, so that no later split parts them.
    Rows that a swap does not change stay single. None where the objective wants none. Source: Lu
    et al. 2018 (1807.11714), both ways as in Zhao et al. 2018 (1804.06876).
    """
    objective = config.objective
    if not objective.counterfactuals and not objective.logit_pairing:
        return tuple(examples), None
    swapper = swapper_of(config)
    found: list[Example] = []
    counts = dict.fromkeys(("swapped", "without", "unclear", "labelled"), 0)
    for one in examples:
        other, why = counterfactual(one, swapper)
        counts[why] += 1
        if other is None:
            found.append(one)
            continue
        pair = [dataclasses.replace(one, together=_together(one)), other]
        if objective.logit_pairing:
            pair = [
                dataclasses.replace(pair[0], twin=other.text),
                dataclasses.replace(other, twin=one.text),
            ]
        found += pair if objective.counterfactuals else pair[:1]
    if not counts["swapped"]:
        first = "" if objective.pairs else " Give word pairs of your own in objective.pairs."
        raise BadOption(
            f"train: none of {len(examples):,} rows has a counterfactual ({counts['without']:,} "
            f"name no group, {counts['unclear']:,} are ambiguous, the label of "
            f"{counts['labelled']:,} names a group).{first}"
        )
    return tuple(found), Doubled(rows=len(examples), **counts)


def _together(example: Example) -> str:
    return example.together or f"{show_plain(example.file)}:{example.line}"


def _labels(example: Example) -> Sequence[str]:
    answer: Answer = example.answer
    if example.words is not None or not isinstance(answer, str | tuple):
        return ()
    return (answer,) if isinstance(answer, str) else answer
