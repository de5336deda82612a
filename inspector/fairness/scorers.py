"""The scorers: one table, and what each makes of a sentence."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from inspector.errors import BadOption, UnsupportedModel
from inspector.fairness import causal, masked
from inspector.fairness.alignment import shared
from inspector.fairness.batching import Answer, Row
from inspector.fairness.sentences import Excluded, Sentence, Tokens, excluded, within
from inspector.model.kinds import Kind
from inspector.model.load import Model
from inspector.results import show_plain

Asks = Callable[[Tokens, Sequence[int], Sequence[int], int], tuple[Row, ...]]
Needs = Literal["sentence", "pair", "spans"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorer:
    """How a sentence gets its number, in nats; higher is always the likelier.

    `needs`: what must be given, a sentence, the one it is compared with, or the spans that are
    scored. `masked`: how rows are made for masked models (None: not for them); `causal` says
    whether causal models have it. `mean`: over the tokens scored, else their sum.
    """

    about: str
    source: str
    needs: Needs
    masked: Asks | None
    causal: bool
    mean: bool

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of models that it is for."""
        known: tuple[tuple[Kind, bool], ...] = (
            ("masked", self.masked is not None),
            ("causal", self.causal),
        )
        return tuple(kind for kind, has in known if has)


SCORERS: Final[Mapping[str, Scorer]] = {
    "pll-shared": Scorer(
        about="Sum over the tokens that both sentences share, each hidden in turn.",
        source="Nangia et al. 2020, arXiv 2010.00133",
        needs="pair",
        masked=masked.one_by_one,
        causal=False,
        mean=False,
    ),
    "pll": Scorer(
        about="Sum over all tokens, each hidden in turn: the pseudo-log-likelihood.",
        source="Salazar et al. 2020, arXiv 1910.14659",
        needs="sentence",
        masked=masked.one_by_one,
        causal=False,
        mean=False,
    ),
    "pll-word-l2r": Scorer(
        about="The same with the later pieces of a word hidden too: no piece gives its word away.",
        source="Kauf and Ivanova 2023, arXiv 2305.10588",
        needs="sentence",
        masked=masked.word_left_to_right,
        causal=False,
        mean=False,
    ),
    "aul": Scorer(
        about="Mean over all tokens, nothing hidden: all unmasked likelihood.",
        source="Kaneko and Bollegala 2022, arXiv 2104.07496",
        needs="sentence",
        masked=masked.at_once,
        causal=False,
        mean=True,
    ),
    "aula": Scorer(
        about="The same, each token weighted by the share of attention it receives; the weights "
        "of the tokens scored sum to 1, and the sum is divided by their number as published.",
        source="Kaneko and Bollegala 2022, arXiv 2104.07496",
        needs="sentence",
        masked=masked.at_once_with_attention,
        causal=False,
        mean=True,
    ),
    "causal-sum": Scorer(
        about="Sum over all tokens, each after those before it: the log-likelihood.",
        source="the chain rule; one beginning for all tokens",
        needs="sentence",
        masked=None,
        causal=True,
        mean=False,
    ),
    "causal-mean": Scorer(
        about="The same for each token: the log-likelihood divided by the number of tokens.",
        source="the chain rule; one beginning for all tokens",
        needs="sentence",
        masked=None,
        causal=True,
        mean=True,
    ),
    "continuation": Scorer(
        about="Log-probability of a part of a text jointly, by the chain rule from left to right: "
        "given what stands before it, in masked models what stands around it.",
        source="the chain rule",
        needs="spans",
        masked=masked.left_to_right,
        causal=True,
        mean=False,
    ),
}
"""Every scorer by the id that is printed with its numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of a model about one sentence, and the places that are scored."""

    rows: tuple[Row, ...]
    places: tuple[int, ...]


def known_scorer(model: Model, name: str) -> Scorer:
    """A scorer that this model can do; BadOption, with those it can, for any other."""
    can = [id for id, one in SCORERS.items() if model.kind in one.kinds]
    if not can:
        raise UnsupportedModel(
            f"{type(model.network).__name__} gives no probability of a text: scorers need a "
            "language model, masked or causal."
        )
    if name not in SCORERS:
        raise BadOption(f"There is no scorer {show_plain(name, 60)!r}; known are {', '.join(can)}.")
    if name not in can:
        raise BadOption(
            f"{name} is not for {model.kind} models; {type(model.network).__name__} can do "
            f"{', '.join(can)}."
        )
    if model.kind == "masked" and model.tokenizer.mask_token_id is None:
        raise UnsupportedModel("The tokenizer names no mask token: nothing can be hidden.")
    return SCORERS[name]


def check(scorer: Scorer, name: str, kind: Kind, sentence: Sentence) -> None:
    """Raise BadOption where a sentence lacks what its scorer needs."""
    if scorer.needs == "pair" and sentence.other is None:
        raise BadOption(f"{name} compares two sentences: give pairs.")
    if scorer.needs == "spans" and not sentence.scored:
        raise BadOption(f"{name} scores a part of a text: say which characters (`scored`).")
    if sentence.hidden and kind != "masked":
        raise BadOption("Only masked models can be asked with a part of the text hidden.")
    for start, end in (*(sentence.scored or ()), *sentence.hidden):
        if not 0 <= start < end <= len(sentence.text):
            raise BadOption(
                f"Characters {start} to {end} are no part of a text of {len(sentence.text)}."
            )


def plan(
    model: Model, scorer: Scorer, sentence: Sentence, tokens: Tokens, other: Tokens | None
) -> Plan | Excluded:
    """The rows of one sentence, or why it has none."""
    places: tuple[int, ...] | Excluded = tokens.free
    if sentence.scored is not None:
        places = within(sentence, tokens, sentence.scored)
    hidden = within(sentence, tokens, sentence.hidden) if sentence.hidden else ()
    for found in (places, hidden):
        if isinstance(found, Excluded):
            return found
    assert not isinstance(places, Excluded) and not isinstance(hidden, Excluded)
    if scorer.needs == "pair" and other is not None:
        # with what the tokenizer puts around them, as published: it anchors both ends
        alike = set(shared(tokens.ids, other.ids)[0])
        places = tuple(place for place in places if place in alike)
        if not places:
            return excluded("nothing shared")
    if model.kind == "masked":
        assert scorer.masked is not None
        return Plan(
            rows=scorer.masked(tokens, places, hidden, model.tokenizer.mask_token_id), places=places
        )
    places = tuple(place for place in places if place > 0)
    return Plan(rows=causal.next_tokens(tokens, places), places=places) if places else FIRST


FIRST: Final = excluded("first")


def total(scorer: Scorer, asked: Plan, answers: Sequence[Answer]) -> float | None:
    """The score of a sentence from the answers to its rows; None where one is no number."""
    values = [value for answer in answers for value in answer.values]
    weights = [1.0] * len(values)
    if asked.rows[0].attention:
        received = [answers[0].received[place] for place in asked.places]
        weights = [one / math.fsum(received) for one in received]
    if not all(map(math.isfinite, (*values, *weights))):
        return None
    whole = math.fsum(w * value for w, value in zip(weights, values, strict=True))
    return whole / len(values) if scorer.mean else whole
