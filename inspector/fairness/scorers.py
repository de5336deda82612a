"""What each scorer makes of a sentence."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

from inspector.errors import BadOption, UnsupportedModel
from inspector.fairness import causal, masked
from inspector.fairness.alignment import shared
from inspector.fairness.batching import Answer, Row
from inspector.fairness.scorer_table import SCORERS, Scorer
from inspector.fairness.sentences import Excluded, Sentence, Tokens, excluded, within
from inspector.model.kinds import Kind
from inspector.model.load import Model
from inspector.results import show_plain


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
        make = getattr(masked, scorer.masked or "")
        return Plan(rows=make(tokens, places, hidden, model.tokenizer.mask_token_id), places=places)
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
