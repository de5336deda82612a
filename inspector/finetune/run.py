"""A run from its configuration to its result, all of it in one folder."""

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import TrainerCallback

from inspector.engine import Progress, no_progress
from inspector.finetune.checkpoints import (
    Interrupted,
    Kept,
    last_of,
    newest_complete,
    told,
)
from inspector.finetune.config import Config
from inspector.finetune.counterfactuals import Doubled
from inspector.finetune.data import SPLITS, Splits, read_splits
from inspector.finetune.diagnostics import HEALTH, Health
from inspector.finetune.ending import ended
from inspector.finetune.evaluate import Asked, constant_answer, measured
from inspector.finetune.features import Encoded, Lengths, encode
from inspector.finetune.frozen import about, findings_of
from inspector.finetune.health_verdicts import judged, lines_of
from inspector.finetune.initialise import initialise, refuse_resting
from inspector.finetune.models import Pretrained, pretrained
from inspector.finetune.moving import let_move
from inspector.finetune.objectives import terms_of
from inspector.finetune.records import Metric
from inspector.finetune.runs import (
    METRICS,
    about_resuming,
    check_same,
    claim,
    identity,
    kept_lines,
    saved_identity,
)
from inspector.finetune.strategies import Plan, plan_of
from inspector.finetune.tensors import Tensor, tensors_of
from inspector.finetune.train import Finetuner
from inspector.finetune.weighting import rows_to_learn
from inspector.model.load import checkpoint_folder
from inspector.results import NOTHING_READ, Finding, Records


