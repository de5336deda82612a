"""What every command shares: options, forms of output, exit codes; data on stdout, else stderr."""

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from inspector.errors import BadOption, CheckpointError
from inspector.results import SEVERITIES, Records, show_plain, worst
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.header import SOFT_CAP

OK, FINDINGS, UNREADABLE, BUG, INTERRUPTED = 0, 1, 2, 70, 130

app = typer.Typer(
    name="inspector",
    help="What is inside a transformer, how it decides, and whether it is fair.",
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
Gates = Mapping[str, Callable[[Records[Any]], str | None]]
"""Values of --fail-on beside those of findings: each says why a result fails, or None."""


def analysis(
    show: str, counts: str = "bytes", gates: Gates | None = None
) -> Callable[[Analysis], Analysis]:
    """Make a command of a function of open checkpoints, progress and options of its own.

    Each parameter that is a Checkpoint becomes an argument; the options in COMMON are added.
    `show` prints the records on a terminal, `counts` is what progress counts. A function with a
    parameter `lines` is given there the file of `-o FILE.jsonl`, to which it writes itself.
    `gates` are further values of --fail-on.
    """
    common = dict(COMMON)
    if gates:
        common["fail_on"] = (_fail_on(gates), "error")

    def decorate(function: Analysis) -> Analysis:
        own = inspect.signature(function).parameters.values()
        models = [p.name for p in own if p.annotation is Checkpoint]
        typed = dict.fromkeys(models, (Model, inspect.Parameter.empty))
        typed |= {p.name: (p.annotation, p.default) for p in own if p.kind is p.KEYWORD_ONLY}
        writes = typed.pop("lines", None) is not None
        typed |= common
        name = function.__name__.replace("_", "-")

        def command(**given: Any) -> None:
            from inspector.report import terminal

            def work() -> Records[Any]:
                opened = [open_checkpoint(given[m], given["max_header"]) for m in models]
                options = {k: v for k, v in given.items() if k not in (*models, *COMMON)}
                if lines is not None:
                    options["lines"] = lines
                with terminal.Bar(name, given["quiet"], counts) as progress:
                    return function(*opened, progress, **options)

            output = {k: given[k] for k in COMMON if k != "max_header"}
            lines = output["output"] if writes and _is_lines(output["output"]) else None
            if lines is not None:
                output["output"] = None
                say(f"Answers go to {show_plain(str(lines))}, one in each line.", given["quiet"])
            emit(name, given[models[-1]], work, getattr(terminal, show), **output, gates=gates)

        parameters = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
            for name, (kind, default) in typed.items()
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {name: kind for name, (kind, _) in typed.items()}
        app.command(name, help=function.__doc__)(command)
        return function

    return decorate


def _fail_on(gates: Gates) -> Any:
    """The type of --fail-on with further values, each described by its docstring."""
    told = " ".join(f"{name}: {inspect.getdoc(gate)}" for name, gate in gates.items())
    return Annotated[
        str,
        typer.Option("--fail-on", help=f"Exit 1 at findings: error, warning or never. {told}"),
    ]


def _is_lines(output: Path | None) -> bool:
    return output is not None and output.suffix == ".jsonl"


def emit(
    command: str,
    model: str,
    work: Callable[[], Records[Any]],
    show: Callable[[Any], None],
    json: bool,
    form: str | None,
    output: Path | None,
    fail_on: str,
    quiet: bool,
    gates: Gates | None = None,
) -> NoReturn:
    """Do the work, write its records in the form asked for and end with the exit code they earn."""
    from inspector.report.document import FORMATS, render

    form = _form(json, form, output, [*FORMATS, "table"])
    gates = gates or {}
    known = ["error", "warning", "never", *gates]
    if fail_on not in known:
        raise BadOption(f"--fail-on {show_plain(fail_on)}: give one of {', '.join(known)}.")
    code = None
    try:
        result = work()
    except CheckpointError as error:
        say(str(error), quiet=False)
        if form == "table" or not error.findings:
            raise typer.Exit(UNREADABLE) from None
        result, code = _nothing(command, model, error), UNREADABLE
    if form == "table":
        show(result)
    else:
        _write(render(result, form), output, quiet)
    if code is None and fail_on in gates:
        why = gates[fail_on](result)
        if why is not None:
            say(f"--fail-on {fail_on}: {why}", quiet)
        code = OK if why is None else FINDINGS
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
    say(f"Wrote {show_plain(str(output))} ({len(data):,} bytes).", quiet)


def _nothing(command: str, model: str, error: CheckpointError) -> Records[Any]:
    """The document of a checkpoint of which nothing could be read: its findings, no records."""
    from inspector.report.schema import record_of
    from inspector.results import NOTHING_READ
    from inspector.weights.checkpoint import no_model

    return Records(
        command=command,
        record_type=record_of(command),
        source=no_model(show_plain(model, 1000)),
        coverage=NOTHING_READ,
        summary={},
        records=(),
        findings=error.findings,
    )


def say(text: str, quiet: bool) -> None:
    """A message for people, on stderr."""
    if not quiet:
        print(text, file=sys.stderr)
