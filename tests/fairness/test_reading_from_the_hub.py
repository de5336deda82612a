"""Sets of the Hub: read through `datasets` where it is installed, refused clearly where not."""

import json
import sys

import pytest

from inspector.errors import BadOption
from inspector.fairness.hub import READERS
from inspector.fairness.items import BadStimuli
from inspector.fairness.stimuli import read

ROWS = [
    {"id": "7", "sent_more": "A is bad.", "sent_less": "B is bad.", "stereo_antistereo": "stereo",
     "bias_type": "age"},
    {"id": "8", "sent_more": "A is bad.", "sent_less": "", "stereo_antistereo": "antistereo",
     "bias_type": "age"},
]  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_without_the_library_the_way_out_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadOption, match="pip install inspector.data.*Or give the path"):
        read(name, "hub:some/where")


def test_sets_of_many_files_are_not_read_from_the_hub():
    with pytest.raises(BadOption, match="is read from files, not from the Hub"):
        read("winobias", "hub:some/where")


def test_rows_of_the_hub_become_the_items_of_the_file(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    found = read("crows-pairs", f"hub:{tmp_path}", split="test")
    assert [(item.id, item.rows, item.more) for item in found.items] == [("7", (1,), "A is bad.")]
    assert found.reasons() == {"empty": 1}
    assert found.origin == f"hub:{tmp_path}"


def test_labels_of_the_hub_are_named(tmp_path):
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["antistereo", "stereo"])
    kept = {"id": "7", "sent_more": "A", "sent_less": "B", "stereo_antistereo": 1}
    text = datasets.Value("string")
    features = datasets.Features(
        {"id": text, "sent_more": text, "sent_less": text, "stereo_antistereo": label,
         "bias_type": datasets.ClassLabel(names=["age", "gender"])}
    )  # fmt: skip
    rows = datasets.Dataset.from_list([{**kept, "bias_type": 1}], features=features)
    rows.to_parquet(tmp_path / "test.parquet")
    (item,) = read("crows-pairs", f"hub:{tmp_path}", split="test").items
    assert (item.group, item.category) == ("stereo", "gender")


def test_what_the_hub_does_not_have_is_an_error_of_ours(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(BadStimuli, match="the Hub does not give it"):
        read("crows-pairs", f"hub:{tmp_path}/nowhere")
