"""The command line: options, one library call, records out; data on stdout, the rest on stderr."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from inspector.errors import BadOption, CheckpointError, InspectorError
from inspector.results import SEVERITIES, Records, show_plain, worst
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
    str, typer.Argument(help="A directory, a shard, an index file, a Hub id or demo:NAME.")
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


@app.command()
def scan(
    model: Model,
    where: Annotated[
        str | None, typer.Option(help="Only tensors whose name this regular expression finds.")
    ] = None,
    channels: Annotated[
        bool, typer.Option(help="Also rows, columns and outliers of matrices.")
    ] = False,
    no_cache: NoCache = False,
    max_header: MaxHeader = SOFT_CAP,
    fail_on: FailOn = "error",
    json: AsJson = False,
    form: Format = None,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Exact statistics of every tensor, layer by layer, in one pass over the file."""
    from inspector.report.terminal import Bar, print_scan
    from inspector.weights.checkpoint import open_checkpoint
    from inspector.weights.scan import scan as measure
    from inspector.weights.stored import stored_scan

    def work() -> Records[Any]:
        checkpoint = open_checkpoint(model, max_header)
        with Bar("scan", quiet) as progress:
            function = measure if no_cache else stored_scan
            return function(checkpoint, where, channels, progress)

    _emit("scan", model, work, print_scan, json, form, output, fail_on, quiet)


@app.command()
def tensor(
    model: Model,
    name: Annotated[str, typer.Argument(help="The tensor's name.")],
    bins: Annotated[int, typer.Option(help="Bins of the histogram.", min=1, max=1000)] = 101,
    max_header: MaxHeader = SOFT_CAP,
    fail_on: FailOn = "error",
    json: AsJson = False,
    form: Format = None,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """One tensor in full: statistics, histogram, rows and columns, outliers."""
    from inspector.report.terminal import Bar, print_tensor
    from inspector.weights.checkpoint import open_checkpoint
    from inspector.weights.tensor import records, view

    def work() -> Records[Any]:
        checkpoint = open_checkpoint(model, max_header)
        with Bar("tensor", quiet) as progress:
            return records(view(checkpoint, name, bins, progress))

    _emit("tensor", model, work, print_tensor, json, form, output, fail_on, quiet)


@app.command()
def demo(json: AsJson = False, form: Format = None, output: Output = None) -> None:
    """The models that come with inspector, and what is known to be true of them."""
    from inspector.demo.catalog import demos
    from inspector.report.terminal import print_records

    _emit("demo", "demo", demos, print_records, json, form, output, "never", quiet=False)


@app.command()
def doctor(json: AsJson = False, form: Format = None, output: Output = None) -> None:
    """Whether this machine has what inspector needs: versions, cores, memory, a writable cache."""
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
    from inspector.results import NOTHING_READ
    from inspector.weights.checkpoint import no_model
    from inspector.weights.statistics import TensorStatistics

    return Records(
        command=command,
        record_type=TensorStatistics,
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
