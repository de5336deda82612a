"""Tables on a terminal: cells stay whole, lines fit, and what found no room is named."""

import io
import re

import pytest
from rich.console import Console
from rich.text import Text

from inspector.report.tables import NARROWEST, print_table
from inspector.report.terminal import JUDGEMENT_COLUMNS, SCAN_COLUMNS

NAME = "model.layers.10.self_attn.some_projection.weight"


def printed(headings, rows, width):
    out = io.StringIO()
    print_table(Console(file=out, width=width), "", headings, rows)
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
@pytest.mark.parametrize("command", ["scan", *JUDGEMENT_COLUMNS])
def test_every_column_is_whole_or_named(command, width):
    headings = list(SCAN_COLUMNS if command == "scan" else JUDGEMENT_COLUMNS[command])
    numbers = [1.2345678e-05 * (i + 1) for i in range(len(headings) - 1)]
    text = printed(headings, [[NAME, *numbers]], width)
    table, _, told = text.partition("No room for: ")
    lines = [line.rstrip() for line in table.splitlines()]
    assert max(map(len, lines)) <= width
    head, body = re.split("─+", table)
    left_out = re.sub(r"\s+", " ", told).partition(". A wider")[0].split(", ") if told else []
    shown = [f"{number:.4g}" for number in numbers if f"{number:.4g}" in body]
    assert len(shown) + len(left_out) == len(numbers)
    for heading in headings:
        words = heading.split()
        assert heading.strip() in left_out or all(word in head for word in words)
    assert NAME[: min(NARROWEST, width)] in body


def test_what_the_name_tells_goes_first_and_long_texts_last():
    headings = ["tensor", "layer", "role", "number", "other", "what"]
    row = [NAME, 10, "q", 0.123456, 0.654321, "a long sentence about what became of the tensor"]
    assert "No room for: layer, role." in printed(headings, [row], 68)
    assert "No room for: layer, role, other." in printed(headings, [row], 60)
    assert "sentence" in printed(headings, [row], 60)
    assert "No room" not in printed(headings, [row], 120)


def test_kinds_of_values():
    row = [None, True, 12345, 0.5, (3, 4), (), "\x1b[31m", Text("styled")]
    text = printed([f"h{i}" for i in range(len(row))], [row], 200)
    for shown in ("yes", "12,345", "0.5", "3x4", "scalar", "\\x1b[31m", "styled"):
        assert shown in text
    assert "\x1b" not in text


def test_no_rows_are_no_trouble():
    assert "tensor" in printed(["tensor", "layer"], [], 80)
