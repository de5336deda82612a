"""Labelled texts with groups: what can be used is kept, the rest is named."""

import pytest

from inspector.fairness.items import BadStimuli
from inspector.fairness.sets.own_labelled import read_labelled

GOOD = "id,text,label,group_sex,group_age\na,One.,yes,f,old\nb,Two.,no,m,old\nc,Three.,no,m,new\n"


def read(tmp_path, content, **options):
    path = tmp_path / "a.csv"
    path.write_text(content)
    return read_labelled(path, **options)


def test_texts_labels_and_groups(tmp_path):
    found = read(tmp_path, GOOD)
    assert [(item.id, item.text, item.label) for item in found.items] == [
        *(("a", "One.", "yes"), ("b", "Two.", "no"), ("c", "Three.", "no")),
    ]
    assert found.items[0].groups == {"sex": "f", "age": "old"}
    assert found.categories() == {"no": 2, "yes": 1}


def test_rows_with_defects(tmp_path):
    content = (
        GOOD
        + "d,Four.,maybe,f,old\ne,,no,f,old\nf,Six.,no,,old\ng,One.,yes,f,old\nh,One.,no,f,old\n"
    )
    found = read(tmp_path, content, labels=["yes", "no"])
    assert [str(remark) for remark in found.excluded] == [
        "a.csv, row 5: label is 'maybe'; known are yes, no",
        "a.csv, row 6: text is empty",
        "a.csv, row 7: group_sex is empty",
        "a.csv, row 8: repeats row 2",
    ]
    assert [str(note) for note in found.notes] == ["a.csv, row 2, 9: one text has 2 labels"]
    assert found.rows == 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,b\n", "no row has a group"),
        ("text,group\na,b\n", "wrong columns"),
        ("text,label,group\na,b,c\nd,e,c\n", "group has one group only, 'c'"),
    ],
)
def test_material_that_cannot_show_a_gap_is_refused(tmp_path, content, message):
    with pytest.raises(BadStimuli, match=message):
        read(tmp_path, content)
