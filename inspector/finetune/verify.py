"""Whether a run that was stopped goes on bit by bit, proven on one's own configuration."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from inspector.engine import Progress, no_progress
from inspector.errors import NotEnoughData
from inspector.finetune.checkpoints import checkpoints_of, discard
from inspector.finetune.config import Config
from inspector.finetune.resuming import Resumable
from inspector.finetune.run import Ready, prepare, trained, trainer_of
from inspector.finetune.state import optimiser_state, random_state, to_plain
from inspector.results import NOTHING_READ, Finding, Records
from inspector.weights.problems import finding

UPDATES: Final = 4  # of an epoch
EPOCHS: Final = 2
NEVER: Final = 10**9  # steps
COMPONENTS: Final = (  # what comes first can break what comes after it, not the other way round
    *("rows", "masks", "weights", "optimiser", "schedule", "scaler", "generators", "progress"),
)
Digests = dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resumed:
    """One component of a run that was stopped after `step`, against the run that was not.

    `differs_at` is the first step before which it is not the same bit for bit (None: never, which
    is ideal), `steps` the number of steps that were compared.
    """

    stop: str
    step: int
    component: str
    same: bool
    differs_at: int | None
    steps: int


class Notes(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Digests of all that a run holds before each step and at its end; saves where it is told."""

    def __init__(self, trainer: Resumable, stops: Mapping[str, int]) -> None:
        self.trainer, self.stops = trainer, {*stops.values()}
        self.before: dict[int, Digests] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note what there is before the next step, the rows it takes included."""
        self.before[state.global_step + 1] = digests(self.trainer)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save where the other runs are to go on."""
        if state.global_step in self.stops:
            control.should_save = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note what there is at the end."""
        self.before[state.global_step + 1] = digests(self.trainer)


def digests(trainer: Resumable) -> Digests:
    """A digest of each component that the future of a run depends on."""
    held = vars(trainer.state)
    progress = {
        key: held[key] for key in ("global_step", "epoch", "best_metric", "best_global_step")
    }
    logged = [one for one in trainer.state.log_history if "train_runtime" not in one]
    callbacks = {
        type(one).__name__: one.state()["attributes"]
        for one in trainer.callback_handler.callbacks
        if isinstance(one, ExportableState)
    }
    tensors, rest = optimiser_state(trainer.optimizer, trainer.names())
    scaler = getattr(trainer.accelerator, "scaler", None)
    return {
        "rows": trainer.seen.rows,
        "masks": trainer.seen.inputs,
        "weights": _digest(trainer.model.state_dict()),
        "optimiser": _digest(tensors, rest),
        "schedule": _digest({}, to_plain(trainer.lr_scheduler.state_dict())),
        "scaler": _digest({}, to_plain(scaler.state_dict()) if scaler else None),
        "generators": _digest({}, random_state()),
        "progress": _digest({}, to_plain({**progress, "callbacks": callbacks, "log": logged})),
    }


def _digest(tensors: Mapping[str, torch.Tensor], rest: Any = None) -> str:
    hashed = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(tensors):
        one = tensors[name].detach().cpu().contiguous()
        hashed.update(f"{name} {one.dtype} {tuple(one.shape)}".encode())
        hashed.update(one.reshape(-1).view(torch.uint8).numpy().tobytes())
    return hashed.hexdigest()


def verify_resume(config: Config, progress: Progress = no_progress) -> Records[Resumed]:
    """Train a few steps of two epochs straight, and again with a stop, and compare each bit.

    The stops are within the first epoch, at its end, and within the second. Of each stop there is
    one record a component; `summary` has the verdict, and a finding names the component that
    breaks first. Raises as `finetune` does, and NotEnoughData where an epoch is a single step.
    """
    run = Path(f"{config.run}.verify-resume")
    shutil.rmtree(run, ignore_errors=True)
    short = shortened(config, run)
    try:
        straight, ready = _noted(short, False, progress)
        found: list[Resumed] = []
        for stop, step in reversed(stops_of(ready).items()):
            for later, folder in checkpoints_of(run):
                if later > step:
                    discard(folder)
            again, _ = _noted(short, True, progress)
            found = [*_compared(stop, step, straight.before, again.before), *found]
    finally:
        shutil.rmtree(run, ignore_errors=True)
    findings = tuple(_broken(found))
    return Records(
        command="verify-resume",
        record_type=Resumed,
        source=dataclasses.replace(ready.model.checkpoint.source(), seed=config.seed),
        coverage=NOTHING_READ,
        summary={
            "verdict": "bit for bit the same" if not findings else "not the same",
            "steps": max(straight.before) - 1,
            "stops": stops_of(ready),
            "rows": len(ready.rows["train"]),
        },
        records=tuple(found),
        findings=findings,
    )


def shortened(config: Config, run: Path) -> Config:
    """The same configuration for a few steps of two epochs, in a folder of its own."""
    training = config.training.model_copy(
        update={
            "epochs": float(EPOCHS),
            "max_steps": None,
            "save_every": float(NEVER),  # only where it is told
            "evaluate_every": 1.0 if config.training.evaluate_every else 0.0,
            "early_stopping": NEVER if config.training.early_stopping else 0,
            "best": False,  # it is the last step that is compared
        }
    )
    quiet = config.diagnostics.model_copy(update={"track": ()})
    new = {"run": str(run), "training": training, "diagnostics": quiet, "gate": None}
    return config.model_copy(update=new)


def stops_of(ready: Ready) -> dict[str, int]:
    """Steps after which the run is stopped; raises NotEnoughData where an epoch is one step."""
    training = ready.config.training
    batches = -(-len(ready.rows["train"]) // (training.batch * _processes()))
    updates = -(-batches // training.accumulate)
    if updates < 2:
        raise NotEnoughData(
            f"An epoch of {len(ready.rows['train'])} rows is a single step: there is no middle to "
            "stop in. Give more rows, or lower training.batch or training.accumulate."
        )
    half = updates // 2
    return {"mid-epoch 1": half, "epoch end": updates, "mid-epoch 2": updates + half}


def _noted(short: Config, resume: bool, progress: Progress) -> tuple[Notes, Ready]:
    """Train by the short configuration and note all on the way."""
    ready = prepare(short)
    training = short.training
    batches = UPDATES * training.accumulate - (training.accumulate > 1)  # the last update is short
    few = batches * training.batch * _processes() - training.batch // 2
    for held in ready.rows.values():
        held.rows = held.rows[:few]
    trainer = trainer_of(ready)
    notes = Notes(trainer, stops_of(ready))
    trainer.add_callback(notes)
    trained(trainer, progress, resume)
    return notes, ready


def _compared(
    stop: str, step: int, straight: Mapping[int, Digests], again: Mapping[int, Digests]
) -> list[Resumed]:
    """One record a component over all steps after a stop."""
    found = []
    for component in COMPONENTS:
        differing = [
            at
            for at in sorted(straight)
            if at > step and straight[at][component] != again[at][component]
        ]
        found.append(
            Resumed(
                stop=stop,
                step=step,
                component=component,
                same=not differing,
                differs_at=differing[0] if differing else None,
                steps=max(straight) - 1 - step,
            )
        )
    return found


def _broken(found: list[Resumed]) -> list[Finding]:
    """One finding a stop after which something differs: what is the first to."""
    told = []
    for stop in dict.fromkeys(one.stop for one in found):
        wrong = [one for one in found if one.stop == stop and one.differs_at is not None]
        if not wrong:
            continue
        first = min(one.differs_at or 0 for one in wrong)
        names = [one.component for one in wrong if one.differs_at == first]
        told.append(
            finding(
                "FT-RESUME",
                stop,
                f"stopped after step {wrong[0].step}, it is not the same from step {first} on: "
                f"{', '.join(names)}",
                step=wrong[0].step,
                differs_at=first,
                components=names,
            )
        )
    return told


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
