"""Tables for a terminal of any width: cells stay whole, what finds no room is named."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from inspector.results import show_plain

SHORT = 16  # characters of a cell that is never broken
NARROWEST = 24  # characters left to a column of longer texts, which are broken
LONGEST = 500  # characters of a cell
GAP = 2  # characters between columns
TOLD_BY_THE_NAME = ("kind", "role", "layer")  # columns that go first where there is no room


def print_table(
    console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Print rows of values as a table no wider than the console.

    Columns that find no room are left out and named below: first what names tell already, then
    from the right, columns of long texts last. A cell that is a Text keeps its style.
    """
    cells = [[_text(value) for value in row] for row in rows]
    longest = [max((row[i].cell_len for row in cells), default=0) for i in range(len(headings))]
    narrowest = [
        max(width if width <= SHORT else min(width, NARROWEST), *map(len, heading.split()))
        for width, heading in zip(longest, headings, strict=True)
    ]
    shown = _shown(headings, longest, narrowest, console.width)
    widths = _widened(headings, longest, narrowest, shown, console.width)
    table = Table(
        title=title or None,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for i in shown:
        numeric = any(isinstance(r[i], int | float) and not isinstance(r[i], bool) for r in rows)
        table.add_column(
            headings[i].strip(),
            width=widths[i],
            justify="right" if numeric else "left",
            overflow="fold",
        )
    for row in cells:
        table.add_row(*(row[i] for i in shown))
    console.print(table)
    if left_out := [h.strip() for i, h in enumerate(headings) if i not in shown]:
        told = f"No room for: {', '.join(left_out)}. A wider terminal or --json has them."
        console.print(Text(told, style="dim"))


def _shown(
    headings: Sequence[str], longest: Sequence[int], narrowest: Sequence[int], room: int
) -> list[int]:
    """The columns for which there is room, in their order; the first is always there."""
    shown = list(range(len(headings)))
    by_worth = sorted(
        shown[1:],
        key=lambda i: (headings[i] not in TOLD_BY_THE_NAME, longest[i] > SHORT, -i),
    )
    for i in by_worth:
        if sum(narrowest[j] for j in shown) + GAP * (len(shown) - 1) <= room:
            break
        shown.remove(i)
    return shown


def _widened(
    headings: Sequence[str],
    longest: Sequence[int],
    narrowest: Sequence[int],
    shown: Sequence[int],
    room: int,
) -> list[int]:
    """Widths once the room that is left is given away: to long texts first, then to headings."""
    widths = list(narrowest)
    left = room - GAP * (len(shown) - 1) - sum(narrowest[i] for i in shown)
    for i in sorted(shown, key=lambda i: longest[i] <= SHORT):
        more = max(min(max(longest[i], len(headings[i])) - widths[i], left), 0)
        widths[i] += more
        left -= more
    return widths


def _text(value: object) -> Text:
    return value if isinstance(value, Text) else Text(_plain(value))


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return show_plain("x".join(map(str, value)), LONGEST) or "scalar"
    return show_plain(str(value), LONGEST)
