"""The command line; each command is made in `inspector.commands`."""

import os
import sys
import traceback
from typing import Annotated

import typer

from inspector.commands import weights, model, fairness, finetune  # isort: skip - the order of the help
from inspector.commands.base import BUG, OK, UNREADABLE, AsJson, Format, Output, app, emit, say
from inspector.errors import InspectorError

MADE = (weights, model, fairness, finetune)  # modules whose import makes commands


@app.command()
def demo(json: AsJson = False, form: Format = None, output: Output = None) -> None:
    """The demo models, and what is true of them."""
    from inspector.demo.catalog import demos
    from inspector.report.terminal import print_records

    emit("demo", "demo", demos, print_records, json, form, output, "never", quiet=False)


@app.command()
def doctor(json: AsJson = False, form: Format = None, output: Output = None) -> None:
    """Whether this machine has what inspector needs."""
    from inspector.doctor import examine
    from inspector.report.terminal import print_records

    emit("doctor", "this machine", examine, print_records, json, form, output, "error", quiet=False)


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


def main() -> None:
    """Run the command line; whatever happens becomes one of the exit codes of the contract."""
    try:
        app()
    except InspectorError as error:
        say(f"inspector: {error}", quiet=False)
        sys.exit(UNREADABLE)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    except Exception:  # noqa: BLE001 - the last line of defence: a bug must have its own exit code
        traceback.print_exc()
        say("This is a bug in inspector: please report the lines above.", quiet=False)
        sys.exit(BUG)
