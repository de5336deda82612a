"""In which layer, and at which word, the answer is made: conductance of every block."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float
from torch import nn
from transformers.pytorch_utils import Conv1D

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption
from inspector.model import receipt
from inspector.model.asking import source, whole
from inspector.model.attribution import conductance
from inspector.model.coalitions import MEMORY, Coalitions, asked_of
from inspector.model.load import Model
from inspector.model.places import Block
from inspector.model.records import LayerScore, NeuronScore
from inspector.model.targets import Scorer
from inspector.results import Records
from inspector.weights.problems import Log

STEPS = 100
MOST_STEPS = 800
TOLERANCE = 0.02  # Captum takes differences of activations from step to step, which is coarser
ANSWER = -1  # the position that stands for the words of the answer itself
PARTS = ("block", "attention", "mlp")


def layers(
    model: Model,
    text: str,
    target: str,
    versus: str | None = None,
    baseline: str | None = None,
    units: str | Sequence[str] = "tokens",
    parts: Sequence[str] = ("block",),
    samples: int = STEPS,
    most_steps: int = MOST_STEPS,
    tolerance: float = TOLERANCE,
    memory: int = MEMORY,
    progress: Progress = no_progress,
) -> Records[LayerScore]:
    """Layer conductance (Dhamdhere 2018) of each block, and of its attention and MLP if asked.

    Of an encoder-decoder the encoder's blocks, which read the text. Steps double as in `attribute`
    until every block's scores sum to F(x) - F(x') within `tolerance`. Raises BadOption.
    """
    if not parts or not set(parts) <= set(PARTS) or samples < 1:
        raise BadOption(f"Parts are {', '.join(PARTS)}, at least one; steps at least 1.")
    log = Log()
    rows = asked_of(model, text, target, versus, units, baseline, memory, log)
    whole, none = rows.plain, rows.one(False)
    blocks = [block for block in model.blocks if block.stack in ("", "encoder")]
    records: list[LayerScore] = []
    gaps: dict[int, float] = {}
    for done, block in enumerate(blocks, 1):
        for part in parts:
            steps = samples
            while True:
                scores = _of_module(rows, block, part, steps)
                gap = abs(float(scores.sum()) - (whole - none))
                met = gap <= receipt.allowed(whole - none, tolerance)
                if part != "block" or met or 2 * steps > most_steps:
                    break
                steps *= 2
            if part == "block":
                gaps[block.layer] = gap
            records += _records(rows, block, part, scores)
        progress(done, len(blocks), f"layer {block.layer}")
    worst = max(gaps.values(), default=0.0)
    if worst > receipt.allowed(whole - none, tolerance):
        log.add("AT-GAP", "layers", f"the scores of a layer miss their sum by {worst:.2g} nats")
    gaps_by_layer = {str(layer): gap for layer, gap in gaps.items()}
    return _made(rows, log, "layers", LayerScore, records, {"completeness_gaps": gaps_by_layer})


def answer_neurons(
    model: Model,
    text: str,
    target: str,
    versus: str | None = None,
    baseline: str | None = None,
    samples: int = STEPS,
    top: int = 20,
    memory: int = MEMORY,
    progress: Progress = no_progress,
) -> Records[NeuronScore]:
    """The neurons of the MLPs through which most of F(x) - F(x') passes, over all tokens.

    Conductance of the input of each MLP's last projection, by size, the `top` of all layers; the
    summary has what passes through each layer's neurons. Layers whose MLP has no one such
    projection (experts) are findings.
    """
    log = Log()
    rows = asked_of(model, text, target, versus, "tokens", baseline, memory, log)
    rows.one(False)  # what is run is checked
    found: list[NeuronScore] = []
    sums: dict[str, float] = {}
    blocks = [block for block in model.blocks if block.stack in ("", "encoder")]
    for done, block in enumerate(blocks, 1):
        last = _last_projection(block.mlp)
        if last is None:
            log.add("AT-NEURONS", f"layer {block.layer}", "its MLP has no one last projection")
            continue
        each = sum(
            sign * conductance(alone, last, samples, of_input=True).sum(0)
            for sign, alone in _each_answer(rows)
        )
        sums[str(block.layer)] = float(np.sum(each))
        for neuron in np.argsort(-np.abs(each), kind="stable")[:top]:
            found.append(
                NeuronScore(
                    stack=block.stack,
                    layer=block.layer,
                    neuron=int(neuron),
                    score=float(np.asarray(each)[neuron]),
                )
            )
        progress(done, len(blocks), f"layer {block.layer}")
    found.sort(key=lambda record: -abs(record.score))
    summary = {"steps": samples, "sums": sums}
    return _made(rows, log, "answer-neurons", NeuronScore, found[:top], summary)


R = TypeVar("R")


def _made(
    rows: Coalitions,
    log: Log,
    command: str,
    record_type: type[R],
    records: Sequence[R],
    more: Mapping[str, Any],
) -> Records[R]:
    """Records with the question and what it cost."""
    model = rows.scorer.model
    return Records(
        command=command,
        record_type=record_type,
        source=source(model, 0),
        coverage=whole(model),
        summary={
            **receipt.asked(rows),
            "f_input": rows.plain,
            "f_baseline": rows.one(False),
            "baseline": receipt.shown_baseline(rows.prompt),
            **more,
            "forwards": rows.scorer.forwards,
            "tokens": rows.scorer.tokens,
        },
        records=tuple(records),
        findings=(*model.findings, *log.findings),
    )


def _last_projection(mlp: nn.Module) -> nn.Module | None:
    """The last linear map of an MLP, whose inputs are its neurons; None where there are experts."""
    found = [m for m in mlp.modules() if isinstance(m, nn.Linear | Conv1D)]
    return found[-1] if found and not hasattr(mlp, "experts") else None


def _end(block: Block) -> nn.Module:
    """The module whose output is the stream behind the block."""
    if not block.stack:
        return block.module
    # a block of T5 gives more than its states; its last part, which adds to the stream, does not
    return next(module for module in block.module.modules() if block.mlp in module.children())


def _of_module(
    rows: Coalitions, block: Block, part: str, steps: int
) -> Float[np.ndarray, " units_and_answer"]:
    """Scores of the units and, last, of the answer's own words; each answer alone, then less."""
    adds = _last_projection(block.mlp) or block.mlp
    module = {"block": _end(block), "attention": block.output, "mlp": adds}[part]
    found = np.zeros(rows.units + 1)
    for sign, alone in _each_answer(rows):
        found += sign * _by_unit(rows, conductance(alone, module, steps).sum(1))
    return found


def _each_answer(rows: Coalitions) -> Iterator[tuple[int, Coalitions]]:
    """The question of each answer alone, and its sign; what is run is counted with the whole."""
    for sign, answer in zip((1, -1), rows.scorer.question.answers, strict=False):
        question = dataclasses.replace(rows.scorer.question, answers=(answer,))
        alone = rows.asking(Scorer(rows.scorer.model, question))
        yield sign, alone
        rows.scorer.forwards += alone.scorer.forwards
        rows.scorer.tokens += alone.scorer.tokens


def _by_unit(
    rows: Coalitions, each: Float[np.ndarray, " tail"]
) -> Float[np.ndarray, " units_and_answer"]:
    """Tokens to units; special tokens, whose state changes with their neighbours', to the last."""
    whole = np.concatenate([np.zeros(rows.first), each])
    found = np.array([whole[list(unit.positions)].sum() for unit in rows.prompt.units])
    return np.array([*found, whole.sum() - found.sum()])


def _records(
    rows: Coalitions, block: Block, part: str, scores: Float[np.ndarray, " units_and_answer"]
) -> list[LayerScore]:
    named = [(u.positions[0], u.token, u.text) for u in rows.prompt.units]
    return [
        LayerScore(
            stack=block.stack,
            layer=block.layer,
            part=part,
            position=position,
            token=token,
            text=text,
            score=float(score),
        )
        for (position, token, text), score in zip([*named, (ANSWER, "", "")], scores, strict=True)
    ]
