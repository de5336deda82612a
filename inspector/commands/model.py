"""Commands that run a model; what it predicts is data, what is in the checkpoint never code."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.commands.base import analysis
from inspector.engine import Progress
from inspector.errors import BadOption
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
    typer.Option(
        help="integrated-gradients, gradient-x-activation, gradient-shap, feature-ablation, "
        "shapley-sampling, kernel-shap or lime."
    ),
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


@analysis("print_answer", counts="batches")
def attention(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Text = None,
    prompts: Texts = None,
    max_tokens: MaxTokens = None,
    max_bytes: MaxBytes = 4 * GIGABYTE,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """What every head attends to, over many texts, beside chance."""
    from inspector.model.attention import attention as measure

    texts, log = _texts(text, prompts)
    opened = _load(model, device, dtype, override)
    made = measure(
        opened, texts, max_bytes=max_bytes, max_tokens=max_tokens, seed=seed, progress=progress
    )
    return _with(made, log)


@analysis("print_answer", counts="heads")
def attention_map(
    model: Checkpoint,
    progress: Progress,
    *,
    text: OneText,
    head: Annotated[
        list[str], typer.Option(help="LAYER.HEAD, both from 0; may be given several times.")
    ],
    stack: Annotated[
        str, typer.Option(help="encoder or decoder, of a model that has both.")
    ] = "",
    without_sink: Annotated[
        bool, typer.Option("--without-sink", help="Without the first token; rows scaled to 1.")
    ] = False,
    max_tokens: MaxTokens = None,
    max_bytes: MaxBytes = 4 * GIGABYTE,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """The map of chosen heads on one text: raw, by values, and rollout."""
    from inspector.model.attention_pairs import attention_pairs

    heads = [_head(one) for one in head]
    opened = _load(model, device, dtype, override)
    progress(0, 1, f"{len(heads)} heads")
    return attention_pairs(
        opened, text, heads, stack, not without_sink, max_bytes=max_bytes, max_tokens=max_tokens
    )


@analysis("print_answer", counts="done")
def attribute(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Text = None,
    prompts: Prompts = None,
    target: Annotated[
        str | None, typer.Option(help="The answer that is explained; the file's own comes first.")
    ] = None,
    versus: Versus = None,
    method: Method = "integrated-gradients",
    baseline: Baseline = None,
    units: Units = "tokens",
    samples: Samples = None,
    orders: Orders = 100,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
    lines: Path | None = None,
) -> Records[Any]:
    """Which words an answer rests on, with a receipt and a verdict."""
    from inspector.model.attribution import METHODS
    from inspector.model.attribution import attribute as measure
    from inspector.model.batch import Asking, batch
    from inspector.model.records import TokenScore

    if method not in METHODS:
        known = ", ".join(METHODS)
        raise BadOption(f"--method {show_plain(method)}: is not known (known: {known}).")
    asked = _prompts(text, prompts, target, versus)
    if all(prompt.target is None for prompt in asked):
        where = f"--target, or a column target in {show_plain(prompts.name)}" if prompts else ""
        raise BadOption(f"There is no answer to explain: give {where or '--target'}.")
    options: dict[str, Any] = {"method": method, "baseline": baseline, "units": _units(units)}
    options |= {"samples": samples, "orders": orders, "seed": seed}
    opened = _load(model, device, dtype, override)

    def ask(prompt: Prompt, progress: Progress) -> Records[Any]:
        if prompt.target is None:
            raise BadOption("There is no answer to explain: this prompt has no target.")
        return measure(
            opened, prompt.text, prompt.target, prompt.versus, **options, progress=progress
        )

    asking = Asking(
        command="attribute",
        record_type=TokenScore,
        options=options,
        ask=ask,
        outcome=lambda summary: str(summary["verdict"]),
    )
    return _one_or_all(opened, asked, asking, prompts, lines, progress, batch)


@analysis("print_answer", counts="methods")
def agreement(
    model: Checkpoint,
    progress: Progress,
    *,
    text: OneText,
    target: Target,
    versus: Versus = None,
    baseline: Baseline = None,
    units: Units = "tokens",
    orders: Orders = 100,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """Whether all methods, and attention, point at the same words."""
    from inspector.model.agreement import agreement as measure

    opened = _load(model, device, dtype, override)
    return measure(
        opened,
        text,
        target,
        versus,
        baseline=baseline,
        units=_units(units),
        orders=orders,
        seed=seed,
        progress=progress,
    )


@analysis("print_answer", counts="layers")
def layers(
    model: Checkpoint,
    progress: Progress,
    *,
    text: OneText,
    target: Target,
    versus: Versus = None,
    baseline: Baseline = None,
    units: Units = "tokens",
    part: Annotated[
        list[str] | None,
        typer.Option(help="block, attention or mlp; may be given several times. None: block."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """In which layer, and at which word, an answer is made."""
    from inspector.model.layers import layers as measure

    opened = _load(model, device, dtype, override)
    return measure(
        opened,
        text,
        target,
        versus,
        baseline,
        _units(units),
        tuple(dict.fromkeys(part or ("block",))),
        progress=progress,
    )


@analysis("print_answer", counts="done")
def lens(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Text = None,
    prompts: Prompts = None,
    top: Annotated[int, typer.Option(help="Predictions kept at each place.", min=1)] = 5,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
    lines: Path | None = None,
) -> Records[Any]:
    """What would be answered after each layer."""
    from inspector.model.batch import Asking, batch
    from inspector.model.lens import lens as measure
    from inspector.model.records import LensPoint

    asked = _prompts(text, prompts, None, None)
    opened = _load(model, device, dtype, override)

    def outcome(summary: dict[str, Any]) -> str:
        where = summary["settled"]
        return f"answer settled after the {where}" if where else "answer never settled"

    asking = Asking(
        command="lens",
        record_type=LensPoint,
        options={"top": top},
        ask=lambda prompt, progress: measure(opened, prompt.text, top, progress),
        outcome=outcome,
    )
    made = _one_or_all(opened, asked, asking, prompts, lines, progress, batch)
    return _with(made, _unused(asked))


@analysis("print_answer", counts="components")
def ablate(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Text = None,
    prompts: Texts = None,
    target: AnyTarget = None,
    versus: Versus = None,
    component: Annotated[
        list[str] | None,
        typer.Option(
            help="biases, layer, attention, mlp or head; may be given several times. None: all."
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """What switching off biases, layers, MLPs and heads does."""
    from inspector.model.ablation import COMPONENTS
    from inspector.model.ablation import ablate as measure

    texts, log = _texts(text, prompts)
    opened = _load(model, device, dtype, override)
    made = measure(opened, texts, target, versus, component or COMPONENTS, progress)
    return _with(made, log)


@analysis("print_answer", counts="steps")
def heads(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Text = None,
    prompts: Texts = None,
    target: AnyTarget = None,
    versus: Versus = None,
    ablation: Annotated[
        str,
        typer.Option(help="What stands in the place of a head: zero, mean or resample."),
    ] = "zero",
    top: Annotated[int, typer.Option(help="Heads that are taken out one by one.", min=1)] = 20,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """Which heads carry an answer: slopes of all, exact loss of some."""
    from inspector.model.heads import heads as measure

    texts, log = _texts(text, prompts)
    opened = _load(model, device, dtype, override)
    return _with(measure(opened, texts, target, versus, ablation, top, seed, progress), log)


@analysis("print_answer", counts="texts")
def activations(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Text = None,
    prompts: Texts = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """Signal size through depth, silent units, and biases beside W x."""
    from inspector.model.activations import activations as measure

    texts, log = _texts(text, prompts)
    return _with(measure(_load(model, device, dtype, override), texts, progress), log)


def _load(checkpoint: Checkpoint, device: str, dtype: str, override: bool) -> "Model":
    from inspector.model.load import load

    return load(checkpoint, dtype, device, override)


def _with(made: Records[Any], log: Log) -> Records[Any]:
    """The records with what is to be said of the prompts."""
    return dataclasses.replace(made, findings=(*made.findings, *log.findings))


def _prompts(
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


def _one_or_all(
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


def _texts(text: str | None, file: Path | None) -> tuple[list[str], Log]:
    """The texts of one analysis, and what of the file is not in it."""
    prompts = _prompts(text, file, None, None)
    if file is None:
        return [prompts[0].text], Log()
    log = _unused(prompts)
    empty = [prompt.number for prompt in prompts if not prompt.text.strip()]
    if empty:
        shown = ", ".join(map(str, empty[:20])) + (" ..." if len(empty) > 20 else "")
        told = f"{len(empty)} of {len(prompts)} prompts are empty and left out: {shown}"
        log.add("PR-EMPTY", "prompts", told, prompts=empty[:1000])
    return [prompt.text for prompt in prompts if prompt.text.strip()], log


def _unused(prompts: Sequence[Prompt]) -> Log:
    """A note where a file has answers that this command does not ask about."""
    log = Log()
    count = sum(prompt.target is not None or prompt.versus is not None for prompt in prompts)
    if count:
        log.add("PR-UNUSED", "prompts", f"the targets of {count} prompts are not used here")
    return log


def _units(units: str) -> str | list[str]:
    """Units as the library takes them: tokens, words, or a list of phrases."""
    if units in ("tokens", "words"):
        return units
    phrases = [phrase.strip() for phrase in units.split(",") if phrase.strip()]
    if not phrases:
        raise BadOption("--units: give tokens, words, or phrases of the text with commas between.")
    return phrases


def _head(named: str) -> tuple[int, int]:
    layer, _, head = named.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in (layer, head)):
        raise BadOption(f"--head {show_plain(named)}: give LAYER.HEAD, such as 0.1.")
    return int(layer), int(head)
