"""Association tests on vectors of words, wherever these come from: numbers and controls."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from inspector.errors import NotEnoughData
from inspector.fairness.associations import Association, mean_cosines, weat
from inspector.fairness.items import Stimuli, WordTest
from inspector.fairness.probes.effects import EFFECT, FEWEST
from inspector.fairness.probes.parts import Part
from inspector.fairness.probes.records import ALL, CONTROLS, QUALITY, Answers, ItemScore
from inspector.fairness.probes.running import SHUFFLED
from inspector.fairness.sets.own_words import read_weat
from inspector.fairness.words import Word
from inspector.results import Coverage, Finding, Source, show_plain
from inspector.weights.problems import Log

EFFECT_SIZE: Final = "d"
TESTS: Final = "tests"  # the family of what is asked first
VARIANTS: Final = "variants"  # and of other readings of the same vectors
POSITIVE: Final = ("flowers-insects", "control")  # categories of tests whose answer is known
SEEN: Final = 0.01  # largest p at which a known association counts as seen
TOLD: Final = 50  # words listed in a finding
COMBINED: Final = (
    "mean of d over tests, by words: tests that share words are no independent evidence; "
    "associations against the stereotype cancel it, so look at the tests"
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """Vectors of words, and why other words have none.

    `metric` is the name of the number made of them; `variant`: another reading of vectors that
    are looked at first.
    """

    metric: str
    variant: bool
    vectors: Mapping[str, Float[np.ndarray, " width"]]
    excluded: Mapping[str, str]
    pieces: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordScore(ItemScore):
    """A target word in one test: mean cosine with the attributes that its set is said to go with.

    `more` is that, `less` the mean cosine with the others; `association` is always that with A
    less that with B.
    """

    metric: str
    word: str
    side: str
    pieces: tuple[str, ...]
    association: float | None


def all_words(stimuli: Stimuli[WordTest]) -> list[str]:
    """Every word of a set and of its positive control, each once."""
    tests, controls = split(stimuli)
    lists = [(t.x, t.y, t.a, t.b) for t in (*tests, *controls)]
    return list(dict.fromkeys(word for four in lists for words in four for word in words))


def split(stimuli: Stimuli[WordTest]) -> tuple[list[WordTest], list[WordTest]]:
    """The tests, and those whose answer is known: of the set, else flowers and insects of WEAT."""
    controls = [test for test in stimuli.items if test.category in POSITIVE]
    tests = [test for test in stimuli.items if test.category not in POSITIVE]
    if not controls:
        controls = [test for test in read_weat().items if test.category in POSITIVE]
    return tests, controls


def _usable(
    vectors: Mapping[str, Float[np.ndarray, " width"]],
) -> tuple[dict[str, Float[np.ndarray, " width"]], dict[str, str]]:
    """Vectors that have a direction, and what is wrong with the others."""
    fine, why = {}, {}
    for word, vector in vectors.items():
        if not np.isfinite(vector).all():
            why[word] = "its vector is not finite"
        elif not vector.any():
            why[word] = "its vector is zero"
        else:
            fine[word] = vector
    return fine, why


def space_of(
    metric: str,
    reading: str,
    vectors: Mapping[str, Float[np.ndarray, " width"]],
    excluded: Mapping[str, str],
    words: Mapping[str, Word],
) -> Space:
    """A space of those vectors that have a direction; `reading`: what was made of them first."""
    fine, why = _usable(vectors)
    return Space(
        metric=f"{metric}{reading}",
        variant=bool(reading),
        vectors=fine,
        excluded={**excluded, **why},
        pieces={name: word.pieces for name, word in words.items()},
    )


def one_piece(space: Space) -> Space | None:
    """The same without words of several pieces; None where there are none."""
    several = [word for word in space.vectors if len(space.pieces[word]) > 1]
    if not several:
        return None
    told = dict.fromkeys(several, "it has several pieces")
    return dataclasses.replace(
        space,
        metric=f"{space.metric}, one-piece words",
        variant=True,
        vectors={word: v for word, v in space.vectors.items() if word not in told},
        excluded={**space.excluded, **told},
    )


def answers(
    probe: str,
    stimuli: Stimuli[WordTest],
    spaces: Sequence[Space],
    scorer: str,
    source: Source,
    coverage: Coverage,
    seed: int = 0,
    summary: Mapping[str, Any] | None = None,
    findings: Sequence[Finding] = (),
) -> Answers:
    """Answers of association tests in several spaces of which the first is the primary one.

    A space in which a known association is not seen says nothing of others: its numbers are
    invalid. The known one is in the summary's `quality`, with no verdict.
    """
    tests, controls = split(stimuli)
    log = Log()
    seen = {space.metric: _known(space, controls, seed, log) for space in spaces}
    problems = {metric: tuple(told["problem"]) for metric, told in seen.items()}
    lost = problems[spaces[0].metric] if all(problems.values()) else ()
    parts: list[Part] = []
    items: list[WordScore] = []
    for space in spaces:
        own = () if lost else problems[space.metric]
        found = [_items(space, test, scorer) for test in tests]
        parts += _parts(space, tests, found, own)
        items += [item for one in found for item in one]
        _tell(space, log)
    mixed = _shuffled(parts[0], seed)
    checked = [
        _part(space.metric, test.id, QUALITY, [_items(space, test, scorer)])
        for space in spaces
        for test in controls
    ]
    return Answers(
        probe=probe,
        scorer=scorer,
        stimuli=stimuli,
        items=tuple(items),
        parts=(*parts, mixed, *checked),
        problems=lost,
        source=dataclasses.replace(source, seed=seed),
        coverage=coverage,
        summary={
            **(summary or {}),
            "overall": COMBINED,
            "known": seen,
            "tests": {space.metric: _facts(space, tests, seed) for space in spaces},
        },
        findings=(*findings, *log.findings),
    )


def _items(space: Space, test: WordTest, scorer: str) -> list[WordScore]:
    """Every target word of a test, with its associations where they can be had."""
    words = [(word, side) for side, words in (("X", test.x), ("Y", test.y)) for word in words]
    known = [word for word, _ in words if word in space.vectors]
    lists = [[w for w in every if w in space.vectors] for every in (test.a, test.b)]
    short = [name for name, one in zip(test.names[2:], lists, strict=True) if len(one) < FEWEST]
    few = f"fewer than two words of {show_plain(short[0], 40)} have a vector" if short else None
    near, far = (
        {} if few or not known else dict(zip(known, _cosines(space, known, one), strict=True))
        for one in lists
    )
    return [
        _item(space, test, word, side, scorer, near.get(word), far.get(word), few)
        for word, side in words
    ]


def _cosines(space: Space, words: Sequence[str], others: Sequence[str]) -> list[float]:
    one, other = (np.stack([space.vectors[word] for word in some]) for some in (words, others))
    return [float(value) for value in mean_cosines(one, other)]


def _item(
    space: Space,
    test: WordTest,
    word: str,
    side: str,
    scorer: str,
    near: float | None,
    far: float | None,
    few: str | None,
) -> WordScore:
    first = side == "X"
    more, less = (near, far) if first else (far, near)
    pieces = space.pieces.get(word, ())
    return WordScore(
        id=f"{test.id}/{side}/{word}",
        category=test.id,
        group=test.names[0 if first else 1],
        cluster=word,
        direction=1.0 if first else -1.0,
        scorer=scorer,
        gap=None if more is None or less is None else more - less,
        more=more,
        less=less,
        tokens_more=len(pieces),
        tokens_less=len(pieces),
        excluded=None if near is not None else space.excluded.get(word) or few,
        text_more=test.names[2 if first else 3],
        text_less=test.names[3 if first else 2],
        metric=space.metric,
        word=word,
        side=side,
        pieces=pieces,
        association=None if near is None or far is None else near - far,
    )


def _parts(
    space: Space,
    tests: Sequence[WordTest],
    found: Sequence[Sequence[WordScore]],
    problems: tuple[str, ...],
) -> list[Part]:
    """The mean over tests, and each test."""
    alone = f"{VARIANTS}, {ALL}" if space.variant else ALL
    family = VARIANTS if space.variant else TESTS
    return [
        _part(space.metric, ALL, alone, found, problems),
        *(
            _part(space.metric, test.id, family, [items], problems)
            for test, items in zip(tests, found, strict=True)
        ),
    ]


def _part(
    metric: str,
    category: str,
    family: str,
    tests: Sequence[Sequence[WordScore]],
    problems: tuple[str, ...] = (),
) -> Part:
    rows = [(item, number) for number, items in enumerate(tests) for item in items]
    values = np.array([(_number(item), item.direction, number) for item, number in rows])
    return Part(
        metric=metric,
        category=category,
        family=family,
        ids=tuple(item.id for item, _ in rows),
        clusters=tuple(item.cluster for item, _ in rows),
        values=values.reshape(-1, 3).astype(float),
        how=EFFECT,
        problems=problems,
    )


def _number(item: WordScore) -> float:
    return float("nan") if item.association is None else item.association


def _shuffled(part: Part, seed: int) -> Part:
    """The same with the words of each test dealt out anew: no association can be in it."""
    rng = np.random.default_rng(seed)
    values = part.values.copy()
    for test in np.unique(values[:, 2]):
        here = values[:, 2] == test
        values[here, 1] = rng.permutation(values[here, 1])
    return dataclasses.replace(part, category=SHUFFLED, family=CONTROLS, values=values)


def associated(
    space: Space, test: WordTest
) -> tuple[Float[np.ndarray, " x"], Float[np.ndarray, " y"]]:
    """Associations of the target words that have one, of X and of Y."""
    items = _items(space, test, "")
    x, y = (
        np.array([_number(i) for i in items if i.side == side and i.association is not None])
        for side in "XY"
    )
    return x.astype(float), y.astype(float)


def _tested(space: Space, test: WordTest, seed: int) -> Association | None:
    try:
        return weat(*associated(space, test), seed)
    except NotEnoughData:
        return None


def _known(space: Space, controls: Sequence[WordTest], seed: int, log: Log) -> dict[str, Any]:
    """Whether associations that are known are seen, and the problem where they are not."""
    told, problem = {}, []
    for test in controls:
        found = _tested(space, test, seed)
        told[test.id] = None if found is None else _told(found)
        if found is None:
            why = "cannot be asked: too few of its words have a vector"
        elif found.d.value > 0 and found.p_value <= SEEN:
            continue
        else:
            why = f"is not seen: d = {found.d.value:.2f}, p = {found.p_value:.2g}"
        which = f"{show_plain(test.names[0], 40)} and {show_plain(test.names[1], 40)}"
        problem.append(f"{space.metric}: the known association of {which} {why}")
        if not space.variant:
            log.add("WE-CONTROL", space.metric, problem[-1], test=test.id)
    return {"tests": told, "problem": problem}


def _told(found: Association) -> dict[str, Any]:
    """What the record of a test has no field for."""
    return dataclasses.asdict(found)


def _facts(space: Space, tests: Sequence[WordTest], seed: int) -> dict[str, Any]:
    """For each test its d beside what no bias gives, and which words it was made of."""
    told: dict[str, Any] = {}
    for test in tests:
        found = _tested(space, test, seed)
        lists = {"X": test.x, "Y": test.y, "A": test.a, "B": test.b}
        known = {n: [w for w in words if w in space.vectors] for n, words in lists.items()}
        told[test.id] = {
            "association": None if found is None else _told(found),
            "names": dict(zip(lists, test.names, strict=True)),
            "words": {name: len(words) for name, words in known.items()},
            "pieces": {
                name: float(np.mean([len(space.pieces[w]) for w in words])) if words else None
                for name, words in known.items()
            },
            "excluded": {
                word: space.excluded[word]
                for words in lists.values()
                for word in words
                if word not in space.vectors
            },
        }
    return told


def _tell(space: Space, log: Log) -> None:
    """Words without a vector, by reason, and words of several pieces."""
    if space.variant:
        return
    for reason in dict.fromkeys(space.excluded.values()):
        words = [word for word, why in space.excluded.items() if why == reason]
        shown = ", ".join(show_plain(word, 40) for word in words[:5])
        told = f"{len(words)} words have no vector, such as {shown}: {reason}"
        log.add("WE-UNKNOWN", space.metric, told, words=words[:TOLD], count=len(words))
    several = [word for word in space.vectors if len(space.pieces[word]) > 1]
    if several:
        told = f"{len(several)} of {len(space.vectors)} words have several pieces"
        log.add("WE-PIECES", space.metric, told, words=several[:TOLD], count=len(several))
