"""What verdicts on many tensors mean together: untrained ones, padded rows, symmetry."""

from collections.abc import Mapping, Sequence

from inspector.results import show_plain
from inspector.weights.problems import Log
from inspector.weights.rows import Groups, TableRows, ranges

MOST_LISTED = 100  # row numbers, or groups of them, in the evidence of one finding
FALSE_ALARMS = 0.01  # of many fresh matrices so many, at most, do not look it by chance
MOST_GROUPS = 6  # in the statement


def tell_untrained(
    log: Log, fresh: Mapping[str, str], judged: int, zero_biases: frozenset[str], whole: bool
) -> None:
    """Findings on matrices that cannot be told from fresh draws: one each, or one for all.

    `fresh` maps their names to the reasons; `judged` matrices there are in all. `zero_biases` are
    the names of biases that are all zero; `whole` says that the whole checkpoint was looked at.
    """
    if whole and fresh and judged - len(fresh) <= FALSE_ALARMS * judged:
        told = f"this is an untrained model: {len(fresh)} of {judged} matrices look freshly drawn"
        log.add("WT-FRESH", "checkpoint", told, matrices=judged, fresh=len(fresh))
        return
    for name, reason in fresh.items():
        owner, _, _ = name.partition("[")
        bias = f"{owner.removesuffix('weight')}bias"
        more = " Its bias is zero." if bias in zero_biases else ""
        told = f"never trained, or drawn anew: {reason}{more}"
        log.add("WT-UNTRAINED", show_plain(name), told, zero_bias=bias in zero_biases)


def tell_rows(log: Log, name: str, table: TableRows, total: int, padding: int | None) -> None:
    """Findings on rows of a vocabulary table that are zero, the mean of all, or identical.

    `padding` is the row that the config keeps for padding.
    """
    where = show_plain(name)
    if table.zero and len(table.zero) < total:
        own = table.zero == (padding,)
        told = "zero, the padding row of the config" if own else "zero"
        _tell_numbers(log, where, told, table.zero, total, padding_row=own)
    if table.mean:
        _tell_numbers(log, where, "the mean of all rows", table.mean, total)
    if table.identical:
        _tell_groups(log, "WT-PADDED", where, "rows", table.identical)


def tell_symmetry(log: Log, name: str, identical: Groups, heads: Groups) -> None:
    """Findings on heads of a matrix that repeat each other, or else on its rows that do."""
    if heads:
        _tell_groups(log, "WT-SYMMETRY", show_plain(name), "heads", heads)
    elif identical:
        _tell_groups(log, "WT-SYMMETRY", show_plain(name), "rows", identical)


def _tell_numbers(
    log: Log, where: str, what: str, numbers: Sequence[int], total: int, padding_row: bool = False
) -> None:
    log.add(
        "WT-PADDED",
        where,
        f"{len(numbers)} of {total:,} rows are {what}: {ranges(numbers)}",
        rows=list(numbers[:MOST_LISTED]),
        count=len(numbers),
        padding_row=padding_row,
    )


def _tell_groups(log: Log, id: str, where: str, what: str, groups: Groups) -> None:
    count = sum(len(group) for group in groups)
    shown = "; ".join(ranges(group) for group in groups[:MOST_GROUPS])
    rest = len(groups) - MOST_GROUPS
    more = f"; and {rest} more groups" if rest > 0 else ""
    log.add(
        id,
        where,
        f"{count} {what} have equals, in groups: {shown}{more}",
        groups=[list(group[:MOST_LISTED]) for group in groups[:MOST_LISTED]],
        count=count,
    )
