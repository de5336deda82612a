"""Commands that read weights and run no model."""

from typing import Annotated, Any

import typer

from inspector.commands.base import NoCache, Where, analysis
from inspector.engine import Progress
from inspector.errors import BadOption
from inspector.results import Records
from inspector.weights.checkpoint import Checkpoint


@analysis("print_scan")
def scan(
    model: Checkpoint,
    progress: Progress,
    *,
    where: Where = None,
    channels: Annotated[
        bool, typer.Option(help="Also rows, columns and outliers of matrices.")
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(help="Read about this many bytes; estimates with the range of each.", min=1),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which blocks --sample draws.", min=0)] = 0,
    no_cache: NoCache = False,
) -> Records[Any]:
    """Exact statistics of every tensor, in one pass."""
    from inspector.weights.scan import scan as measure
    from inspector.weights.stored import stored_scan

    if sample is not None:
        from inspector.weights.sampled import sampled_scan

        if channels:
            raise BadOption("--channels needs every value: leave out --sample.")
        return sampled_scan(model, sample, where, seed, progress)
    return (measure if no_cache else stored_scan)(model, where, channels, progress)


@analysis("print_tensor")
def tensor(
    model: Checkpoint,
    progress: Progress,
    *,
    name: Annotated[str, typer.Argument(help="The tensor's name.")],
    bins: Annotated[int, typer.Option(help="Bins of the histogram.", min=1, max=1000)] = 101,
) -> Records[Any]:
    """One tensor in full: statistics, histogram, rows, outliers."""
    from inspector.weights.tensor import records, view

    return records(view(model, name, bins, progress))


@analysis("print_judgement", counts="steps")
def health(model: Checkpoint, progress: Progress, *, where: Where = None) -> Records[Any]:
    """Whether the weights are sound, rule by rule."""
    from inspector.weights.health import health as measure

    return measure(model, where, progress)


@analysis("print_judgement", counts="matrices")
def spectrum(
    model: Checkpoint,
    progress: Progress,
    *,
    where: Where = None,
    heads: Annotated[bool, typer.Option(help="Also every head of q, k, v and o.")] = False,
    replicates: Annotated[
        int,
        typer.Option(help="Bootstrap replicates of alpha; 0: no intervals, no noise drawn.", min=0),
    ] = 100,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> Records[Any]:
    """Singular values of every matrix, beside pure noise."""
    from inspector.weights.spectrum import spectrum as measure

    return measure(model, where, heads, replicates, device, progress)


@analysis("print_judgement", counts="tensors")
def init(model: Checkpoint, progress: Progress, *, where: Where = None) -> Records[Any]:
    """Which initialisation each tensor looks like, if any."""
    from inspector.weights.initialization import initialization

    return initialization(model, where, progress)


@analysis("print_judgement", counts="matrices")
def neurons(model: Checkpoint, progress: Progress, *, where: Where = None) -> Records[Any]:
    """Dead, repeated and saturated units, extreme weights, heads."""
    from inspector.weights.neurons import neurons as measure

    return measure(model, where, progress)


@analysis("print_judgement", counts="matrices")
def prune(model: Checkpoint, progress: Progress, *, where: Where = None) -> Records[Any]:
    """What pruning by magnitude would cost. The model stays as it is."""
    from inspector.weights.pruning import prune as measure

    return measure(model, where, progress)


@analysis("print_judgement", counts="matrices")
def quantize(
    model: Checkpoint,
    progress: Progress,
    *,
    where: Where = None,
    formats: Annotated[
        list[str] | None, typer.Option("--formats", help="Only this format; may be repeated.")
    ] = None,
) -> Records[Any]:
    """What rounding to int8, int4, fp8 and more would cost. The model stays as it is."""
    from inspector.weights.quantization import quantize as measure

    return measure(model, where, formats or None, progress)


@analysis("print_judgement")
def compare(
    base: Checkpoint, tuned: Checkpoint, progress: Progress, *, where: Where = None
) -> Records[Any]:
    """What changed between two checkpoints, beyond rounding."""
    from inspector.weights.compare import compare as measure

    return measure(base, tuned, where, progress)
