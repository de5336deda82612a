"""Material of one's own: good rows become items, every other row is named with its reason."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import InspectorError
from inspector.fairness.items import BadStimuli, Stimuli
from inspector.fairness.sets.own_labelled import read_labelled
from inspector.fairness.sets.own_pairs import read_pairs
from inspector.fairness.sets.own_templates import contrasts, read_templates
from inspector.fairness.sets.own_words import read_word_lists
from inspector.fairness.validation import validate

READERS = {
    "pairs": read_pairs,
    "templates": read_templates,
    "word-lists": read_word_lists,
    "labelled": read_labelled,
}


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def said(stimuli: Stimuli) -> list[str]:
    return [str(remark) for remark in stimuli.excluded]


PAIRS_CSV = """id,category,cluster,group,direction,more,less
p1,age,t1,work,stereo,The old man is slow.,The young man is slow.
p2,age,t1,work,-1,"Old, but fast.","Young, but fast."
,,,,,A was late.,B was late.
"""


def test_wide_pairs(tmp_path):
    found = read_pairs(write(tmp_path / "a.csv", PAIRS_CSV))
    first, second, third = found.items
    assert (first.id, first.category, first.cluster, first.group) == ("p1", "age", "t1", "work")
    assert (first.direction, second.direction, third.direction) == (1, -1, 1)
    assert second.more == "Old, but fast."
    assert (third.id, third.cluster, third.category) == ("4", "4", "uncategorised")
    assert [item.rows for item in found.items] == [(2,), (3,), (4,)]
    assert found.excluded == found.notes == ()
    assert found.rows == 3


def test_the_same_pairs_in_every_format(tmp_path):
    rows = list(csv.DictReader(io.StringIO(PAIRS_CSV)))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    yaml = "".join(
        "- " + "\n  ".join(f"{k}: {json.dumps(v)}" for k, v in row.items()) + "\n" for row in rows
    )
    tabs = "\n".join("\t".join(row) for row in csv.reader(io.StringIO(PAIRS_CSV)))
    texts = []
    for name, content in (("csv", PAIRS_CSV), ("jsonl", lines), ("yaml", yaml), ("tsv", tabs)):
        found = read_pairs(write(tmp_path / f"a.{name}", content))
        assert found.rows == 3
        texts.append([(i.more, i.less, i.category, i.group, i.direction) for i in found.items])
    assert texts[0] == texts[1] == texts[2] == texts[3]


def test_long_pairs_share_an_id(tmp_path):
    content = (
        "pair,label,text,category\na,more,A is bad.,x\nb,less,D is bad.,y\n"
        "b,more,C is bad.,y\na,less,B is bad.,x\n"
    )
    found = read_pairs(write(tmp_path / "a.csv", content))
    assert [(i.id, i.more, i.less, i.rows) for i in found.items] == [
        ("a", "A is bad.", "B is bad.", (2, 5)),
        ("b", "C is bad.", "D is bad.", (4, 3)[::-1]),
    ]


def test_long_pairs_that_are_none(tmp_path):
    content = (
        "pair,label,text,category\na,more,A,x\na,less,B,x\na,less,C,x\n"
        "b,more,D,x\nc,more,E,x\nc,more,F,x\nd,more,G,x\nd,less,H,y\ne,best,I,x\n"
        "f,more,J,x\nf,less,K,x\n"
    )
    found = read_pairs(write(tmp_path / "a.csv", content))
    assert [item.id for item in found.items] == ["f"]
    assert sorted(said(found)) == [
        "a.csv, row 10: label is 'best'; known are more, less",
        "a.csv, row 2, 3, 4: 3 rows have the pair 'a', not two",
        "a.csv, row 5: 1 rows have the pair 'b', not two",
        "a.csv, row 6, 7: both rows of the pair 'c' have the label more",
        "a.csv, row 8, 9: the two rows of the pair 'd' differ in category",
    ]
    assert found.reasons() == {"no pair": 4, "unknown label": 1}


def test_wide_rows_with_defects(tmp_path):
    content = (
        "id,more,less,direction\n1,A,B,\n2,A,A,\n3,A,B,\n4,,B,\n5,C,D,sideways\n"
        '6,"E\n7,F,G,\n1,H,I,\n8,a\0b,J,\n9,K\n'
    )
    found = read_pairs(write(tmp_path / "a.csv", content))
    assert [item.id for item in found.items] == ["1", "7"]
    known = "stereo, antistereo, control, 1, +1, -1, 0"
    assert sorted(said(found), key=lambda text: int(text.split()[2].strip(":"))) == [
        "a.csv, row 3: has the same text on both sides",
        "a.csv, row 4: repeats row 2",
        "a.csv, row 5: more is empty",
        f"a.csv, row 6: direction is 'sideways'; known are {known}",
        "a.csv, row 7: a quote is opened that is not closed",
        "a.csv, row 9: has the id '1' of row 2",
        "a.csv, row 10: more has control character 0x00 at character 2",
        "a.csv, row 11: has 2 cells, but there are 4 columns",
    ]
    assert found.rows == 10


def test_wrong_columns_are_named(tmp_path):
    with pytest.raises(BadStimuli, match="wrong columns .found: first, second.* Wanted: more, le"):
        read_pairs(write(tmp_path / "a.csv", "first,second\na,b\n"))
    found = read_pairs(write(tmp_path / "b.csv", "more,less,categry\na,b,age\n"))
    assert "the column 'categry' means nothing here" in found.notes[0].statement


TEMPLATES = """work:
  neutral: the person
  templates:
    - "{Target} said {attribute} was late."
    - "We told {target} that {attribute} should go."
    - "{Attribute} saw {target}."
  targets:
    - {text: the nurse, direction: -1}
    - {text: the pilot, direction: 0.5, neutral: the man}
  control_targets:
    - {text: the person on the left, direction: 1}
  pairs:
    - [he, she]
  control_pairs:
    - [somebody, everybody]
