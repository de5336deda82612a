"""Which tokens two sentences share."""

from collections.abc import Sequence
from difflib import SequenceMatcher


def shared(one: Sequence[int], other: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions, in either sequence of ids, of the blocks that stand in both, in order.

    Both have the same number of positions and the same ids there. Source: Nangia et al. 2020, by
    Ratcliff and Obershelp's matching; nothing is taken for junk, however long the sequences.
    """
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return (
        tuple(block.a + k for block in blocks for k in range(block.size)),
        tuple(block.b + k for block in blocks for k in range(block.size)),
    )
