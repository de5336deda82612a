"""Options of the commands that run a model, and what is made of them."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.engine import Progress
from inspector.errors import BadOption
from inspector.model.methods import METHODS
from inspector.model.prompts import Prompt, read_prompts
from inspector.results import Records, show_plain
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.problems import Log

if TYPE_CHECKING:
    from inspector.model.batch import Asking
    from inspector.model.load import Model

GIGABYTE = 1 << 30

Text = Annotated[str | None, typer.Option(help="One text.")]
OneText = Annotated[str, typer.Option(help="The text.")]
Texts = Annotated[
    Path | None,
    typer.Option(
        help="A file of texts: one in each line; or .jsonl, .csv or .tsv with a column text."
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        help="A file of prompts, asked one by one: a text in each line; or .jsonl with objects, "
        ".csv or .tsv with a header, of text and, where wanted, target and versus. With "
        "-o FILE.jsonl each answer is a line there as soon as it is made, and the same call "
        "again goes on where it stopped."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Override = Annotated[
    bool, typer.Option("--override", help="Run a model that failed a check; results say so.")
]
Target = Annotated[str, typer.Option(help="The answer that is explained.")]
AnyTarget = Annotated[
    str | None, typer.Option(help="The answer asked about; none: what the model finds likeliest.")
]
Versus = Annotated[str | None, typer.Option(help="Another answer: how much likelier is the first?")]
Method = Annotated[
    str,
    typer.Option(help=f"One of {', '.join(METHODS)}."),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(help="A method of `attribute`; may be given several times. None: all."),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        help="What stands in the place of words: mask, pad, eos, unk, or a text of one token or of "
        "as many as the prompt has. None: the first of these that the tokenizer has."
    ),
]
Units = Annotated[
    str,
    typer.Option(help='What is scored: tokens, words, or phrases of the text as "one, another".'),
]
Samples = Annotated[
    int | None,
    typer.Option(help="Steps or samples of the method to begin with; none: its own.", min=1),
]
Orders = Annotated[
    int, typer.Option(help="Random orders to compare with; 0: none, and no verdict.", min=0)
]
Seed = Annotated[int, typer.Option(help="Of what is drawn at random.", min=0)]
MaxTokens = Annotated[
    int | None, typer.Option(help="Cut texts to so many tokens; none: to the model's context.")
]
MaxBytes = Annotated[
    int, typer.Option(help="Refuse, before running, what needs more memory for attention.", min=1)
]


def load_model(checkpoint: Checkpoint, device: str, dtype: str, override: bool) -> "Model":
    """The model, loaded and checked."""
    from inspector.model.load import load

    return load(checkpoint, dtype, device, override)


def with_findings(made: Records[Any], log: Log) -> Records[Any]:
    """The records with what is to be said of the prompts."""
    return dataclasses.replace(made, findings=(*made.findings, *log.findings))


def prompts_of(
    text: str | None, file: Path | None, target: str | None, versus: str | None
) -> tuple[Prompt, ...]:
    """The prompts that were asked for, target and versus being those of rows that have none."""
    if (text is None) == (file is None):
        raise BadOption("Give either --text or --prompts.")
    if file is None:
        return (Prompt(number=1, text=text or "", target=target, versus=versus),)
    return tuple(
        dataclasses.replace(
            prompt,
            target=target if prompt.target is None else prompt.target,
            versus=versus if prompt.versus is None else prompt.versus,
        )
        for prompt in read_prompts(file)
    )


def one_or_all(
    model: "Model",
    prompts: Sequence[Prompt],
    asking: "Asking",
    file: Path | None,
    lines: Path | None,
    progress: Progress,
    batch: Callable[..., Records[Any]],
) -> Records[Any]:
    """The answer to one text as it is; to those of a file, or into one, together."""
    if file is None and lines is None:
        return asking.ask(prompts[0], progress)
    return batch(model, prompts, asking, lines, progress)


def texts_of(text: str | None, file: Path | None) -> tuple[list[str], Log]:
    """The texts of one analysis, and what of the file is not in it."""
    prompts = prompts_of(text, file, None, None)
    if file is None:
        return [prompts[0].text], Log()
    log = unused(prompts)
    empty = [prompt.number for prompt in prompts if not prompt.text.strip()]
    if empty:
        shown = ", ".join(map(str, empty[:20])) + (" ..." if len(empty) > 20 else "")
        told = f"{len(empty)} of {len(prompts)} prompts are empty and left out: {shown}"
        log.add("PR-EMPTY", "prompts", told, prompts=empty[:1000])
    return [prompt.text for prompt in prompts if prompt.text.strip()], log


def unused(prompts: Sequence[Prompt]) -> Log:
    """A note where a file has answers that this command does not ask about."""
    log = Log()
    count = sum(prompt.target is not None or prompt.versus is not None for prompt in prompts)
    if count:
        log.add("PR-UNUSED", "prompts", f"the targets of {count} prompts are not used here")
    return log


def check_methods(methods: Sequence[str]) -> None:
    """Raise BadOption for what is no method."""
    for method in methods:
        if method not in METHODS:
            known = ", ".join(METHODS)
            raise BadOption(f"--method {show_plain(method)}: is not known (known: {known}).")


def units_of(units: str) -> str | list[str]:
    """Units as the library takes them: tokens, words, or a list of phrases."""
    if units in ("tokens", "words"):
        return units
    phrases = [phrase.strip() for phrase in units.split(",") if phrase.strip()]
    if not phrases:
        raise BadOption("--units: give tokens, words, or phrases of the text with commas between.")
    return phrases


def head_of(named: str) -> tuple[int, int]:
    """Layer and head of LAYER.HEAD."""
    layer, _, head = named.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in (layer, head)):
        raise BadOption(f"--head {show_plain(named)}: give LAYER.HEAD, such as 0.1.")
    return int(layer), int(head)
