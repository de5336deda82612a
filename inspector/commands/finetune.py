"""Commands that train a model's own weights, and that say beforehand what would happen."""

from pathlib import Path
from typing import Annotated, Any

import typer

from inspector.commands.base import (
    INTERRUPTED,
    AsJson,
    FailOn,
    Format,
    Output,
    Quiet,
    app,
    emit,
    say,
)
from inspector.errors import BadOption
from inspector.results import Records

Configuration = Annotated[
    Path, typer.Argument(help="A YAML file such as those in configs/.", metavar="CONFIG")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A key put over the file's, as key.key=value, such as data.rows=100; may be given "
        "several times.",
    ),
]


@app.command()
def plan(
    config: Configuration,
    set: Settings = None,
    fail_on: FailOn = "error",
    json: AsJson = False,
    form: Format = None,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """What a run would train, and how long; trains nothing."""
    from inspector.report.terminal import Bar, print_answer

    def work() -> Records[Any]:
        from inspector.finetune.config import load_config
        from inspector.finetune.preflight import plan as planned

        with Bar("plan", quiet, "steps") as progress:
            return planned(load_config(config, set or ()), progress)

    emit("plan", str(config), work, print_answer, json, form, output, fail_on, quiet)


@app.command()
def finetune(
    config: Configuration,
    set: Settings = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run in the folder, as if it never stopped."),
    ] = False,
    verify_resume: Annotated[
        bool,
        typer.Option(
            "--verify-resume",
            help="Train a few steps straight and with stops instead, and compare each bit.",
        ),
    ] = False,
    fail_on: FailOn = "error",
    json: AsJson = False,
    form: Format = None,
    output: Output = None,
    quiet: Quiet = False,
) -> None:
    """Train a model's own weights, and measure what came of it."""
    from inspector.report.terminal import Bar, print_answer

    if resume and verify_resume:
        raise BadOption("--resume goes on with a run, --verify-resume tries one: give one of them.")
    command = "verify-resume" if verify_resume else "finetune"

    def work() -> Records[Any]:
        from inspector.finetune.config import load_config

        loaded = load_config(config, set or ())
        with Bar(command, quiet, "steps") as progress:
            if verify_resume:
                from inspector.finetune.verify import verify_resume as verified

                return verified(loaded, progress)
            from inspector.finetune.checkpoints import Interrupted
            from inspector.finetune.run import finetune as train

            try:
                return train(loaded, progress, resume)
            except Interrupted as stopped:
                say(str(stopped), quiet=False)
                raise typer.Exit(INTERRUPTED) from None

    emit(command, str(config), work, print_answer, json, form, output, fail_on, quiet)
