"""Every finding id that the package gives out is documented, and the other way round."""

import ast
import re
from pathlib import Path

import pytest

from inspector.results import SEVERITIES
from inspector.weights.problems import PROBLEMS

ROOT = Path(__file__).resolve().parents[2]
ID = re.compile(r"[A-Z]{2}-[A-Z0-9-]+")
TABLE = Path("inspector/weights/problems.py")
DOCUMENT = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
ROWS = {  # id -> (severity, meaning, remedy)
    cells[0].strip("`"): tuple(cells[1:])
    for line in DOCUMENT.splitlines()
    if line.startswith("| `")
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}


def given_out() -> set[str]:
    """Ids that stand as texts of their own in the sources, the table's own keys left out."""
    found = set()
    for file in ROOT.glob("inspector/**/*.py"):
        if file.relative_to(ROOT) == TABLE:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if ID.fullmatch(node.value) else set()
    return found


def test_every_id_given_out_is_known():
    unknown = given_out() - PROBLEMS.keys()
    assert {id for id in unknown if not id.startswith("RT-")} == set()  # RT-*: no file's problem


def test_every_known_id_is_given_out():
    assert PROBLEMS.keys() - given_out() == set()


def test_the_document_lists_every_id_and_no_other():
    assert ROWS.keys() == PROBLEMS.keys() | given_out()


@pytest.mark.parametrize("id", sorted(ROWS))
def test_the_document_says_what_it_means_and_what_to_do(id):
    severity, meaning, remedy = ROWS[id]
    assert severity in SEVERITIES
    assert meaning.endswith(".")
    assert remedy.endswith(".")
    if id in PROBLEMS:
        assert (severity, remedy) == PROBLEMS[id]
