"""Answers of models kept on disk; naming and reading them loads no model and no torch."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import InspectorError
from inspector.model import methods
from inspector.model.records import (
    Ablation,
    Agreement,
    HeadAttention,
    HeadEffect,
    LayerActivations,
    LayerScore,
    LensPoint,
    MapToken,
    TokenScore,
)
from inspector.results import NOTHING_READ, Records
from inspector.weights import cache
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.storage import LocalFolder, Storage
from inspector.weights.stored_judgements import Kept, keep, load_kept

if TYPE_CHECKING:
    from inspector.model.load import Model

BESIDE = (".json", ".txt", ".model", ".jinja")  # ends of files that make a tokenizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """Something a model can be asked: module and name of the function, and its record."""

    module: str
    function: str
    record: type


ANSWERS = {
    "lens": Answer(module="lens", function="lens", record=LensPoint),
    "attention": Answer(module="attention", function="attention", record=HeadAttention),
    "maps": Answer(module="attention_map", function="maps", record=MapToken),
    "ablate": Answer(module="ablation", function="ablate", record=Ablation),
    "heads": Answer(module="heads", function="heads", record=HeadEffect),
    "activations": Answer(module="activations", function="activations", record=LayerActivations),
    "attribute": Answer(module="attribution", function="attribute", record=TokenScore),
    "agreement": Answer(module="agreement", function="agreement", record=Agreement),
    "layers": Answer(module="layers", function="layers", record=LayerScore),
}
PROMPT = ("lens", "attention", "maps", "ablate")  # what is asked about one prompt, in turn


def answer_key(checkpoint: Checkpoint, command: str, **question: Any) -> str:
    """The name under which an answer in ANSWERS is kept; `question` are the function's options."""
    known = {"libraries": methods.versions(), "beside": _beside(checkpoint.storage)}
    return cache.key(checkpoint, command, **known, **question)


def _beside(storage: Storage) -> dict[str, Any]:
    """What tells whether the files that a tokenizer is made of are still the same."""
    if not isinstance(storage, LocalFolder):  # models far away are not run
        return {}
    names = [one for one in storage.names() if one.endswith(BESIDE) and storage.is_file(one)]
    return {name: dataclasses.asdict(storage.stamp(name)) for name in names}


def load_answer(name: str, command: str) -> Kept | None:
    """The answer kept under `name`; None when there is none."""
    return load_kept(name, ANSWERS[command].record)


def stored_answer(
    checkpoint: Checkpoint,
    command: str,
    progress: Progress = no_progress,
    model: "Model | None" = None,
    **question: Any,
) -> Kept:
    """What a function of ANSWERS says, from disk when it was kept there; else asked and kept.

    `model` is the loaded checkpoint where there is one already. Raises what the function raises.
    """
    name = answer_key(checkpoint, command, **question)
    if (kept := load_answer(name, command)) is not None:
        return kept
    from inspector.model.load import load

    one = ANSWERS[command]
    ask = getattr(importlib.import_module(f"inspector.model.{one.module}"), one.function)
    made: Records[Any] = ask(model or load(checkpoint), progress=progress, **question)
    arrays: Mapping[str, np.ndarray] = getattr(made, "arrays", {})
    return keep(name, made, arrays, whole=not checkpoint.changed())


def prompt_questions(
    text: str, target: str | None = None, versus: str | None = None
) -> dict[str, dict[str, Any]]:
    """The options of each answer in PROMPT for one prompt."""
    return {
        "lens": {"text": text},
        "attention": {"texts": [text]},
        "maps": {"text": text},
        "ablate": {"texts": [text], "target": target, "versus": versus},
    }


def stored_prompt(
    checkpoint: Checkpoint,
    text: str,
    target: str | None = None,
    versus: str | None = None,
    progress: Progress = no_progress,
) -> None:
    """Ask all in PROMPT of one prompt, each kept as soon as it is there.

    What cannot be asked of this model is kept as an answer without records, whose summary says why
    under `refused`. Raises what loading the model raises.
    """
    from inspector.model.load import load

    whole = 100 * len(PROMPT)
    progress(0, whole, "reading the weights")
    model = load(checkpoint)
    for turn, (command, question) in enumerate(prompt_questions(text, target, versus).items()):

        def note(done: int, total: int, label: str, turn: int = turn, what: str = command) -> None:
            progress(100 * turn + round(100 * done / max(total, 1)), whole, f"{what}: {label}")

        try:
            stored_answer(checkpoint, command, note, model, **question)
        except InspectorError as error:
            refused = _refused(checkpoint, command, str(error))
            name = answer_key(checkpoint, command, **question)
            keep(name, refused, {}, whole=not checkpoint.changed())
    progress(whole, whole, "")


def _refused(checkpoint: Checkpoint, command: str, reason: str) -> Records[Any]:
    return Records(
        command=command,
        record_type=ANSWERS[command].record,
        source=checkpoint.source(),
        coverage=NOTHING_READ,
        summary={"refused": reason},
        records=(),
    )
