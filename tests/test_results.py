"""Records as tables and as strict JSON, and hostile text made plain."""

import dataclasses
import json
import math
import unicodedata

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given

from inspector.results import SEVERITIES, Coverage, Finding, Records, Source, show_plain, worst

SOURCE = Source(
    model="m", revision=None, files=(), versions={"inspector": "1"}, when="2025-01-01T00:00:00Z"
)
COVERAGE = Coverage(
    tensors_total=1,
    tensors_measured=1,
    parameters_total=1,
    parameters_measured=1,
    bytes_total=1,
    bytes_read=1,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    layer: int | None
    count: int
    mean: float | None
    shape: tuple[int, ...] = ()


def records(*rows: Row, summary: object = None, findings: tuple[Finding, ...] = ()) -> Records[Row]:
    return Records(
        command="test",
        record_type=Row,
        source=SOURCE,
        coverage=COVERAGE,
        summary={"value": summary},
        records=rows,
        findings=findings,
    )


def row(**fields: object) -> Row:
    return Row(**({"name": "a", "layer": 0, "count": 1, "mean": 0.5} | fields))


def strict(text: str) -> dict:
    """JSON read with NaN and Infinity refused."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def finding(severity: str = "info", **fields: object) -> Finding:
    return Finding(**({"id": "X", "severity": severity, "where": "w", "statement": "s"} | fields))


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def floats_in(value: object) -> list[float]:
    if isinstance(value, float):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in floats_in(item)]


@given(plain_values)
def test_json_is_strict_and_every_hole_is_told(value):
    document = strict(records(row(), summary=value).to_json())
    holes = sum(not math.isfinite(x) for x in floats_in(value))
    told = [f for f in document["findings"] if f["id"] == "RT-NONFINITE"]
    assert len(told) == (holes > 0)
    if holes:
        assert told[0]["statement"].startswith(f"{holes} values")
        assert len(told[0]["evidence"]["fields"]) == min(holes, 20)
    else:
        assert document["summary"]["value"] == value


def test_a_hole_is_named_by_its_path():
    document = strict(records(row(), row(mean=math.nan), row(mean=math.inf)).to_json())
    assert [r["mean"] for r in document["records"]] == [0.5, None, None]
    (told,) = document["findings"]
    assert told["where"] == "records[1].mean"
    assert told["evidence"]["fields"] == ["records[1].mean", "records[2].mean"]


def test_the_document_holds_all_there_is():
    said = finding("warning", evidence={"first": [1, 2]}, remedy="r")
    made = records(row(shape=(2, 3)), findings=(said,))
    document = strict(made.to_json())
    assert document["schema"] == "inspector.test/1"
    assert list(document) == ["schema", "source", "coverage", "summary", "records", "findings"]
    assert document["records"] == [
        {"name": "a", "layer": 0, "count": 1, "mean": 0.5, "shape": [2, 3]}
    ]
    assert document["findings"] == [dataclasses.asdict(said)]
    assert document["coverage"] == dataclasses.asdict(COVERAGE) | {"skipped": []}
    assert document == made.to_dict()


def test_json_is_ascii_and_as_small_as_asked():
    text = records(row(name="é\u202e\n")).to_json(indent=None)
    assert text.isascii()
    assert "\n" not in text
    assert strict(text)["records"][0]["name"] == "é\u202e\n"


def test_what_has_no_json_form_is_an_error_that_names_it():
    with pytest.raises(TypeError, match=r"summary\.value: complex"):
        records(row(), summary=1j).to_json()


def test_records_are_a_sequence():
    first, second = row(name="a"), row(name="b")
    made = records(first, second)
    assert len(made) == 2
    assert list(made) == [first, second]
    assert made[0] is first and made[-1] is second
    assert made[1:] == (second,)
    assert second in made


def test_a_missing_count_does_not_make_a_column_floats():
    frame = records(row(layer=2**53 + 1), row(layer=None)).to_frame()
    assert frame["layer"].dtype == pd.Int64Dtype()
    assert frame["layer"][0] == 2**53 + 1
    assert frame["layer"][1] is pd.NA
    assert frame["count"].dtype == "int64"
    assert frame["mean"].dtype == "float64"


def test_an_empty_table_has_the_same_columns():
    empty, full = records().to_frame(), records(row()).to_frame()
    assert len(empty) == 0
    assert list(empty) == list(full) == ["name", "layer", "count", "mean", "shape"]
    assert empty["count"].dtype == full["count"].dtype
    assert empty["layer"].dtype == full["layer"].dtype


def test_the_worst_of_findings():
    assert worst([]) is None
    for i, most in enumerate(SEVERITIES):
        assert worst([finding(severity) for severity in SEVERITIES[: i + 1]]) == most


@given(st.text(), st.integers(1, 200))
def test_plain_text_can_be_printed_and_is_bounded(text, limit):
    shown = show_plain(text, limit)
    assert shown.isprintable()
    assert len(shown) <= 10 * limit + 40
    assert shown == show_plain(text, limit)
    if len(text) > limit:
        assert f"({len(text)} characters)" in shown


@given(st.text())
def test_plain_text_stays_as_it_is(text):
    once = show_plain(text, 10**6)
    assert show_plain(once, 10**6) == once
    if text.isprintable() and not any(unicodedata.category(c) in ("Mn", "Lo", "So") for c in text):
        assert once == text


HOSTILE = ["\x1b[2J", "\r", "\n", "\t", "\u202e", "\u2066", "\u200b", "\ufeff", "\x00", "\u2028",
           "\u2029", "\x85", "\x9b", "\U000e0041", "\ud800", "\u00ad", "\u180e", "\u034f",
           "\u3164", "\ufe0f", "\U000e0101", "\u2800", "\u115f", "\xa0"]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_what_moves_hides_or_turns_text_is_shown_as_an_escape(text):
    shown = show_plain(f"a{text}b")
    assert text[0] not in shown
    assert shown.startswith("a\\") and shown.endswith("b")
    shown.encode("utf-8")


@given(st.text(alphabet=st.characters(min_codepoint=1), min_size=1))
def test_different_names_that_fit_stay_different_unless_they_hold_backslashes(text):
    if "\\" not in text:
        shown = show_plain(text, 10**6)
        assert shown.encode("ascii", "backslashreplace").decode("unicode_escape") == text
