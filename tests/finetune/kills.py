"""Kill a run at random moments by SIGKILL and go on with it, again and again; tell what was left.

`python kills.py CONFIG.json STRAIGHT KILLS SEED` with a configuration, the folder of the same run
that was never stopped, and how often to kill. One line of JSON a kill, one a run that ended.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from inspector.finetune.checkpoints import fault, newest_complete
from inspector.finetune.config import Config
from inspector.finetune.run import finetune

LAST = 6  # step of the run
EACH = 2  # kills of a run until it may end


def never() -> bool:
    """No moment."""
    return False


def child(config: Config) -> int:
    """The run in a process of its own, as it goes on from where it is."""
    process = os.fork()
    if process == 0:
        torch.set_num_threads(1)
        finetune(config, resume=True)
        os._exit(0)
    return process


def ended(process: int, moment: Callable[[], bool]) -> bool:
    """Whether a process ended by itself before a moment came; raises where it failed."""
    while not moment():
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            assert status == 0, f"the run failed with {status}"
            return True
        time.sleep(0.002)
    return False


def random_moment(run: Path, draw: random.Random, pause: float) -> Callable[[], bool]:
    """A moment after a random step that is still to come, or after the last one."""
    found, _ = newest_complete(run)
    step, begun = draw.randint(found.step if found else 0, LAST), time.time()
    until: list[float] = []

    def came() -> bool:
        file = run / "metrics.jsonl"
        new = file.exists() and file.stat().st_mtime > begun
        if not until and new and last_step(run) >= step:
            until.append(time.time() + draw.uniform(0, pause))
        return bool(until) and time.time() > until[0]

    return came


def last_step(run: Path) -> int:
    """The last step that was logged."""
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    whole = [json.loads(line)["step"] for line in lines if line.endswith("}")]
    return max(whole, default=0)


def same(run: Path, straight: Path) -> dict[str, bool]:
    """Whether the weights and the lines of two runs are the same."""
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (run, straight))
    lines = [(folder / "metrics.jsonl").read_text().splitlines()[1:] for folder in (run, straight)]
    return {
        "weights": one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one),
        "lines": lines[0] == lines[1],
    }


def main(config: Config, straight: Path, kills: int, seed: int) -> None:
    """Kill so often, each run as often as it takes until it ends by itself."""
    draw, run = random.Random(seed), Path(config.run)
    begun = time.monotonic()
    assert ended(child(config.model_copy(update={"run": str(straight)})), never)
    pause = (time.monotonic() - begun) / LAST
    killed = 0
    while killed < kills:
        shutil.rmtree(run, ignore_errors=True)
        for left in reversed(range(EACH + 1)):
            moment = random_moment(run, draw, pause) if left and killed < kills else never
            process = child(config)
            if ended(process, moment):
                break
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            killed += 1
            found, refused = newest_complete(run)
            assert found is None or fault(found.folder) is None
            told = {
                "killed": killed,
                "logged": last_step(run),
                "kept": found.step if found else None,
                "refused": [f"{one.folder.name}: {one.reason}" for one in refused],
            }
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
        sys.stdout.write(json.dumps({"ended": last_step(run), **same(run, straight)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    given, folder, count, start = sys.argv[1:]
    main(Config.model_validate_json(Path(given).read_text()), Path(folder), int(count), int(start))