class Lines(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Every number that is logged, as a line of metrics.jsonl, and progress in steps."""

    def __init__(self, trainer: Finetuner, start: Kept | None, progress: Progress) -> None:
        self.file, self.about = trainer.run / METRICS, trainer.about
        self.start, self.progress = start, progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin with what makes the run this run, or go on behind the checkpoint's last line."""
        if not state.is_world_process_zero:
            return
        for file in self.file.parent.glob("*.jsonl"):
            kept_lines(file, 0 if self.start is None else self.start.step)
        if self.start is None:
            self.file.write_text(json.dumps({"step": 0, "epoch": 0.0, "run": self.about}) + "\n")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write what was logged of a step; the Trainer's summary of its own call is left out."""
        if not state.is_world_process_zero or logs is None or "train_runtime" in logs:
            return
        line = {"step": state.global_step, "epoch": state.epoch, **logs}
        with told(self.file, last_of(self.file.parent)), self.file.open("a") as out:
            out.write(json.dumps(line) + "\n")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say how far it is."""
        self.progress(state.global_step, state.max_steps, "steps")


class EpochTick(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Tells the rows which epoch it is: accelerate forgets to when a run goes on within one."""

    def __init__(self, rows: Encoded) -> None:
        self.rows = rows

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Masks of this epoch from here on."""
        self.rows.epoch.fill_(int(state.epoch + 1e-9))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ready:
    """All that a run needs before its first step; tensors that do not move are frozen."""

    config: Config
    splits: Splits
    model: Pretrained
    tensors: tuple[Tensor, ...]
    plan: Plan
    rows: dict[str, Encoded]
    lengths: dict[str, Lengths]
    counterfactuals: Doubled | None


def prepare(config: Config) -> Ready:
    """Read the rows, load the model, choose what moves; raises as `finetune` does."""
    terms_of(config)  # what cannot be asked for is refused before anything is read
    splits = read_splits(config)
    train, counterfactuals = rows_to_learn(splits.train, config)
    splits = dataclasses.replace(splits, train=train)
    model = pretrained(config, splits.labels)
    rows, lengths = {}, {}
    for split in SPLITS:
        if examples := splits.of(split):
            kept, _, lengths[split] = encode(model.tokenizer, examples, config, splits.labels)
            rows[split] = Encoded(kept, config, model.tokenizer)
    renewed = initialise(model, config)
    plan = plan_of(model, config)
    refuse_resting(renewed, plan)
    let_move(model.network, plan)
    return Ready(
        config=config,
        splits=splits,
        model=model,
        tensors=tuple(tensors_of(model)),
        plan=plan,
        rows=rows,
        lengths=lengths,
        counterfactuals=counterfactuals,
    )


def trainer_of(ready: Ready) -> Finetuner:
    """The trainer of a run, with all that can be drawn set by the seed."""
    transformers.set_seed(ready.config.seed)
    trainer = Finetuner(ready.config, ready.model, ready.plan, ready.rows)
    trainer.about = identity(
        ready.config,
        checkpoint_folder(ready.model.checkpoint),
        ready.splits.files,
        ready.rows,
        trainer.args.world_size,
    )
    trainer.add_callback(EpochTick(ready.rows["train"]))
    trainer.health = Health(
        ready.model,
        ready.tensors,
        [one.text for one in ready.splits.validation[: ready.config.diagnostics.probe_rows]],
        ready.config.diagnostics.every,
        ready.config.optimiser.clip,
        Path(ready.config.run) / HEALTH,
    )
    trainer.add_callback(trainer.health)
    return trainer


def trained(
    trainer: Finetuner, progress: Progress = no_progress, resume: bool = False
) -> tuple[Finding, ...]:
    """Train from the beginning, or go on from the newest checkpoint that is whole.

    Returns what is to be known of where it went on. Raises BadOption where the folder holds
    another run, NotSaved where a checkpoint cannot be written, Interrupted (a KeyboardInterrupt)
    where it is stopped.
    """
    run = trainer.run
    claim(run, resume)
    start, refused = newest_complete(run) if resume else (None, ())
    saved = saved_identity(run, start)
    if saved is not None:
        check_same(saved, trainer.about)
    run.mkdir(parents=True, exist_ok=True)
    trainer.add_callback(Lines(trainer, start, progress))
    try:
        trainer.go(start)
    except KeyboardInterrupt:
        raise Interrupted(f"Training was stopped. {last_of(run)}; go on with --resume.") from None
    if not resume:
        return ()
    return about_resuming(saved, trainer.about, start, (*refused, *trainer.lost))


def finetune(
    config: Config, progress: Progress = no_progress, resume: bool = False
) -> Records[Metric]:
    """Train by a configuration, and measure the model before and after.

    The folder `config.run` holds all that was written; `resume` goes on with the run it holds, as
    if it had never stopped. Raises BadOption for a configuration or data that do not fit,
    UnsupportedModel for a model that does not, Diverged where the loss is not finite, and as
    `trained` does.
    """
    claim(Path(config.run), resume)
    ready = prepare(config)
    model, plan, tensors = ready.model, ready.plan, ready.tensors
    trainer = trainer_of(ready)
    able = not model.new and not config.training.reinitialise
    before = _asked(trainer) if able else {}
    transformers.set_seed(config.seed)
    start = time.monotonic()
    findings = trained(trainer, progress, resume)
    seconds = time.monotonic() - start
    proof = trainer.watch.proof()
    after = _asked(trainer)
    earlier = {(one.split, one.metric): one.value for one in _measured(config, before)}
    found = [
        dataclasses.replace(one, before=earlier.get((one.split, one.metric)))
        for one in _measured(config, after)
    ]
    old, new = before.get("validation"), after["validation"]
    first = trainer.is_world_process_zero()
    end = ended(config, model, trainer.about, old, new, progress) if first else None
    told, fit = judged(
        lines_of(Path(config.run) / HEALTH),
        lines_of(Path(config.run) / METRICS),
        trainer.learning.metric,
        trainer.learning.greater,
        constant_answer(config.task, ready.rows["train"].rows, ready.rows["validation"].rows),
        config.optimiser.clip,
    )
    moved = [one for one in tensors if one.name in plan.factors]
    result = Records(
        command="finetune",
        record_type=Metric,
        source=dataclasses.replace(model.checkpoint.source(), seed=config.seed),
        coverage=NOTHING_READ,
        summary={
            "task": config.task,
            "strategy": config.strategy.name,
            "steps": trainer.state.global_step,
            "seconds": seconds,
            "trained_tensors": len(moved),
            "trained_parameters": sum(one.parameters for one in moved),
            "parameters": sum(one.parameters for one in tensors),
            "counterfactuals": ready.counterfactuals and dataclasses.asdict(ready.counterfactuals),
            "lengths": {split: dataclasses.asdict(one) for split, one in ready.lengths.items()},
            **about(proof, plan, trainer.groups),
            "health": told,
            **(end.summary() if end else {}),
        },
        records=tuple(found),
        findings=(
            *(ready.counterfactuals.findings() if ready.counterfactuals else ()),
            *(*findings, *plan.findings, *findings_of(proof), *fit),
            *(end.findings if end else ()),
        ),
    )
    if first:
        (Path(config.run) / "result.json").write_text(result.to_json() + "\n")
    return result


def _asked(trainer: Finetuner) -> dict[str, Asked]:
    return {split: trainer.ask(rows) for split, rows in trainer.rows.items() if split != "train"}


def _measured(config: Config, asked: Mapping[str, Asked]) -> list[Metric]:
    return [
        one
        for split, answers in asked.items()
        for one in measured(config.task, split, answers, config.seed)
    ]
