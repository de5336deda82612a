"""A run that was stopped goes on as if it had not been: weights, lines and decisions."""

import json
import re
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from inspector.errors import BadOption, CheckpointError
from inspector.finetune import resuming
from inspector.finetune.checkpoints import (
    Interrupted,
    NotSaved,
    checkpoints_of,
    fault,
    newest_complete,
)
from inspector.finetune.run import finetune, prepare, trained, trainer_of
from inspector.finetune.train import Diverged
from inspector.finetune.verify import verify_resume

STEPS = 6  # of two epochs
ROOT = Path(__file__).parents[2]


def settings(made, task="sequence-classification", family="bert", **training):
    """Two epochs of three steps, the last of each shorter; dropout is 0.1."""
    given = {"epochs": 2, "batch": 8, "save_every": 1, "keep": 20, "device": "cpu", **training}
    return made(task, family, count=20 * given.get("accumulate", 1), training=given)


def stopping(step: int):
    """Ctrl-C after a step."""

    def progress(done: int, total: int, what: str) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def outcome(run: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The weights and the lines of a run."""
    lines = (run / "metrics.jsonl").read_text().splitlines()[1:]  # the first names the folder
    return load_file(run / "model" / "model.safetensors"), "\n".join(lines)


def assert_same(run: Path, other: Path) -> None:
    (weights, lines), (others, other_lines) = outcome(run), outcome(other)
    assert lines == other_lines
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def moved(config, run: Path):
    return config.model_copy(update={"run": str(run)})


KINDS = [
    ("sequence-classification", "bert", {"accumulate": 2}, 2),
    ("causal-lm", "gpt2", {}, 3),
    ("masked-lm", "bert", {"early_stopping": 3, "evaluate_every": 2}, 5),
]


@pytest.mark.parametrize(("task", "family", "training", "stop"), KINDS)
def test_a_stopped_run_ends_as_one_that_was_not(made, tmp_path, task, family, training, stop):
    config = settings(made, task, family, **training)
    finetune(moved(config, tmp_path / "straight"))
    with pytest.raises(Interrupted, match=rf"checkpoint-{stop - 1} is kept.*--resume"):
        finetune(config, stopping(stop))
    transformers.set_seed(99)
    result = finetune(config, resume=True)
    told = {one.id for one in result.findings}
    assert told.isdisjoint({"FT-CHECKPOINT", "FT-ANEW", "FT-VERSIONS", "FT-FROZEN", "FT-STILL"})
    assert_same(tmp_path / "run", tmp_path / "straight")


@pytest.mark.soak
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("task", "family"),
    [("causal-lm", "gpt2"), ("masked-lm", "bert"), ("sequence-classification", "bert")],
)
def test_every_component_is_the_same_bit_for_bit(made, task, family, accumulate, workers):
    config = settings(made, task, family, accumulate=accumulate, workers=workers)
    found = verify_resume(config)
    assert found.summary["verdict"] == "bit for bit the same"
    assert {one.stop for one in found} == {"mid-epoch 1", "epoch end", "mid-epoch 2"}


@pytest.fixture
def whole(made):
    """A finished run of six steps with all its checkpoints."""
    config = settings(made)
    finetune(config)
    return config


def test_what_is_left_of_a_run(whole, tmp_path):
    """One run looked at from all sides: its files, its refusals, its end."""
    run = tmp_path / "run"
    assert [step for step, _ in checkpoints_of(run)] == list(range(1, STEPS + 1))
    assert_no_pickle(run)
    assert_opens_alone(run / "model")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [one["step"] for one in lines if "loss" in one] == list(range(1, STEPS + 1))
    assert [one["step"] for one in lines if "eval_loss" in one] == [3, 6]
    head = lines[0]["run"]
    assert head["config"]["seed"] == 0 and head["versions"]["torch"] == torch.__version__
    assert len(head["data"]["train.jsonl"]) == 64

    with pytest.raises(BadOption, match=r"holds a run already .*--resume"):
        finetune(whole)
    assert_ended_run_stays(whole, tmp_path)
    assert_another_run_is_refused(whole)
    assert_damage_is_told(whole, tmp_path)


def assert_no_pickle(run: Path) -> None:
    names = set()
    for file in (one for one in run.rglob("*") if one.is_file()):
        data = file.read_bytes()
        names.add(file.suffix)
        assert not data.startswith((b"PK", b"\x80", b"GGUF"))
        if file.suffix == ".safetensors":
            assert data[8:9] == b"{"
        else:
            data.decode("utf-8")
            assert file.suffix in (".json", ".jsonl", ".txt", ".jinja")
    assert {".safetensors", ".json"} <= names


def assert_opens_alone(folder: Path) -> None:
    """Plain transformers, with every warning an error, finds every tensor."""
    with warnings.catch_warnings(action="error"):
        network, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert not any(info.values())
    assert network(**tokenizer("the day was good", return_tensors="pt")).logits.shape == (1, 2)
    assert fault(folder) is None


def assert_ended_run_stays(config, tmp_path) -> None:
    before = outcome(tmp_path / "run")
    again = finetune(config, stopping(1), resume=True)  # no step is made that could be stopped
    assert again.summary["steps"] == STEPS
    weights, lines = outcome(tmp_path / "run")
    assert lines == before[1] and all(torch.equal(weights[n], before[0][n]) for n in weights)


def assert_another_run_is_refused(config) -> None:
    other = config.model_copy(
        update={
            "seed": 1,
            "training": config.training.model_copy(update={"batch": 4, "keep": 3}),
            "schedule": config.schedule.model_copy(update={"name": "cosine"}),
        }
    )
    with pytest.raises(BadOption) as caught:
        finetune(other, resume=True)
    told = str(caught.value)
    assert "seed was 0, is 1" in told and "training.batch was 8, is 4" in told
    assert "schedule.name was linear, is cosine" in told and "keep" not in told
    train = Path(config.data.train)
    kept = train.read_text()
    train.write_text(kept.replace("lovely", "great"))
    with pytest.raises(BadOption, match=r"train\.jsonl: its content is another"):
        finetune(config, resume=True)
    train.write_text(kept)
    base = Path(config.model) / "model.safetensors"
    data = base.read_bytes()
    base.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BadOption, match="model: its weights are others"):
        finetune(config, resume=True)
    base.write_bytes(data)


def assert_damage_is_told(config, tmp_path) -> None:
    """The two newest are damaged: the third is gone on from, with the same end."""
    run = tmp_path / "run"
    shutil.copytree(run, tmp_path / "straight")
    (run / "checkpoints" / "checkpoint-6" / "optimiser.safetensors").unlink()
    file = run / "checkpoints" / "checkpoint-5" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    result = finetune(config, resume=True)
    told = {one.where: one.statement for one in result.findings if one.id == "FT-CHECKPOINT"}
    assert told["checkpoint-6"] == "not used: optimiser.safetensors is missing"
    assert re.search(r"model\.safetensors has [\d,]+ bytes, expected", told["checkpoint-5"])
    assert_same(run, tmp_path / "straight")
    assert newest_complete(run)[0].step == STEPS


def test_a_run_that_never_saved_begins_anew(made, tmp_path):
    config = settings(made, max_steps=2)
    finetune(moved(config, tmp_path / "straight"))
    with pytest.raises(Interrupted, match="no checkpoint yet"):
        finetune(config, stopping(1))
    result = finetune(config, resume=True)
    assert "FT-ANEW" in {one.id for one in result.findings}
    assert_same(tmp_path / "run", tmp_path / "straight")


def test_a_disk_that_is_full_leaves_the_last_checkpoint(made, tmp_path):
    config = settings(made, max_steps=3)
    finetune(moved(config, tmp_path / "straight"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def shrinking(done: int, total: int, what: str) -> None:
        if done == 2:  # no file may grow beyond what the optimiser's takes
            resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, limits[1]))

    try:
        with pytest.raises(NotSaved, match=r"checkpoint-2 could not be .*checkpoint-1 is kept.*"):
            finetune(config, shrinking)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    found, refused = newest_complete(tmp_path / "run")
    assert found.step == 1 and refused == ()
    finetune(config, resume=True)
    assert_same(tmp_path / "run", tmp_path / "straight")


class Poison(transformers.TrainerCallback):
    """Spoils the second step: a weight that is no number, or a gradient that is infinite."""

    def __init__(self, network: torch.nn.Module, what: str) -> None:
        self.weight, self.what = next(network.parameters()), what

    def on_step_begin(self, args, state, control, **_) -> None:
        if state.global_step == 1 and self.what == "loss":
            self.weight.data.fill_(float("nan"))
        elif state.global_step == 1:
            self.weight.register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize("what", ["loss", "norm"])
def test_a_run_that_diverges_stops_at_once(made, tmp_path, what):
    ready = prepare(settings(made))
    trainer = trainer_of(ready)
    trainer.add_callback(Poison(ready.model.network, what))
    with pytest.raises(Diverged, match=rf"Step 2: the {what} .*checkpoint-1 is kept"):
        trained(trainer)
    found, refused = newest_complete(tmp_path / "run")
    assert found.step == 1 and refused == ()
    weights = load_file(found.folder / "model.safetensors")
    assert all(one.isfinite().all() for one in weights.values())
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [one["step"] for one in lines] == [0, 1]
    assert lines[1]["loss"] > 0.1


def test_what_breaks_is_named(made, monkeypatch):
    """A state that is not restored is found, and called by its name."""
    config = settings(made)
    monkeypatch.setattr(resuming, "restore_optimiser", lambda *_: None)
    found = verify_resume(config)
    assert found.summary["verdict"] == "not the same"
    broken = [{*one.evidence["components"]} for one in found.findings]
    # checks of types, which tests have on, draw from Python's generator
    assert [one - {"generators"} for one in broken] == [{"optimiser"}] * 3
    first = [one.differs_at for one in found if one.component == "optimiser"]
    assert first == [one.step + 1 for one in found if one.component == "optimiser"]


def test_the_best_ends_the_run_and_is_kept(made, tmp_path):
    config = settings(made, keep=1, early_stopping=2)
    config = config.model_copy(
        update={"optimiser": config.optimiser.model_copy(update={"learning_rate": 0.05})}
    )
    finetune(config)
    kept = [folder for _, folder in checkpoints_of(tmp_path / "run")]
    state = json.loads((kept[-1] / "trainer_state.json").read_text())
    best = tmp_path / "run" / "checkpoints" / f"checkpoint-{state['best_global_step']}"
    assert len(kept) <= 2 and best in kept
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    of_best = load_file(best / "model.safetensors")
    assert all(torch.equal(weights[name], of_best[name]) for name in weights)
    file = best / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=f"{best.name}.*damaged.*bytes, expected"):
        resuming.Resumable._load_best_model(type("Held", (), {"state": _held(best)})())


def _held(best: Path):
    return transformers.TrainerState(best_model_checkpoint=str(best))


def killed(config, folder: Path, kills: int) -> list[dict]:
    """What a series of kill -9 left, a line a kill and a run."""
    given = folder / "config.json"
    given.write_text(config.model_dump_json())
    script = Path(__file__).with_name("kills.py")
    command = [sys.executable, script, given, folder / "straight", str(kills), "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_after_any_kill_a_run_goes_on_bit_by_bit(made, tmp_path, kills):
    found = killed(settings(made, "masked-lm"), tmp_path, kills)
    ends = [one for one in found if "ended" in one]
    left = [one for one in found if "killed" in one]
    assert len(left) >= kills
    assert ends and all(one == {"ended": STEPS, "weights": True, "lines": True} for one in ends)
    for one in left:
        assert (one["kept"] or 0) <= one["logged"] <= STEPS
        assert all(told.endswith("its writing was not finished") for told in one["refused"])
