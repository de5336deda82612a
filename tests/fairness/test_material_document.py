"""What docs/test-material.md shows is read as it says."""

import re
from pathlib import Path

import pytest

from inspector.fairness.sets.own_prompts import prompts_of
from inspector.fairness.sets.own_templates import contrasts
from inspector.fairness.stimuli import SETS, read

TEXT = (Path(__file__).resolve().parents[2] / "docs/test-material.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(csv|yaml)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
NAMES = (
    "pairs",
    "pairs",
    "templates",
    "templates",
    "prompts",
    "prompts",
    "word-lists",
    "word-lists",
    "labelled",
    "labelled",
)


@pytest.fixture
def examples(tmp_path):
    found = []
    for number, (name, (suffix, content)) in enumerate(zip(NAMES, BLOCKS, strict=True)):
        path = tmp_path / f"{number}.{suffix}"
        path.write_text(content)
        found.append(read(name, path))
    return found


def test_every_example_is_read_whole(examples):
    for found in examples:
        assert found.excluded == found.notes == ()
        assert found.items


def test_the_two_forms_of_an_example_are_the_same(examples):
    _, _, nested, flat, started, begun, lists, rows, texts, listed = examples
    assert set(contrasts(nested)) == set(contrasts(flat))
    assert set(prompts_of(started)) == set(prompts_of(begun))
    (one,), (other,) = lists.items, rows.items
    assert (one.names, one.x, one.y, one.a, one.b) == (
        *(other.names, other.x, other.y, other.a, other.b),
    )
    assert [(i.text, i.groups) for i in texts.items] == [(i.text, i.groups) for i in listed.items]


def test_every_set_is_in_the_table():
    assert set(re.findall(r"`([a-z-]+)`", TEXT.split("## Pairs")[0])) >= SETS.keys()
