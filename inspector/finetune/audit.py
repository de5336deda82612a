"""What rows hold before anything is learned of them: labels, repeats, and who is spoken of."""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int64

from inspector.fairness.uncertainty import holm
from inspector.finetune.data import Answer, Example, Splits

IDENTITIES: Final[Mapping[str, Mapping[str, str]]] = {
    "gender": {
        "women": "she her hers herself woman women girl girls mother mothers daughter daughters "
        "wife wives sister sisters lady ladies female females queen aunt grandmother",
        "men": "he him his himself man men boy boys father fathers son sons husband husbands "
        "brother brothers gentleman gentlemen male males king uncle grandfather",
        "neither": "nonbinary non-binary transgender trans",
    },
    "religion": {
        "christians": "christian christians catholic catholics protestant protestants",
        "jews": "jew jews jewish",
        "muslims": "muslim muslims islam islamic",
        "hindus": "hindu hindus",
        "buddhists": "buddhist buddhists",
    },
    "age": {
        "the old": "old elderly senior seniors retired pensioner pensioners",
        "the young": "young teenager teenagers teen teens youth",
    },
    "ethnicity": {
        "black people": "black african africans",
        "white people": "white european europeans caucasian",
        "asians": "asian asians chinese japanese indian indians",
        "latinos": "latino latina latinos hispanic hispanics mexican mexicans",
    },
    "disability": {
        "disabled people": "disabled disability blind deaf wheelchair autistic",
    },
}
"""Words that name a group; a list of words is no census: other words name people too."""
FEWEST: Final = 5  # rows of which anything is said
SHUFFLES: Final = 999


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """How rows that name a group are labelled.

    `distance` is the total variation distance of their labels from those of all other rows, in
    [0, 1], ideal: that of chance, `distance_null`; `p_adjusted` after Holm over all groups, from
    labels dealt at random. None where fewer than FEWEST rows name the group. `share_in_label` is
    the share of these rows that have the label `label`, the one they have most often.
    """

    attribute: str
    group: str
    rows: int
    label: str | None
    share_in_label: float | None
    share_elsewhere: float | None
    distance: float | None
    distance_null: float | None
    p_value: float | None
    p_adjusted: float | None


def named_groups(examples: Sequence[Example], seed: int = 0) -> list[Named]:
    """Which groups the rows name, and whether labels hang on it.

    Where rows have no labels only their number is told.
    """
    texts = [one.text.casefold() for one in examples]
    labels = [_one_label(one.answer) for one in examples]
    names = sorted({label for label in labels if label is not None})
    coded = None
    if len(names) > 1 and None not in labels:
        index = {name: i for i, name in enumerate(names)}
        coded = np.array([index[str(label)] for label in labels])
    found = []
    for attribute, groups in IDENTITIES.items():
        for group, words in groups.items():
            pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words.split()))})(?!\w)")
            inside = np.array([bool(pattern.search(text)) for text in texts], dtype=bool)
            found.append(_named(attribute, group, inside, coded, names, seed))
    adjusted = holm([one.p_value for one in found])
    return [dataclasses.replace(one, p_adjusted=p) for one, p in zip(found, adjusted, strict=True)]


def _one_label(answer: Answer) -> str | None:
    if isinstance(answer, str):
        return answer
    if isinstance(answer, tuple):
        return "|".join(sorted({*answer}))
    return None


def _named(
    attribute: str,
    group: str,
    inside: Bool[np.ndarray, " rows"],
    coded: Int64[np.ndarray, " rows"] | None,
    names: Sequence[str],
    seed: int,
) -> Named:
    rows = int(inside.sum())
    empty = Named(
        attribute=attribute,
        group=group,
        rows=rows,
        label=None,
        share_in_label=None,
        share_elsewhere=None,
        distance=None,
        distance_null=None,
        p_value=None,
        p_adjusted=None,
    )
    if coded is None or rows < FEWEST or rows > len(inside) - FEWEST:
        return empty
    of_all = np.bincount(coded, minlength=len(names))
    within = np.bincount(coded[inside], minlength=len(names))
    distance = float(_distances(within[None], of_all)[0])
    draw = np.random.default_rng(seed)
    dealt = draw.multivariate_hypergeometric(of_all, rows, size=SHUFFLES, method="marginals")
    chance = _distances(dealt, of_all)
    most = int(within.argmax())
    return dataclasses.replace(
        empty,
        label=names[most],
        share_in_label=float(within[most] / rows),
        share_elsewhere=float((of_all - within)[most] / (len(inside) - rows)),
        distance=distance,
        distance_null=float(chance.mean()),
        p_value=float((1 + np.sum(chance >= distance - 1e-12)) / (1 + SHUFFLES)),
    )


def _distances(
    within: Int64[np.ndarray, "draws labels"], of_all: Int64[np.ndarray, " labels"]
) -> Float[np.ndarray, " draws"]:
    rest = of_all - within
    shares = within / within.sum(axis=1, keepdims=True)
    others = rest / rest.sum(axis=1, keepdims=True)
    distances: Float[np.ndarray, " draws"] = np.abs(shares - others).sum(axis=1) / 2
    return distances


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeats:
    """Texts that stand more than once, capitals and spaces aside.

    `across` are rows of validation and test whose text, or whose `together`, is also among the
    training rows; `conflicts` are training texts with more than one answer.
    """

    within_train: int
    conflicts: int
    across: Mapping[str, int]
    examples: tuple[str, ...]  # of rows across, at most 5


def repeats(splits: Splits) -> Repeats:
    """Count texts that are repeated within the training rows and across splits."""
    train = Counter(_same(one.text) for one in splits.train)
    answers: dict[str, set[Answer]] = {}
    for one in splits.train:
        answers.setdefault(_same(one.text), set()).add(one.answer)
    together = {one.together for one in splits.train} - {None}
    across, shown = {}, []
    for split in ("validation", "test"):
        rows = [
            one for one in splits.of(split) if _same(one.text) in train or one.together in together
        ]
        across[split] = len(rows)
        shown += [one.text for one in rows]
    return Repeats(
        within_train=sum(count - 1 for count in train.values()),
        conflicts=sum(len(found) > 1 for found in answers.values()),
        across=across,
        examples=tuple(shown[:5]),
    )


def _same(text: str) -> str:
    return " ".join(text.casefold().split())


def balance(examples: Sequence[Example]) -> dict[str, int]:
    """How many rows have each label, the commonest first; a row with several counts for each."""
    found: Counter[str] = Counter()
    for one in examples:
        if isinstance(one.answer, str):
            found[one.answer] += 1
        elif isinstance(one.answer, tuple):
            found.update(one.answer)
    return dict(found.most_common())
