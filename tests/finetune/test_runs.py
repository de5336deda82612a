"""What a run says of itself, and which lines of it stay when it goes on."""

import json

import pytest

from inspector.errors import BadOption
from inspector.finetune.checkpoints import Kept, Refused
from inspector.finetune.runs import about_resuming, claim, kept_lines, saved_identity


def test_lines_of_steps_that_are_made_again_go(tmp_path):
    file = tmp_path / "health.jsonl"
    lines = [json.dumps({"step": step, "kind": kind}) for step in range(4) for kind in "ab"]
    file.write_text("\n".join(lines) + "\n")
    kept_lines(file, 2)
    assert file.read_text().splitlines() == lines[:6]
    file.write_text("\n".join(lines[:6]) + '\n{"step": 2, "ki')  # cut off by a kill
    kept_lines(file, 2)
    assert file.read_text().splitlines() == lines[:6]
    file.write_text(lines[0] + "\n" + lines[1])  # whole, but for its end
    kept_lines(file, 5)
    assert file.read_text().splitlines() == lines[:1]


@pytest.mark.parametrize("held", ["metrics.jsonl", "model", "checkpoints/checkpoint-7"])
def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path, held):
    claim(tmp_path / "new", resume=False)
    claim(tmp_path, resume=False)
    (tmp_path / held).mkdir(parents=True)
    with pytest.raises(BadOption, match=held.rpartition("/")[2]):
        claim(tmp_path, resume=False)
    claim(tmp_path, resume=True)


def test_a_run_says_what_it_is(tmp_path):
    assert saved_identity(tmp_path, None) is None
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "run": {"seed": 3}}\n{"step": 1}\n')
    assert saved_identity(tmp_path, None) == {"seed": 3}
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "ru')
    assert saved_identity(tmp_path, None) is None


def test_what_is_told_of_going_on(tmp_path):
    start = Kept(folder=tmp_path, step=4, manifest={})
    saved = {"versions": {"torch": "2.12", "numpy": "2.4"}}
    now = {"versions": {"torch": "2.13", "numpy": "2.4"}}
    assert about_resuming(saved, saved, start, ()) == ()
    (told,) = about_resuming(saved, now, start, ())
    assert told.id == "FT-VERSIONS" and "torch 2.12 -> 2.13" in told.statement
    assert "numpy" not in told.statement
    refused = Refused(folder=tmp_path / "checkpoint-6", reason="a.json is missing")
    first, second = about_resuming(saved, now, None, (refused,))
    assert first.id == "FT-CHECKPOINT" and first.where == "checkpoint-6"
    assert first.statement == "not used: a.json is missing"
    assert second.id == "FT-ANEW"
