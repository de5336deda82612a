"""A run from its configuration to its result, all of it in one folder."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import transformers
from transformers import TrainerCallback

from inspector.engine import Progress, no_progress
from inspector.finetune.config import Config
from inspector.finetune.data import SPLITS, Splits, read_splits
from inspector.finetune.evaluate import measured
from inspector.finetune.features import Encoded, Lengths, encode
from inspector.finetune.frozen import about, findings_of
from inspector.finetune.initialise import initialise, refuse_resting
from inspector.finetune.models import Pretrained, pretrained
from inspector.finetune.moving import let_move
from inspector.finetune.records import Metric
from inspector.finetune.strategies import Plan, plan_of
from inspector.finetune.tensors import Tensor, tensors_of
from inspector.finetune.train import Finetuner
from inspector.results import NOTHING_READ, Records


class Lines(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Every number that is logged, as a line of metrics.jsonl, and progress in steps."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.file, self.progress = folder / "metrics.jsonl", progress
        self.file.write_text("")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Write what was logged."""
        line = {"step": state.global_step, "epoch": state.epoch, **(logs or {})}
        with self.file.open("a") as out:
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


def prepare(config: Config) -> Ready:
    """Read the rows, load the model, choose what moves; raises as `finetune` does."""
    splits = read_splits(config)
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
    )


def finetune(config: Config, progress: Progress = no_progress) -> Records[Metric]:
    """Train by a configuration, and measure the model before and after.

    The folder `config.run` holds all that was written. Raises BadOption for a configuration or
    data that do not fit, UnsupportedModel for a model that does not, Diverged where the loss is
    not finite.
    """
    ready = prepare(config)
    model, plan, tensors, rows = ready.model, ready.plan, ready.tensors, ready.rows
    folder = Path(config.run)
    folder.mkdir(parents=True, exist_ok=True)
    transformers.set_seed(config.seed)
    trainer = Finetuner(config, model, plan, rows)
    trainer.add_callback(EpochTick(rows["train"]))
    trainer.add_callback(Lines(folder, progress))
    start = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - start
    proof = trainer.watch.proof()
    asked = {split: trainer.ask(rows[split]) for split in rows if split != "train"}
    found = [
        one
        for split, answers in asked.items()
        for one in measured(config.task, split, answers, config.seed)
    ]
    model.network.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    moved = [one for one in tensors if one.name in plan.factors]
    return Records(
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
            "lengths": {split: dataclasses.asdict(one) for split, one in ready.lengths.items()},
            **about(proof, plan, trainer.groups),
        },
        records=tuple(found),
        findings=(*plan.findings, *findings_of(proof)),
    )
