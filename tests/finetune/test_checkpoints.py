"""A checkpoint is whole or it is not used, whatever stops the machine or is done to it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from inspector.finetune import checkpoints
from inspector.finetune.checkpoints import (
    DRAFT,
    MANIFEST,
    NotSaved,
    begin,
    checkpoints_of,
    fault,
    newest_complete,
    publish,
    rotate,
    told,
    write_json,
)

ABOUT = {"not_resumable": None, "run": {}}


def put(run, step: int, seed: int = 0):
    """A checkpoint with two tensors and two files of JSON."""
    folder = run / "checkpoints" / f"checkpoint-{step}"
    draft = begin(folder)
    torch.manual_seed(seed)
    save_file({"a": torch.randn(4, 3), "b": torch.randn(5)}, draft / "model.safetensors")
    write_json(draft / "state.json", {"step": step, "values": list(range(50))})
    write_json(draft / "empty.json", {})
    publish(folder, {"step": step, **ABOUT})
    return folder


def test_a_whole_checkpoint_is_found(tmp_path):
    put(tmp_path, 2)
    newest = put(tmp_path, 10)
    found, refused = newest_complete(tmp_path)
    assert found.folder == newest and found.step == 10 and refused == ()
    assert [step for step, _ in checkpoints_of(tmp_path)] == [2, 10]
    torch.manual_seed(0)
    assert torch.equal(load_file(newest / "model.safetensors")["a"], torch.randn(4, 3))


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def grown(file):
    file.write_bytes(file.read_bytes() + b" ")


def flipped(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "empty.json", MANIFEST])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda file: file.unlink(), "is missing"),
        (cut, "expected"),
        (grown, "expected"),
        (flipped, "SHA-256"),
        (lambda file: file.write_bytes(b""), "0 bytes, expected"),
    ],
)
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_taken(tmp_path, name, harm, reason):
    before = put(tmp_path, 3)
    newest = put(tmp_path, 4)
    harm(newest / name)
    found, (refused,) = newest_complete(tmp_path)
    assert found.folder == before
    assert refused.folder == newest
    assert refused.reason.startswith(name)
    assert name == MANIFEST or reason in refused.reason


def test_what_no_manifest_lists_is_refused(tmp_path):
    folder = put(tmp_path, 1)
    (folder / ".DS_Store").write_text("a desktop's")
    assert fault(folder) is None
    (folder / "adapter_config.json").write_text("{}")  # transformers would follow it
    assert fault(folder) == "adapter_config.json is not in its manifest"


def test_a_manifest_that_was_changed_with_the_file_is_refused(tmp_path):
    folder = put(tmp_path, 1)
    cut(folder / "state.json")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["state.json"] = checkpoints.digest_of(folder / "state.json")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert fault(folder) == f"{MANIFEST} was changed after it was written"


def test_a_checkpoint_that_cannot_be_gone_on_from_says_why(tmp_path):
    folder = put(tmp_path, 1)
    draft = begin(tmp_path / "checkpoints" / "checkpoint-2")
    shutil.copy(folder / "state.json", draft)
    why = "GaLoreAdamW: the state of w, projector, holds a GaLoreProjector"
    publish(tmp_path / "checkpoints" / "checkpoint-2", {"step": 2, **ABOUT, "not_resumable": why})
    found, (refused,) = newest_complete(tmp_path)
    assert found.step == 1 and refused.reason == why


def test_at_no_moment_of_a_save_is_a_partial_checkpoint_used(tmp_path, monkeypatch):
    """The disk is copied before each flush and each rename: what a power cut would leave."""
    run = tmp_path / "run"
    put(run, 1)
    moments = []

    def noted(act):
        def first(*given):
            moments.append(tmp_path / f"moment-{len(moments)}")
            shutil.copytree(run, moments[-1])
            return act(*given)

        return first

    monkeypatch.setattr(checkpoints, "flush", noted(checkpoints.flush))
    monkeypatch.setattr(checkpoints.Path, "rename", noted(checkpoints.Path.rename))
    put(run, 2, seed=1)
    put(run, 2, seed=2)  # one of this step stands there already
    rotate(run, keep=1, best=None)
    monkeypatch.undo()
    assert len(moments) > 12
    seen = set()
    for moment in moments:
        found, refused = newest_complete(moment)
        seen.add(found and found.step)
        assert found is not None
        assert fault(found.folder) is None
        assert {one.reason for one in refused} <= {"its writing was not finished"}
    assert seen == {1, 2}


def test_what_stops_a_save_leaves_the_last_one(tmp_path):
    put(tmp_path, 1)
    folder = tmp_path / "checkpoints" / "checkpoint-2"
    says = r"checkpoint-2 .*No space left.*checkpoint-1 is kept.*room"
    with pytest.raises(NotSaved, match=says), told(folder, checkpoints.last_of(tmp_path)):
        begin(folder)
        raise OSError(28, "No space left on device")
    found, refused = newest_complete(tmp_path)
    assert found.step == 1 and refused == ()
    assert not list((tmp_path / "checkpoints").glob(f"{DRAFT}*"))


def test_old_ones_go_and_the_best_stays(tmp_path):
    for step in range(1, 7):
        put(tmp_path, step)
    rotate(tmp_path, keep=2, best=3)
    assert [step for step, _ in checkpoints_of(tmp_path)] == [3, 5, 6]
    rotate(tmp_path, keep=2, best=6)
    assert [step for step, _ in checkpoints_of(tmp_path)] == [3, 5, 6]
    put(tmp_path, 7)
    rotate(tmp_path, keep=1, best=None)
    assert [step for step, _ in checkpoints_of(tmp_path)] == [7]
