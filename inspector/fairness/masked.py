"""What masked language models are asked about a sentence: rows with some tokens hidden."""

from collections.abc import Sequence

from inspector.fairness.batching import Row
from inspector.fairness.sentences import Tokens


def one_by_one(
    tokens: Tokens, places: Sequence[int], hidden: Sequence[int], mask: int
) -> tuple[Row, ...]:
    """A row for each token, in which it alone is hidden (and `hidden`): pseudo-log-likelihood.

    Source: Salazar et al. 2020; over the tokens that two sentences share, Nangia et al. 2020.
    """
    return tuple(_row(tokens, place, {place, *hidden}, mask) for place in places)


def word_left_to_right(
    tokens: Tokens, places: Sequence[int], hidden: Sequence[int], mask: int
) -> tuple[Row, ...]:
    """A row for each token, in which it and all later pieces of its word are hidden.

    Else a piece gives its word away, which favours words of many pieces. Source: Kauf & Ivanova
    2023.
    """
    return tuple(
        _row(tokens, place, {place, *_later_pieces(tokens, place), *hidden}, mask)
        for place in places
    )


def left_to_right(
    tokens: Tokens, places: Sequence[int], hidden: Sequence[int], mask: int
) -> tuple[Row, ...]:
    """A row for each token, in which it and all later ones of `places` are hidden.

    By the chain rule their sum is the log-probability of all of them jointly, given the rest.
    """
    return tuple(
        _row(tokens, place, {*places[i:], *hidden}, mask) for i, place in enumerate(places)
    )


def at_once(
    tokens: Tokens, places: Sequence[int], hidden: Sequence[int], mask: int
) -> tuple[Row, ...]:
    """One row in which nothing is hidden but `hidden`. Source: Kaneko & Bollegala 2022 (AUL)."""
    return (_ask(tokens, places, set(hidden), mask),)


def at_once_with_attention(
    tokens: Tokens, places: Sequence[int], hidden: Sequence[int], mask: int
) -> tuple[Row, ...]:
    """The same, and how much attention each place receives. Source: Kaneko & Bollegala (AULA)."""
    return (_ask(tokens, places, set(hidden), mask, attention=True),)


def _row(tokens: Tokens, place: int, masked: set[int], mask: int) -> Row:
    return _ask(tokens, (place,), masked, mask)


def _ask(
    tokens: Tokens, places: Sequence[int], masked: set[int], mask: int, attention: bool = False
) -> Row:
    return Row(
        ids=tuple(mask if i in masked else id for i, id in enumerate(tokens.ids)),
        places=tuple(places),
        wanted=tuple(tokens.ids[place] for place in places),
        attention=attention,
    )


def _later_pieces(tokens: Tokens, place: int) -> set[int]:
    word = tokens.words[place]
    if word is None:
        return set()
    return {i for i in tokens.free if i > place and tokens.words[i] == word}
