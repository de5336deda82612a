"""What causal language models are asked about a sentence: each token after those before it."""

from collections.abc import Sequence

from inspector.fairness.batching import Row
from inspector.fairness.sentences import Tokens


def next_tokens(tokens: Tokens, places: Sequence[int]) -> tuple[Row, ...]:
    """One row; the output at each place predicts the token behind it.

    What stands behind the last token that is asked for is not run, nor is that token: sentences
    that differ there alone share a row.
    """
    return (
        Row(
            ids=tokens.ids[: max(places)],
            places=tuple(place - 1 for place in places),
            wanted=tuple(tokens.ids[place] for place in places),
        ),
    )