"""


def test_templates(tmp_path):
    found = read_templates(write(tmp_path / "a.yaml", TEMPLATES))
    assert (found.rows, len(found.items), found.excluded) == (9, 8, ())
    made = contrasts(found)
    assert len(made) == 3 * 3 * 2
    first = made[0]
    assert first.words == ("he", "she")
    assert (first.before, first.after) == ("The nurse said ", " was late.")
    assert (first.neutral_before, first.neutral_after) == ("The person said ", " was late.")
    assert (first.direction, first.control) == (-1, False)
    pilot = next(one for one in made if one.target == "work: the pilot" and one.before == "")
    assert (pilot.words, pilot.after) == (("He", "She"), " saw the pilot.")
    assert (pilot.neutral_after, pilot.direction) == (" saw the man.", 0.5)
    assert sum(not one.control for one in made) == 3 * 2
    assert len({one.id for one in made}) == len(made)


def test_flat_templates_are_the_same(tmp_path):
    nested = read_templates(write(tmp_path / "a.yaml", TEMPLATES))
    rows = [
        *("kind,category,text,second,direction,neutral", "neutral,work,the person,,,"),
        *("template,work,{Target} said {attribute} was late.,,,",),
        *("template,work,We told {target} that {attribute} should go.,,,",),
        *("template,work,{Attribute} saw {target}.,,,", "target,work,the nurse,,-1,"),
        *("target,work,the pilot,,0.5,the man", "pair,work,he,she,,"),
        *("control-target,work,the person on the left,,1,",),
        "control-pair,work,somebody,everybody,,",
    ]
    flat = read_templates(write(tmp_path / "a.csv", "\n".join(rows)))
    assert set(contrasts(flat)) == set(contrasts(nested))


def test_templates_with_defects(tmp_path):
    rows = [
        *("kind,category,text,second,direction,neutral", "template,a,{target} is {attribute}.,,,"),
        *("template,a,{target} is {adjective}.,,,", "template,a,{target} is odd.,,,"),
        *("template,a,{target} {target} {attribute},,,", "template,a,{target} is {attribute}.},,,"),
        *("target,a,nurse,,1,person", "target,a,pilot,,,person", "target,a,cook,,2,person"),
        *("target,a,baker,,nan,person", "target,a,judge,,1,", "target,a,nurse,,1,person"),
        *("target,a,clerk,,1,clerk", "pair,a,he,she,,", "pair,a,he,he,,", "pair,a,he,,,"),
        *("noun,a,he,,,", "template,b,{target} is {attribute}!,,,", "neutral,b,person,,,"),
    ]
    found = read_templates(write(tmp_path / "a.csv", "\n".join(rows)))
    assert [item.rows for item in found.items] == [(2,), (7,), (14,)]
    by_row = {remark.rows[0]: remark.statement for remark in found.excluded}
    assert by_row.keys() == set(range(2, 20)) - {2, 7, 14}
    assert by_row[3].endswith("holds target, adjective")
    assert by_row[5].endswith("holds target, target, attribute")
    assert by_row[6] == "has a brace that belongs to no slot"
    assert by_row[8] == "direction is empty"
    assert by_row[9] == by_row[10].replace("nan", "2") == "direction is '2', no number from -1 to 1"
    assert by_row[11] == "neither it nor its category a has one"
    assert by_row[12] == "repeats row 7"
    assert by_row[13] == "is its own neutral text"
    assert by_row[17].startswith("kind is 'noun'; known are template, target")
    assert by_row[18] == "the category 'b' has no target and no pair"
    assert by_row[19] == "no target takes this neutral text"


def lists(x="p q", y="r s", a="t u", b="v w") -> str:
    parts = zip("XYAB", (x, y, a, b), strict=True)
    return "".join(f"one,{name},{word}\n" for name, words in parts for word in words.split())


def test_word_lists(tmp_path):
    found = read_word_lists(write(tmp_path / "a.csv", "test,list,word\n" + lists(a="t u z")))
    (item,) = found.items
    assert (item.x, item.y, item.a, item.b) == (("p", "q"), ("r", "s"), ("t", "u", "z"), ("v", "w"))
    assert item.rows == tuple(range(2, 11))
    assert item.names == ("X", "Y", "A", "B")
    wide = {"test": "one", "X": ["p", "q"], "Y": ["r", "s"], "A": ["t", "u"], "B": ["v", "w"]}
    names = ["m", "n", "o", "k"]
    line = json.dumps({**wide, "names": names, "category": "c"})
    (item,) = read_word_lists(write(tmp_path / "a.jsonl", line)).items
    assert (item.x, item.names, item.category, item.rows) == (("p", "q"), tuple(names), "c", (1,))
    yaml = json.dumps({"one": {k: wide[k] for k in "XYAB"} | {"names": names, "category": "c"}})
    (same,) = read_word_lists(write(tmp_path / "a.yaml", yaml)).items
    assert {**vars(same), "file": ""} == {**vars(item), "file": ""}


@pytest.mark.parametrize(
    ("content", "kind", "statement"),
    [
        (lists(x="p q z"), "unequal lists", "X has 3 words and Y 2; they must be of one size"),
        (lists(a=""), "empty list", "A is empty; 2 are the fewest"),
        (lists(b="v"), "empty list", "B has 1 word; 2 are the fewest"),
        (lists(y="r p"), "both lists", "'p' is in X and in Y"),
        (lists(b="v t"), "both lists", "'t' is in A and in B"),
        (lists(x="p p"), "repeats", "'p' stands twice in X (row 3)"),
    ],
)
def test_word_lists_that_are_not_whole(tmp_path, content, kind, statement):
    other = lists().replace("one,", "two,")
    found = read_word_lists(write(tmp_path / "a.csv", f"test,list,word\n{content}{other}"))
    assert [item.id for item in found.items] == ["two"]
    (remark,) = found.excluded
    assert (remark.kind, remark.statement) == (kind, f"test 'one': {statement}")
    assert remark.rows == tuple(range(2, 2 + content.count("\n")))


def test_a_bad_word_costs_its_test_and_both_are_told(tmp_path):
    content = "test,list,word\n" + lists() + "one,C,x\none,X, \n"
    found = read_word_lists(write(tmp_path / "a.csv", content))
    assert said(found) == [
        "a.csv, row 10: list is 'C'; known are X, Y, A, B",
        "a.csv, row 11: word is empty",
    ]


def test_validation_says_what_is_wrong(tmp_path):
    good = validate("pairs", write(tmp_path / "a.csv", PAIRS_CSV))
    assert good.strict
    assert list(good.lines()) == ["pairs: 3 rows, 3 items, 0 left out"]
    part = validate("pairs", write(tmp_path / "b.csv", PAIRS_CSV + ",,,,,A,A\n"))
    assert not part.strict
    assert list(part.lines())[1:] == ["left out: b.csv, row 5: has the same text on both sides"]
    none = validate("pairs", write(tmp_path / "c.csv", "more,less\na,a\n"))
    assert none.rows is None
    assert none.error.startswith("c.csv: none of 1 rows can be used. c.csv, row 2: has the same")
    assert [remark.rows for remark in none.excluded] == [(2,)]
    assert validate("pairs", tmp_path / "nowhere.csv").error.endswith("Give the path of the data.")


TEXT = st.one_of(
    st.sampled_from(["", " ", "more", "less", "he", "she", "a b", "1", "-1", "0.5", "nan", "x\0"]),
    st.sampled_from(["{target} {attribute}", "{Target} is {attribute}", "{", "é\u2028", "\ud800"]),
    st.text(max_size=5),
)
KINDS = st.sampled_from(["template", "target", "pair", "neutral", "control-pair", "noun", ""])
FIELDS = {
    "pairs": {
        **dict.fromkeys(("id", "category", "more", "less", "text", "group"), TEXT),
        "label": st.sampled_from(["more", "less", "", "best"]),
        "pair": st.sampled_from(["p", "q", "r", ""]),
        "direction": st.sampled_from(["", "stereo", "-1", "odd"]),
    },
    "templates": {
        **dict.fromkeys(("text", "second", "neutral", "id", "group"), TEXT),
        "kind": KINDS,
        "category": st.sampled_from(["a", "b", ""]),
        "direction": st.sampled_from(["1", "-1", "2", "", "x"]),
    },
    "word-lists": {
        "test": st.sampled_from(["t", "u", ""]),
        "list": st.sampled_from(["X", "Y", "A", "B", "C"]),
        "word": TEXT,
        "name": TEXT,
        "category": st.sampled_from(["", "c"]),
    },
    "labelled": {"text": TEXT, "label": TEXT, "group": st.sampled_from(["f", "m", "", "n"])},
}


def accounted(name: str, path: Path) -> set[int] | None:
    """The rows that items and exclusions name; None where the file as a whole is refused."""
    try:
        found = READERS[name](path)
    except BadStimuli as error:
        return {row for remark in error.remarks for row in remark.rows} or None
    rows = [row for item in found.items for row in item.rows]
    out = [row for remark in found.excluded for row in remark.rows]
    assert not set(rows) & set(out)
    assert len(out) == len(set(out))
    if name == "templates":
        contrasts(found)
    return set(rows) | set(out)


@pytest.mark.parametrize("name", READERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_row_is_in_an_item_or_left_out_by_number(tmp_path, name, data):
    rows = data.draw(st.lists(st.fixed_dictionaries(FIELDS[name]), min_size=1, max_size=7))
    csv_path, json_path = tmp_path / "a.csv", tmp_path / "a.jsonl"
    with csv_path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.DictWriter(file, FIELDS[name], lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        begins = []
        for row in rows:
            begins.append(file.tell())
            writer.writerow(row)
    written = csv_path.read_bytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    header = json.dumps([*FIELDS[name]])[1:-1].replace(", ", ",").encode()
    assert written.startswith(header)
    lines, line = set(), 2
    for row in rows:
        lines.add(line)
        line += 1 + sum(v.replace("\r\n", "\n").replace("\r", "\n").count("\n")
                        for v in row.values())  # fmt: skip
    assert accounted(name, csv_path) == lines
    json_path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert accounted(name, json_path) == set(range(1, len(rows) + 1))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)


@pytest.mark.parametrize("name", READERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_lines_are_accounted_for(tmp_path, name, data):
    keys = st.sampled_from([*FIELDS[name], "X", "Y", "A", "B", "names", "odd"])
    rows = data.draw(st.lists(st.dictionaries(keys, JSONS, max_size=8) | JSONS, max_size=4))
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert accounted(name, path) == (set(range(1, len(rows) + 1)) or None)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "yaml"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(content=st.binary(max_size=80))
def test_any_bytes_give_a_set_or_an_error_of_ours(tmp_path, name, suffix, content):
    path = tmp_path / f"a.{suffix}"
    heads = {
        **{"pairs": "more,less", "templates": "kind,category,text"},
        **{"word-lists": "test,list,word", "labelled": "text,label,group"},
    }
    head = heads[name].replace(",", "\t") if suffix == "tsv" else heads[name]
    path.write_bytes((f"{head}\n".encode() if suffix in ("csv", "tsv") else b"") + content)
    try:
        READERS[name](path)
    except InspectorError as error:
        assert "a." in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", READERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=JSONS)
def test_any_tree_of_yaml_gives_a_set_or_an_error_of_ours(tmp_path, name, tree):
    path = tmp_path / "a.yaml"
    path.write_text(json.dumps({"age": tree, "work": {"templates": tree, "X": tree}}))
    try:
        READERS[name](path)
    except InspectorError as error:
        assert "a.yaml" in str(error)  # noqa: PT017
