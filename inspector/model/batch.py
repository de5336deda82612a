"""The same question about many prompts, one after the other; a run that was killed goes on."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, InspectorError, UnsupportedModel
from inspector.model import methods, receipt
from inspector.model.asking import source, whole
from inspector.model.lines import Lines
from inspector.model.load import Model
from inspector.model.prompts import Prompt
from inspector.results import Finding, Records
from inspector.weights.checkpoint import versions
from inspector.weights.problems import Log

MOST_PROMPTS = 10_000  # whose records one document holds
NOT_ASKED = "could not be asked"

Ask = Callable[[Prompt, Progress], Records[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked of each prompt: the command, its record, its options and what does it.

    `outcome` puts the summary of one prompt in a few words, which are counted.
    """

    command: str
    record_type: type
    options: dict[str, Any]
    ask: Ask
    outcome: Callable[[dict[str, Any]], str]


def batch(
    model: Model,
    prompts: Sequence[Prompt],
    asking: Asking,
    lines: Path | None = None,
    progress: Progress = no_progress,
) -> Records[Any]:
    """Ask every prompt; each record has its prompt's number, the summary what was found for each.

    With `lines` each answer is added to that file when it is there, as one document in a line;
    what the file holds already is not asked again, provided that it answers the same questions of
    the same model by the same code. A prompt that cannot be asked is a finding. Raises BadOption
    for a file of something else and where no prompt can be asked. Progress counts prompts.
    """
    check_count(prompts)
    documents: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    with ExitStack() as stack:
        file = None
        if lines is not None:
            file = stack.enter_context(Lines(lines, asking.command))
            alike = asking.options | _identity(model)
            questions = [_asked_of(prompt) | alike for prompt in prompts]
            documents = file.known(questions)
        answered = any(document["records"] for document in documents)
        for done in range(len(documents), len(prompts)):
            prompt = prompts[done]

            def note(part: int, total: int, label: str, at: int = done) -> None:
                told = f"prompt {prompts[at].number}: {part} of {total} {label}"
                progress(at, len(prompts), told.rstrip())

            progress(done, len(prompts), f"prompt {prompt.number}")
            found = _numbered(_answer(model, prompt, asking, note, answered), prompt)
            answered = answered or bool(found.records)
            document = json.loads(found.to_json(indent=None))
            if file is not None:
                document["summary"]["batch"] = questions[done]
                file.add([document])
            documents.append(document)
    progress(len(prompts), len(prompts), "")
    return _together(model, prompts, asking, documents)


def check_count(prompts: Sequence[Prompt]) -> None:
    """Raise BadOption for more prompts than one document holds."""
    if len(prompts) > MOST_PROMPTS:
        raise BadOption(
            f"{len(prompts):,} prompts: at most {MOST_PROMPTS:,} are asked one by one in a run. "
            "Split the file."
        )


def _answer(
    model: Model, prompt: Prompt, asking: Asking, note: Progress, answered: bool
) -> Records[Any]:
    """The answer, or a document without records that says why there is none."""
    try:
        return asking.ask(prompt, note)
    except InspectorError as error:
        if isinstance(error, UnsupportedModel) and not answered:
            raise  # the reason is the model, not the prompt
        log = Log()
        log.add("PR-FAILED", "text", str(error))
        return Records(
            command=asking.command,
            record_type=asking.record_type,
            source=source(model),
            coverage=whole(model),
            summary={"failed": str(error)},
            records=(),
            findings=(*model.findings, *log.findings),
        )


def _numbered(found: Records[Any], prompt: Prompt) -> Records[Any]:
    records = tuple(dataclasses.replace(one, prompt=prompt.number) for one in found.records)
    return dataclasses.replace(found, records=records)


def _asked_of(prompt: Prompt) -> dict[str, Any]:
    asked = dataclasses.asdict(prompt)
    return {"prompt": asked.pop("number"), **asked}


def _identity(model: Model) -> dict[str, Any]:
    """All that answers hang on beside prompts and options."""
    return {
        "dtype": receipt.dtype(model),
        "device": model.device.type,
        "versions": {**versions(), **methods.versions()},
        "model": digest(model),
    }


def digest(model: Model) -> str:
    """A name for what a model computes: sha256 of its parameters, config and tokenizer."""
    found = hashlib.sha256()
    for text in (model.network.config.to_json_string(), _tokenizer(model)):
        found.update(text.encode())
    for name, values in model.network.state_dict().items():
        found.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        flat = values.detach().cpu().contiguous().flatten()
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def _tokenizer(model: Model) -> str:
    """How text becomes ids; padding and truncation hang on the last call and are left out."""
    tokenizer: Any = model.tokenizer
    if not tokenizer.is_fast:
        return json.dumps(tokenizer.get_vocab(), sort_keys=True)
    made = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps(made | {"padding": None, "truncation": None}, sort_keys=True)


def _together(
    model: Model, prompts: Sequence[Prompt], asking: Asking, documents: Sequence[dict[str, Any]]
) -> Records[Any]:
    """One document of all answers; raises where there is none among them."""
    failed = [d["summary"]["failed"] for d in documents if "failed" in d["summary"]]
    if len(failed) == len(prompts):
        told = f"None of {len(prompts)} prompts could be asked. " if len(prompts) > 1 else ""
        raise BadOption(f"{told}{failed[0]}")
    summaries = [
        _summary(prompt, asking, document["summary"])
        for prompt, document in zip(prompts, documents, strict=True)
    ]
    counts = Counter(one["verdict"] for one in summaries)
    told = ", ".join(f"{verdict} ({count})" for verdict, count in counts.most_common())
    return Records(
        command=asking.command,
        record_type=asking.record_type,
        source=source(model, asking.options.get("seed")),
        coverage=whole(model),
        summary={
            "verdict": f"Of {len(prompts)} prompt{'s' if len(prompts) > 1 else ''}: {told}.",
            "verdicts": dict(counts),
            "failed": len(failed),
            "options": asking.options,
            "prompts": summaries,
        },
        records=tuple(_record(asking.record_type, r) for d in documents for r in d["records"]),
        findings=(*model.findings, *_findings(model, prompts, documents)),
    )


def _summary(prompt: Prompt, asking: Asking, found: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in found.items() if key != "batch"}
    verdict = NOT_ASKED if "failed" in found else asking.outcome(found)
    return _asked_of(prompt) | kept | {"verdict": verdict}


def _record(record_type: type, plain: dict[str, Any]) -> Any:
    return record_type(**{k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()})


def _findings(
    model: Model, prompts: Sequence[Prompt], documents: Sequence[dict[str, Any]]
) -> list[Finding]:
    """Those on the model once, all others with the number of the prompt."""
    of_model = {(finding.id, finding.statement) for finding in model.findings}
    return [
        Finding(**{**plain, "where": f"prompt {prompt.number}: {plain['where']}"})
        for prompt, document in zip(prompts, documents, strict=True)
        for plain in document["findings"]
        if (plain["id"], plain["statement"]) not in of_model
    ]
