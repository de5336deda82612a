"""Commands that run a model; what it predicts is data, what is in the checkpoint never code."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inspector.commands.base import analysis
from inspector.engine import Progress
from inspector.errors import BadOption
from inspector.results import Records, show_plain
from inspector.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from inspector.model.load import Model

Text = Annotated[str | None, typer.Option(help="One text.")]
Prompts = Annotated[Path | None, typer.Option(help="A file with one text in each line.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Override = Annotated[
    bool, typer.Option("--override", help="Run a model that failed a check; results say so.")
]
Target = Annotated[str | None, typer.Option(help="The answer that is asked about.")]
Versus = Annotated[str | None, typer.Option(help="Another answer: how much likelier is the first?")]


@analysis("print_judgement", counts="batches")
def attention(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Text = None,
    prompts: Prompts = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """What every head attends to, over many texts, beside chance."""
    from inspector.model.attention import attention as measure

    texts = _texts(text, prompts)
    return measure(_load(model, device, dtype, override), texts, progress=progress)


@analysis("print_judgement", counts="passes")
def attribute(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Annotated[str, typer.Option(help="The prompt.")],
    target: Annotated[str, typer.Option(help="The answer that is explained.")],
    versus: Versus = None,
    method: Annotated[
        str, typer.Option(help="How; see the documentation of attributions.")
    ] = "integrated-gradients",
    baseline: Annotated[str | None, typer.Option(help="The text that stands for nothing.")] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.", min=0)] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """Which tokens an answer rests on, with a receipt and a verdict."""
    from inspector.model.attribution import attribute as measure

    return measure(
        _load(model, device, dtype, override),
        text,
        target,
        versus,
        method,
        baseline,
        seed=seed,
        progress=progress,
    )


@analysis("print_judgement", counts="layers")
def lens(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Annotated[str, typer.Option(help="The prompt.")],
    top: Annotated[int, typer.Option(help="Predictions kept at each place.", min=1)] = 5,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """What would be answered after each layer."""
    from inspector.model.lens import lens as measure

    return measure(_load(model, device, dtype, override), text, top, progress)


@analysis("print_judgement", counts="components")
def ablate(
    model: Checkpoint,
    progress: Progress,
    *,
    text: Text = None,
    prompts: Prompts = None,
    target: Target = None,
    versus: Versus = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    override: Override = False,
) -> Records[Any]:
    """What switching off biases, layers, MLPs and heads does."""
    from inspector.model.ablation import ablate as measure

    texts = _texts(text, prompts)
    opened = _load(model, device, dtype, override)
    return measure(opened, texts, target, versus, progress=progress)


def _load(checkpoint: Checkpoint, device: str, dtype: str, override: bool) -> "Model":
    from inspector.model.load import load

    return load(checkpoint, dtype, device, override)


def _texts(text: str | None, prompts: Path | None) -> list[str]:
    """The texts that were asked for; BadOption when there are none."""
    if (text is None) == (prompts is None):
        raise BadOption("Give either --text or --prompts.")
    if prompts is None:
        return [text or ""]
    try:
        lines = prompts.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(
            f"--prompts {show_plain(str(prompts))}: cannot be read as UTF-8 text: "
            f"{show_plain(str(error))}."
        ) from None
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise BadOption(f"--prompts {show_plain(str(prompts))}: holds no text.")
    return texts
