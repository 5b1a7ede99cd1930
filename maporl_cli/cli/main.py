"""The `maporl` command: its groups, and how every one of them ends.

Nothing here, and nothing the groups import at their top, may import torch or its like:
`maporl --help` answers within half a second.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from maporl_cli import __version__
from maporl_cli.cli import config, data, endpoints, jobs, model
from maporl_cli.cli.ask import ask
from maporl_cli.cli.deploy import deploy
from maporl_cli.cli.evaluation import evaluate
from maporl_cli.cli.logs import logs
from maporl_cli.cli.output import show_error, show_unexpected
from maporl_cli.cli.reward import reward
from maporl_cli.cli.serve import serve
from maporl_cli.cli.train import train
from maporl_cli.cli.tune import tune
from maporl_cli.core.atomic import disk_error
from maporl_cli.core.errors import MaporlError, MissingError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train teams of language models that work together, and see whether working together helped.",
)


_EXTRAS = {"sagemaker": "sagemaker", "wheel": "sagemaker"}
"""Packages that not everybody needs, and the extra that brings them."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"maporl {__version__}")
        raise typer.Exit


@app.callback()
def _maporl(  # pyright: ignore[reportUnusedFunction]
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(train)
app.command()(tune)
app.command("eval")(evaluate)
app.command("evaluate", hidden=True)(evaluate)
app.command()(ask)
app.command()(serve)
app.command()(deploy)
app.command()(reward)
app.command()(logs)
app.add_typer(jobs.app, name="jobs")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
app.add_typer(config.app, name="config")


def main() -> None:
    """Runs the command line and exits with its code.

    0 done, 1 failed, 2 usage, 3 bad config or data, 4 something missing, 130 interrupted.
    """
    try:
        try:
            # Not standalone, or typer would end the process in its own words.
            code = app(prog_name="maporl", standalone_mode=False)
        finally:
            # Here, and not when Python shuts down: a full disk or a closed pipe shows now.
            sys.stdout.flush()
        sys.exit(code)
    except TyperException as error:
        if error.format_message():  # else it was the help that was asked for, by a bare group's name
            show_error(_misspelled(error), os.environ)
        sys.exit(error.exit_code)
    except MaporlError as error:
        show_error(error, os.environ)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _drop_output()
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 the last place where it can be told in words
        told = _known(error)
        if told is None:
            show_unexpected(error, os.environ)
        else:
            show_error(told, os.environ)
        _drop_output()
        sys.exit(1 if told is None else told.exit_code)


def _misspelled(error: TyperException) -> UsageError:
    """What typer says of a command line that it cannot read, in the words of every other error."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "maporl"
    return UsageError(error.format_message(), fix=f"{command} --help lists what there is")


def _known(error: Exception) -> MaporlError | None:
    """The sentence for what the machine lacks: room, permission, a package."""
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("maporl_cli"):
        package = (error.name or "").partition(".")[0]
        extra = f", or pip install 'maporl[{_EXTRAS[package]}]'" if package in _EXTRAS else ""
        return MissingError(
            f"The package {error.name} is not installed.",
            fix=f"install maporl with all it needs: make install{extra or ', or pip install -e .'}",
        )
    return disk_error(error, str(getattr(error, "filename", None) or "the output"))


def _drop_output() -> None:
    """Sends what Python still wants to flush nowhere: its reader is gone, or its disk is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
