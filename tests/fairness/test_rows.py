"""Rows of files: what is read is what was written, and each defect is named with its row."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.fairness.files import MOST_CHARACTERS, PLAIN, read_bytes, text_problem
from inspector.fairness.items import BadStimuli
from inspector.fairness.lined_yaml import MOST_LEVELS, Node, parse_yaml
from inspector.fairness.rows import Row, Sieve, Unfit, cells, parse_json, read_table

CELL = st.text(st.sampled_from('ab",\n;\t é'), max_size=6)


@given(st.lists(st.lists(CELL, min_size=2, max_size=4), max_size=6))
def test_what_the_csv_library_writes_is_read_back(table):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table)
    text = buffer.getvalue()
    assert [found for _, found in cells(text, ",")] == table
    for line, found in cells(text, ","):
        begin = text.split("\n")[line - 1]
        assert begin.startswith(found[0].split("\n")[0][:1] if '"' not in found[0] else '"') or (
            begin.startswith('"')
        )


@given(st.text(st.sampled_from('ab",\n'), max_size=60))
def test_no_line_is_passed_over(text):
    """Rows begin on later and later lines, and every line with text is in one of them."""
    found = list(cells(text, ","))
    lines = [line for line, _ in found]
    assert lines == sorted(set(lines))
    ends = [*lines, text.count("\n") + 2][1:]
    covered = {n for begin, end in zip(lines, ends, strict=True) for n in range(begin, end)}
    for number, line in enumerate(text.split("\n"), 1):
        assert number in covered or not line.strip()


def test_an_unclosed_quote_costs_its_own_row_only(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('one,two\na,b\nc,"d\ne,f\ng,"h, i"\n')
    sieve = Sieve()
    table = read_table(path, sieve)
    assert [dict(row.fields) for row in table.rows] == [
        {"one": "a", "two": "b"},
        {"one": "e", "two": "f"},
        {"one": "g", "two": "h, i"},
    ]
    (remark,) = sieve.excluded
    assert (remark.rows, remark.kind) == ((3,), "quotes")
    assert str(remark) == "a.csv, row 3: text follows a closing quote"
    path.write_text('one,two\na,"b\n')
    sieve = Sieve()
    read_table(path, sieve)
    assert str(sieve.excluded[0]) == "a.csv, row 2: a quote is opened that is not closed"


def test_rows_of_too_few_or_too_many_cells_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("one,two\na\n\nb,c,d\n")
    sieve = Sieve()
    assert read_table(path, sieve).total == 2
    assert [(r.rows, r.statement) for r in sieve.excluded] == [
        ((2,), "has 1 cells, but there are 2 columns"),
        ((4,), "has 3 cells, but there are 2 columns"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.csv: is empty"),
        (b"one,one\n", "row 1: names two columns 'one'"),
        (b'"one,two\n', "row 1: a quote is opened that is not closed"),
        (b"\xff\xfeo\x00n\x00e\x00", "is UTF-16. Save it as UTF-8"),
        (b"\xff\xfe\x00\x00o\x00\x00\x00", "is UTF-32. Save it as UTF-8"),
        (b"caf\xe9,two\n", "row 1: the name of column 1 is not UTF-8: byte 0xe9 at character 4"),
        (b"one;two\na;b\n", "row 1: has no column one, two .* parted by semicolons; .csv wants c"),
        (b"one\ttwo\na\tb\n", "parted by tabs; .csv wants commas"),
        (b"one\na\n", "row 1: has no column two .found: one"),
    ],
)
def test_files_of_which_no_row_can_be_read(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(BadStimuli, match=message):
        read_table(path, Sieve(), ("one", "two"))


def test_a_byte_order_mark_is_cut_and_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfone\r\nb\r\n")
    sieve = Sieve()
    assert read_table(path, sieve).rows[0].fields == {"one": "b"}
    assert sieve.notes[0].kind == "byte order mark"


@pytest.mark.parametrize(
    ("value", "kind", "statement"),
    [
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "encoding", "byte 0xe9 at character 4"),
        ("\ud83d", "encoding", "half of a pair"),
        ("a\0b", "control character", "control character 0x00 at character 2"),
        ("\x1b[2J", "control character", "0x1b"),
        ("a\x85", "control character", "0x85"),
        ("a" * (MOST_CHARACTERS + 1), "too long", "10,001 characters; 10,000 are the most"),
        (" \t", "empty", "is empty"),
        ("", "empty", "is empty"),
        (None, "missing", "has no x"),
        (["a"], "no text", "x is no text but list"),
        (1.5, "no text", "x is no text but float"),
        (True, "no text", "x is no text but bool"),
    ],
)
def test_cells_that_are_no_text(value, kind, statement):
    row = Row(file="f", line=1, fields={"x": value})
    with pytest.raises(Unfit) as caught:
        row.text("x")
    assert caught.value.kind == kind
    assert statement in str(caught.value)


@given(st.text(max_size=3) | st.text(st.characters(max_codepoint=130), max_size=3))
def test_most_cells_need_no_long_look(text):
    assert not PLAIN.fullmatch(text) or text_problem(text) is None


@given(st.text(max_size=30))
def test_what_has_no_problem_is_plain_text(text):
    if text_problem(text) is None:
        text.encode()
        assert not {"\0", "\r", "\x1b"} & set(text)
        assert text.strip()


def test_latin_1_costs_only_the_rows_that_are_not_utf_8(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("one\nnaive\nna\u00efve\nfine\n".encode("latin-1"))
    table = read_table(path, Sieve())
    found = Sieve().sift(table.rows, lambda row: row.text("one"))
    assert found == ["naive", "fine"]


@pytest.mark.parametrize(
    ("line", "statement"),
    [
        ("{", "is no JSON"),
        ('{"a": 1, "a": 2}', "has the key 'a' twice"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": -Infinity}', "holds -Infinity"),
        ("[1]", "is no JSON object but list"),
        ('"a"', "is no JSON object but str"),
        ("[" * 100_000, "too many levels|is no JSON"),
        ('{"a": ' + "1" * 5000 + "}", "a number that is too long"),
    ],
)
def test_lines_that_are_no_json_objects(tmp_path, line, statement):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": "x"}}\n\n{line}\n{{"a": "y"}}\n')
    sieve = Sieve()
    table = read_table(path, sieve)
    assert [(row.line, row.fields["a"]) for row in table.rows] == [(1, "x"), (4, "y")]
    (remark,) = sieve.excluded
    assert remark.rows == (3,)
    assert table.total == 3
    assert any(part in remark.statement for part in statement.split("|"))


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=5) | st.integers(),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=3), inner, max_size=3)))  # fmt: skip
def test_json_is_read_as_the_library_does(value):
    assert parse_json(json.dumps(value)) == value


def plain(node: Node):
    if isinstance(node.value, str):
        return node.value
    if isinstance(node.value, list):
        return [plain(one) for one in node.value]
    return {key: plain(one) for key, one in node.value.items()}


def test_yaml_keeps_words_and_lines():
    node = parse_yaml("a:\n  - no\n  - 1.0\n  - {b: ~}\n", "a.yaml")
    assert plain(node) == {"a": ["no", "1.0", {"b": "~"}]}
    assert [one.line for one in node.value["a"].value] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.yaml: is empty"),
        ("# nothing\n", "is empty"),
        ("a: [b\n", "row 2: is no YAML"),
        ("a: &x b\nc: *x\n", "row 1: anchors and aliases are not read"),
        ("a: !!python/object/apply:os.system [ls]\n", "row 1: tags are not read"),
        ("a: 1\nb: 2\na: 3\n", "row 3: the key 'a' stands twice"),
        ("a\n---\nb\n", "row 2: a second document begins"),
        ("? [a]\n: b\n", "row 1: a key must be text"),
        ("[" * (MOST_LEVELS + 1), f"more than {MOST_LEVELS} levels"),
        ("[" * 20_000, "more than|no YAML"),
        ("a: b\nc: \0\n", "row 2: is no YAML"),
        ('a: "\\UFFFFFFFF"\n', "no YAML"),
        ("a: b\n\tc: d\n", "row 2: is no YAML"),
        ("a: \udce9\n", "row 1: is no YAML"),
    ],
)
def test_yaml_that_is_refused(text, message):
    with pytest.raises(BadStimuli, match=message):
        parse_yaml(text, "a.yaml")


@given(st.text(st.sampled_from("ab:-[]{},\n '\"#&*!|>?%@`\\0\t"), max_size=40))
def test_yaml_gives_a_tree_or_says_why_not(text):
    try:
        assert isinstance(parse_yaml(text, "a.yaml"), Node)
    except BadStimuli as error:
        assert "a.yaml" in str(error)  # noqa: PT017


def test_what_is_no_plain_file_is_refused(tmp_path):
    with pytest.raises(BadStimuli, match="is no file"):
        read_bytes(tmp_path)
    with pytest.raises(BadStimuli, match="there is no such file"):
        read_bytes(tmp_path / "x")
    with pytest.raises(BadStimuli, match="unknown kind of file. Rows are read from .csv"):
        read_table(tmp_path / "x.xlsx", Sieve())
