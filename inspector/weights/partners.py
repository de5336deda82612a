"""Matrices that work together: q, k, v and o of an attention, up, gate and down of an MLP."""

import os
from collections.abc import Mapping, Sequence

from inspector.weights.matrices import Matrix

Group = Mapping[str, Matrix]  # by role


def groups(found: Sequence[Matrix], lead: str, others: Sequence[str]) -> list[Group]:
    """For each matrix of role `lead` those of the other roles that belong to it, where there are.

    They lie in the same block and expert; of several the one whose name shares the most with that
    of the lead. A matrix that would belong to two leads belongs to none.
    """
    places: dict[tuple[object, ...], dict[str, list[Matrix]]] = {}
    for matrix in found:
        if matrix.role in (lead, *others):
            place = (matrix.stack, matrix.layer, matrix.expert)
            places.setdefault(place, {}).setdefault(matrix.role, []).append(matrix)
    return [
        {lead: leader, **_of(leader, there, lead, others)}
        for there in places.values()
        for leader in there.get(lead, ())
    ]


def _of(
    leader: Matrix, there: Mapping[str, Sequence[Matrix]], lead: str, others: Sequence[str]
) -> Group:
    chosen = {}
    for role in others:
        best = _nearest(leader, there.get(role, ()))
        # the nearest of the nearest is the leader itself, unless another has the better claim
        if best is not None and _nearest(best, there[lead]) is leader:
            chosen[role] = best
    return chosen


def _nearest(matrix: Matrix, candidates: Sequence[Matrix]) -> Matrix | None:
    """The candidate whose name shares the longest beginning; None where none or several do."""
    shared = [len(os.path.commonprefix([matrix.name, other.name])) for other in candidates]
    if not shared or shared.count(max(shared)) > 1:
        return None
    return candidates[shared.index(max(shared))]
