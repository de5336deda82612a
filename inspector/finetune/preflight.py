"""What a run would do, before it costs anything: `inspector plan`."""

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch

from inspector.engine import Progress, no_progress
from inspector.finetune.audit import Named, Repeats, balance, named_groups, repeats
from inspector.finetune.config import Config
from inspector.finetune.features import Lengths
from inspector.finetune.records import Planned
from inspector.finetune.run import Ready, prepare
from inspector.finetune.strategies import Plan
from inspector.finetune.tensors import Tensor
from inspector.finetune.train import Finetuner
from inspector.results import NOTHING_READ, Records, show_plain
from inspector.weights.problems import Log

TIMED: Final = 3  # updates that are timed, behind one that warms up
TOLERANCE: Final = 1e-4  # of gradients in parts against gradients in one pass
RARE: Final = 5  # rows of a label
SKEWED: Final = 0.9  # share of the commonest label


def plan(config: Config, progress: Progress = no_progress) -> Records[Planned]:
    """What a configuration would train, on which rows, for how long; nothing is trained or kept.

    One record for each tensor. The summary holds lengths, labels, groups that rows name, repeats
    between splits, gradients in parts against one pass, and seconds measured on some updates.
    Raises as `finetune` does, before it costs anything.
    """
    with tempfile.TemporaryDirectory() as folder:  # the Trainer makes the folder of its run
        return _plan(config.model_copy(update={"run": folder}), progress)


def _plan(config: Config, progress: Progress) -> Records[Planned]:
    ready = prepare(config)
    log = Log()
    _lengths(log, ready.lengths)
    labels = balance(ready.splits.train)
    _labels(log, config, labels, len(ready.splits.train))
    named = named_groups(ready.splits.train, config.seed)
    _named(log, named)
    repeated = repeats(ready.splits)
    _repeats(log, repeated)
    for count in ready.splits.excluded:
        log.add("FT-EXCLUDED", f"{count.file}", f"{count}")
    progress(0, 2, "steps")
    apart = accumulated(ready)
    if apart is not None and apart > TOLERANCE:
        told = f"gradients of {config.training.accumulate} passes differ by {apart:.2g} from one"
        log.add("FT-ACCUMULATION", "training.accumulate", told, relative=apart)
    progress(1, 2, "steps")
    update = seconds_of_update(ready)
    progress(2, 2, "steps")
    steps = steps_of(config, len(ready.rows["train"]))
    return Records(
        command="plan",
        record_type=Planned,
        source=dataclasses.replace(ready.model.checkpoint.source(), seed=config.seed),
        coverage=NOTHING_READ,
        summary={
            "task": config.task,
            "strategy": config.strategy.name,
            "steps": steps,
            "seconds_of_update": update,
            "seconds": steps * update,
            "moving_parameters": sum(t.parameters for t in ready.tensors if _moves(t, ready.plan)),
            "parameters": sum(t.parameters for t in ready.tensors),
            "unused_tensors": list(ready.model.unused),
            "lengths": {split: dataclasses.asdict(one) for split, one in ready.lengths.items()},
            "labels": labels,
            "always_commonest": max(labels.values()) / len(ready.splits.train) if labels else None,
            "groups": [dataclasses.asdict(one) for one in named],
            "repeats": dataclasses.asdict(repeated),
            "accumulation_error": apart,
        },
        records=tuple(_planned(one, ready.plan, config) for one in ready.tensors),
        findings=log.findings,
    )


def _moves(tensor: Tensor, chosen: Plan) -> bool:
    return tensor.name in chosen.factors


def _planned(tensor: Tensor, chosen: Plan, config: Config) -> Planned:
    moves = _moves(tensor, chosen)
    return Planned(
        name=tensor.name,
        parameters=tensor.parameters,
        moves=moves,
        rate=config.optimiser.learning_rate * chosen.factors[tensor.name] if moves else None,
        begins=chosen.begins.get(tensor.name, 0) if moves else None,
        new=tensor.new,
        ties=", ".join(tensor.ties) or None,
    )


