"""The command line: options, one library call, records out; data on stdout, the rest on stderr."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from inspector.engine import Progress
from inspector.errors import BadOption, CheckpointError, InspectorError
from inspector.results import SEVERITIES, Records, show_plain, worst
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.header import SOFT_CAP

OK, FINDINGS, UNREADABLE, BUG = 0, 1, 2, 70

app = typer.Typer(
    name="inspector",
    help="What is inside a transformer checkpoint, layer by layer, exactly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

Model = Annotated[
    str, typer.Argument(help="A directory, a shard, an index file, a URL, a Hub id or demo:NAME.")
]
Where = Annotated[
    str | None, typer.Option(help="Only tensors whose name this regular expression finds.")
]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="table, json, csv, parquet, md, html or sarif; table on a terminal."
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write to this file, not to stdout.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages.")]
FailOn = Annotated[
    str, typer.Option("--fail-on", help="Exit 1 at findings from here on: error, warning or never.")
]
MaxHeader = Annotated[
    int, typer.Option("--max-header", help="Largest header to read, in bytes.", min=8)
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Measure again; keep no result.")]
COMMON: dict[str, tuple[Any, Any]] = {  # option -> (type, default), of every analysis
    "max_header": (MaxHeader, SOFT_CAP),
    "fail_on": (FailOn, "error"),
    "json": (AsJson, False),
    "form": (Format, None),
    "output": (Output, None),
    "quiet": (Quiet, False),
}
Analysis = Callable[..., Records[Any]]


def analysis(show: str, counts: str = "bytes") -> Callable[[Analysis], Analysis]:
    """Make a command of a function of open checkpoints, progress and options of its own.

    Each parameter that is a Checkpoint becomes an argument; the options in COMMON are added.
    `show` prints the records on a terminal, `counts` is what progress counts.
    """

    def decorate(function: Analysis) -> Analysis:
        own = inspect.signature(function).parameters.values()
        models = [p.name for p in own if p.annotation is Checkpoint]
        typed = dict.fromkeys(models, (Model, inspect.Parameter.empty))
        typed |= {p.name: (p.annotation, p.default) for p in own if p.kind is p.KEYWORD_ONLY}
        typed |= COMMON

        def command(**given: Any) -> None:
            from inspector.report import terminal

            def work() -> Records[Any]:
                opened = [open_checkpoint(given[m], given["max_header"]) for m in models]
                options = {k: v for k, v in given.items() if k not in (*models, *COMMON)}
                with terminal.Bar(function.__name__, given["quiet"], counts) as progress:
                    return function(*opened, progress, **options)

            output = {k: given[k] for k in COMMON if k != "max_header"}
            name = function.__name__
            _emit(name, given[models[-1]], work, getattr(terminal, show), **output)

        parameters = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
            for name, (kind, default) in typed.items()
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {name: kind for name, (kind, _) in typed.items()}
        app.command(function.__name__, help=function.__doc__)(command)
        return function

    return decorate


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
    """Exact statistics of every tensor, in one pass over the file."""
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
    """Whether the weights are sound: every rule, failed or passed."""
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
    """Singular values of every matrix, beside those of pure noise."""
    from inspector.weights.spectrum import spectrum as measure

    return measure(model, where, heads, replicates, device, progress)


@analysis("print_judgement", counts="tensors")
def init(model: Checkpoint, progress: Progress, *, where: Where = None) -> Records[Any]:
    """Which initialisation each tensor looks like, if not trained."""
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


@app.command()
def demo(json: AsJson = False, form: Format = None, output: Output = None) -> None:
    """The models that come with inspector, and what is true of them."""
    from inspector.demo.catalog import demos
    from inspector.report.terminal import print_records

    _emit("demo", "demo", demos, print_records, json, form, output, "never", quiet=False)


@app.command()
def doctor(json: AsJson = False, form: Format = None, output: Output = None) -> None:
    """Whether this machine has what inspector needs."""
    from inspector.doctor import examine
    from inspector.report.terminal import print_records

    _emit(
        "doctor", "this machine", examine, print_records, json, form, output, "error", quiet=False
    )


@app.command("app")
def app_command(
    model: Annotated[
        str | None, typer.Argument(help="The model to open; none: the start page.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port on localhost.", min=0, max=65535)] = 8501,
) -> None:
    """Open the app in a browser; it listens on this machine only."""
    from inspector.doctor import streamlit_command

    environment = {**os.environ, **({"INSPECTOR_MODEL": model} if model else {})}
    command = streamlit_command(port)
    os.execve(command[0], command, environment)


def _emit(
    command: str,
    model: str,
    work: Callable[[], Records[Any]],
    show: Callable[[Any], None],
    json: bool,
    form: str | None,
    output: Path | None,
    fail_on: str,
    quiet: bool,
) -> NoReturn:
    """Do the work, write its records in the form asked for and end with the exit code they earn."""
    from inspector.report.document import FORMATS, render

    form = _form(json, form, output, [*FORMATS, "table"])
    if fail_on not in ("error", "warning", "never"):
        raise BadOption(f"--fail-on {show_plain(fail_on)}: give error, warning or never.")
    code = None
    try:
        result = work()
    except CheckpointError as error:
        _say(str(error), quiet=False)
        if form == "table" or not error.findings:
            raise typer.Exit(UNREADABLE) from None
        result, code = _nothing(command, model, error), UNREADABLE
    if form == "table":
        show(result)
    else:
        _write(render(result, form), output, quiet)
    if code is None:
        severity = worst(result.findings)
        fails = severity is not None and fail_on != "never"
        order = [str(one) for one in SEVERITIES]
        code = FINDINGS if fails and order.index(str(severity)) >= order.index(fail_on) else OK
    raise typer.Exit(code)


def _form(json: bool, form: str | None, output: Path | None, known: list[str]) -> str:
    """The form to write: as asked, else by the output's suffix, else a table."""
    if json and form not in (None, "json"):
        raise BadOption(f"--json and --format {show_plain(str(form))} ask for two forms; give one.")
    suffix = output.suffix.removeprefix(".") if output else ""
    chosen = "json" if json else form or (suffix if suffix in known else "table")
    if chosen not in known:
        raise BadOption(f"--format {show_plain(chosen)} is not known (known: {', '.join(known)}).")
    if chosen == "table" and output:
        raise BadOption(
            f"-o {show_plain(str(output))}: give --format; a table goes to the terminal."
        )
    if chosen == "parquet" and not output and sys.stdout.isatty():
        raise BadOption("Parquet is binary: give -o FILE.")
    return chosen


def _write(data: bytes, output: Path | None, quiet: bool) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise BadOption(
            f"-o {show_plain(str(output))}: cannot be written: {error.strerror}."
        ) from None
    _say(f"Wrote {show_plain(str(output))} ({len(data):,} bytes).", quiet)


def _nothing(command: str, model: str, error: CheckpointError) -> Records[Any]:
    """The document of a checkpoint of which nothing could be read: its findings, no records."""
    from inspector.report.schema import RECORDS
    from inspector.results import NOTHING_READ
    from inspector.weights.checkpoint import no_model

    return Records(
        command=command,
        record_type=RECORDS[command],
        source=no_model(show_plain(model, 1000)),
        coverage=NOTHING_READ,
        summary={},
        records=(),
        findings=error.findings,
    )


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr)


def main() -> None:
    """Run the command line; whatever happens becomes one of the exit codes of the contract."""
    try:
        app()
    except InspectorError as error:
        _say(f"inspector: {error}", quiet=False)
        sys.exit(UNREADABLE)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    except Exception:  # noqa: BLE001 - the last line of defence: a bug must have its own exit code
        traceback.print_exc()
        _say("This is a bug in inspector: please report the lines above.", quiet=False)
        sys.exit(BUG)
