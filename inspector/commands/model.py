"""Commands that run a model; what it predicts is data, what is in the checkpoint never code."""

from pathlib import Path
from typing import Annotated, Any

import typer

from inspector.commands.base import analysis
from inspector.commands.model_options import (
    GIGABYTE,
    AnyTarget,
    Baseline,
    Device,
    Dtype,
    MaxBytes,
    MaxTokens,
    Method,
    Methods,
    OneText,
    Orders,
    Override,
    Prompts,
    Samples,
    Seed,
    Target,
    Text,
    Texts,
    Units,
    Versus,
    check_methods,
    head_of,
    load_model,
    one_or_all,
    prompts_of,
    texts_of,
    units_of,
    unused,
    with_findings,
)
from inspector.engine import Progress
from inspector.errors import BadOption
from inspector.model.methods import METHODS
from inspector.model.prompts import Prompt
from inspector.results import Records, show_plain
from inspector.weights.checkpoint import Checkpoint


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

    texts, log = texts_of(text, prompts)
    opened = load_model(model, device, dtype, override)
    made = measure(
        opened, texts, max_bytes=max_bytes, max_tokens=max_tokens, seed=seed, progress=progress
    )
    return with_findings(made, log)


@analysis("print_answer", counts="heads")
def attention_map(
    model: Checkpoint,
    progress: Progress,
    *,
    text: OneText,
    head: Annotated[
        list[str], typer.Option(help="LAYER.HEAD, both from 0; may be given several times.")
    ],
    stack: Annotated[str, typer.Option(help="encoder or decoder, of a model that has both.")] = "",
    without_sink: Annotated[
        bool, typer.Option("--without-sink", help="Without the first token; rows scaled to 1.")
    ] = False,
    max_tokens: MaxTokens = None,
    max_bytes: MaxBytes = 4 * GIGABYTE,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """Where chosen heads look on one text: raw and by values."""
    from inspector.model.attention_pairs import attention_pairs

    heads = [head_of(one) for one in head]
    opened = load_model(model, device, dtype, override)
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
    """Which words an answer rests on, and whether that holds."""
    from inspector.model.attribution import attribute as measure
    from inspector.model.batch import Asking, batch
    from inspector.model.records import TokenScore

    check_methods([method])
    asked = prompts_of(text, prompts, target, versus)
    if all(prompt.target is None for prompt in asked):
        where = f"--target, or a column target in {show_plain(prompts.name)}" if prompts else ""
        raise BadOption(f"There is no answer to explain: give {where or '--target'}.")
    options: dict[str, Any] = {"method": method, "baseline": baseline, "units": units_of(units)}
    options |= {"samples": samples, "orders": orders, "seed": seed}
    opened = load_model(model, device, dtype, override)

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
    return one_or_all(opened, asked, asking, prompts, lines, progress, batch)


@analysis("print_answer", counts="methods")
def agreement(
    model: Checkpoint,
    progress: Progress,
    *,
    text: OneText,
    target: Target,
    versus: Versus = None,
    method: Methods = None,
    baseline: Baseline = None,
    units: Units = "tokens",
    orders: Annotated[int, typer.Option(help="Random orders to compare with.", min=2)] = 100,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """Whether methods and attention name the same words."""
    from inspector.model.agreement import agreement as measure

    check_methods(method or ())
    opened = load_model(model, device, dtype, override)
    return measure(
        opened,
        text,
        target,
        versus,
        tuple(dict.fromkeys(method or METHODS)),
        baseline,
        units_of(units),
        orders,
        seed,
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

    opened = load_model(model, device, dtype, override)
    return measure(
        opened,
        text,
        target,
        versus,
        baseline,
        units_of(units),
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

    asked = prompts_of(text, prompts, None, None)
    opened = load_model(model, device, dtype, override)

    def outcome(summary: dict[str, Any]) -> str:
        where = summary["settled"]
        return f"answer first from {where} on" if where else "answer first after no layer"

    asking = Asking(
        command="lens",
        record_type=LensPoint,
        options={"top": top},
        ask=lambda prompt, progress: measure(opened, prompt.text, top, progress),
        outcome=outcome,
    )
    made = one_or_all(opened, asked, asking, prompts, lines, progress, batch)
    return with_findings(made, unused(asked))


@analysis("print_answer", counts="done")
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

    texts, log = texts_of(text, prompts)
    opened = load_model(model, device, dtype, override)
    made = measure(opened, texts, target, versus, component or COMPONENTS, progress)
    return with_findings(made, log)


@analysis("print_answer", counts="done")
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
    """Which heads carry an answer: slopes, and exact losses."""
    from inspector.model.heads import heads as measure

    texts, log = texts_of(text, prompts)
    opened = load_model(model, device, dtype, override)
    return with_findings(measure(opened, texts, target, versus, ablation, top, seed, progress), log)


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
    """Signal size, silent units, and biases beside W x."""
    from inspector.model.activations import activations as measure

    texts, log = texts_of(text, prompts)
    return with_findings(measure(load_model(model, device, dtype, override), texts, progress), log)