def steps_of(config: Config, rows: int) -> int:
    """Updates of a run over so many rows."""
    training = config.training
    batches = -(-rows // training.batch)
    of_epoch = -(-batches // training.accumulate)
    steps = int(-(-training.epochs * of_epoch // 1))
    return steps if training.max_steps is None else training.max_steps


def _lengths(log: Log, lengths: Mapping[str, Lengths]) -> None:
    for split, one in lengths.items():
        if one.over:
            told = (
                f"{one.over:,} of {one.rows:,} rows are too long: {one.lost:,} of "
                f"{one.tokens:,} tokens are lost, {one.dropped:,} rows are left out"
            )
            log.add("FT-LENGTH", split, told, rows=one.over, tokens=one.lost)
        if one.without_labels:
            told = f"{one.without_labels:,} rows have no label left: nothing is learned of them"
            log.add("FT-NOLABELS", split, told, rows=one.without_labels)


def _labels(log: Log, config: Config, labels: Mapping[str, int], rows: int) -> None:
    for label, count in labels.items():
        if count < RARE:
            log.add("FT-RARE", "train", f"label {show_plain(label)} has {count} rows", rows=count)
    if labels and config.task == "sequence-classification":
        label, most = max(labels.items(), key=lambda item: item[1])
        if most > SKEWED * rows:
            told = f"{most:,} of {rows:,} rows have the label {show_plain(label)}"
            log.add("FT-SKEWED", "train", told, share=most / rows)


def _named(log: Log, named: Sequence[Named]) -> None:
    attributes = {one.attribute for one in named if one.rows}
    for one in named:
        if one.attribute in attributes and not one.rows and one.attribute in ("gender", "age"):
            told = f"no training row names {one.group}, others of {one.attribute} are named"
            log.add("FT-GROUP-ABSENT", one.group, told)
        if one.p_adjusted is not None and one.p_adjusted < 0.05:
            told = (
                f"labels hang on whether a row names {one.group}: {one.share_in_label:.0%} of "
                f"{one.rows} such rows are {show_plain(str(one.label))}, {one.share_elsewhere:.1%} "
                f"of the others (distance {one.distance:.2f}, by chance {one.distance_null:.2f}; "
                f"p {one.p_adjusted:.3f})"
            )
            log.add("FT-GROUP-LABEL", one.group, told, rows=one.rows, p=one.p_adjusted)


def _repeats(log: Log, found: Repeats) -> None:
    for split, count in found.across.items():
        if count:
            told = f"{count:,} rows are also, or belong to, training rows"
            log.add("FT-LEAK", split, told, rows=count)
    if found.conflicts:
        told = f"{found.conflicts:,} texts stand there with more than one answer"
        log.add("FT-CONFLICT", "train", told, texts=found.conflicts)


def accumulated(ready: Ready) -> float | None:
    """Relative error of gradients in parts against one pass over the same rows; ideal 0.

    In evaluation mode, since dropout would differ. None where an update is one pass.
    """
    training = ready.config.training
    if training.accumulate == 1:
        return None
    trainer = _trainer(ready)
    rows = ready.rows["train"]
    chosen = [rows[i] for i in range(min(len(rows), training.batch * training.accumulate))]
    parts = [chosen[i : i + training.batch] for i in range(0, len(chosen), training.batch)]
    whole, in_parts = (_gradients(trainer, one) for one in ([chosen], parts))
    off = sum(float((whole[name] - in_parts[name]).square().sum()) for name in whole)
    size = sum(float(one.square().sum()) for one in whole.values())
    return (off / size) ** 0.5 if size else 0.0


def _gradients(trainer: Finetuner, parts: Sequence[Any]) -> dict[str, torch.Tensor]:
    network: Any = trainer.model
    network.train(False)
    collate: Any = trainer.data_collator
    batches = [collate(part) for part in parts]
    count = sum((trainer.sizes(one) for one in batches), torch.zeros(1 + len(trainer.terms)))
    network.zero_grad()
    for batch in batches:
        inputs = trainer._prepare_inputs(batch)
        loss = trainer.compute_loss(network, inputs, num_items_in_batch=count)
        torch.autograd.backward(loss)
    found = {
        name: parameter.grad.clone()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    network.zero_grad()
    return found


def seconds_of_update(ready: Ready) -> float:
    """Median seconds of forward and backward passes over rows of one update."""
    trainer = _trainer(ready)
    network: Any = trainer.model
    training = ready.config.training
    rows = ready.rows["train"]
    size = training.batch
    collate: Any = trainer.data_collator
    taken = []
    for update in range(TIMED + 1):
        start = time.monotonic()
        for part in range(training.accumulate):
            first = (update * training.accumulate + part) * size
            batch = collate([rows[i % len(rows)] for i in range(first, first + size)])
            network.train(True)
            loss = trainer.compute_loss(network, trainer._prepare_inputs(batch))
            torch.autograd.backward(loss)
        taken.append(time.monotonic() - start)
    network.zero_grad()
    return sorted(taken[1:])[TIMED // 2]


def _trainer(ready: Ready) -> Finetuner:
    return Finetuner(ready.config, ready.model, ready.plan, ready.rows)
