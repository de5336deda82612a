"""Fine-tuning from the command line: plan, train, go on, prove; documents follow their schemas."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from inspector.report.schema import FOLDER
from tests.finetune.conftest import rows, saved, written


@pytest.fixture
def config(tmp_path, capfdbinary) -> Path:
    """A configuration of a tiny causal model that trains four steps and is asked by a gate."""
    model = saved(tmp_path / "model", "llama", kind="causal")
    train = written(tmp_path / "train.jsonl", rows(40))
    capfdbinary.readouterr()  # what saving said
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"model: {model}\ntask: causal-lm\nrun: {tmp_path / 'run'}\ndata: {{train: {train}}}\n"
        "training: {epochs: 2, batch: 10, device: cpu, save_every: 2}\n"
    )
    return path


def checked(command: str, out: bytes) -> dict:
    found = json.loads(out)
    shipped = json.loads((FOLDER / f"{command}.json").read_text())
    jsonschema.validate(found, shipped)
    return found


def test_plan_then_train_then_go_on(run, config, tmp_path):
    code, out, _ = run("plan", config, "--json")
    assert code == 0
    planned = checked("plan", out)
    assert not (tmp_path / "run").exists()
    code, out, err = run("finetune", config, "--json")
    assert code == 0, err
    found = checked("finetune", out)
    assert found["summary"]["steps"] == planned["summary"]["steps"] == 8
    moved = sum(one["parameters"] for one in planned["records"] if one["moves"])
    assert found["summary"]["trained_parameters"] == moved
    assert "FT-NOGATE" in {one["id"] for one in found["findings"]}
    assert json.loads((tmp_path / "run" / "result.json").read_text())["records"] == found["records"]
    code, _, err = run("finetune", config)
    assert (code, "holds a run already" in err) == (2, True)
    code, out, _ = run("finetune", config, "--resume", "--json")
    assert code == 0
    assert checked("finetune", out)["records"] == found["records"]


def test_a_gate_that_cannot_be_decided_does_not_promote(run, config, tmp_path):
    probe = "[{probe: counterfactual-gap, margin: 0.1}]"
    given = ("--set", f"gate.probes={probe}", "--set", "training.max_steps=1")
    code, out, err = run("finetune", config, *given, "--json", "--fail-on", "warning")
    assert code == 1, err
    found = checked("finetune", out)
    assert found["summary"]["gate"]["verdict"] == "inconclusive"  # random weights know no language
    assert not found["summary"]["promoted"]
    assert not (tmp_path / "run" / "model").exists()
    assert (tmp_path / "run" / "candidate" / "model.safetensors").exists()


def test_a_stop_changes_no_bit(run, config, tmp_path):
    """In a process of its own: checks of types draw from Python's generator, which is compared."""
    command = [sys.executable, "-m", "inspector", "finetune", str(config), "--verify-resume"]
    done = subprocess.run([*command, "--json"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found = checked("verify-resume", done.stdout)
    assert found["records"]
    assert all(one["same"] for one in found["records"])
    assert not list(tmp_path.glob("run*"))
    assert run("finetune", config, "--verify-resume", "--resume")[0] == 2


def test_control_c_says_how_to_go_on(config, tmp_path):
    command = [sys.executable, "-m", "inspector", "finetune", str(config)]
    command += ["--set", "training.epochs=4000"]
    file = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 180
        while not (file.exists() and file.read_text().count("\n") > 4):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"go on with --resume" in err
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "training.epoch=2"], "did you mean epochs?"),
        (["--set", "model=/no/such/model"], "/no/such/model"),
        (["--set", "data.train=none.csv"], "there is no such file"),
        (["--set", "data.text=txt"], "has no column txt"),
        (["--set", "data.max_tokens=5"], "data.max_tokens is 5"),
    ],
)
def test_mistakes_are_one_line(run, config, tmp_path, arguments, told):
    code, out, err = run("finetune", config, *arguments)
    assert (code, out) == (2, b"")
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
