"""The command's entry: verbs put together, errors turned into exit codes.

0 done; 1 understood but not (wholly) possible; 2 bad input or usage.
"""

import os
import sys
from collections.abc import Sequence

import typer

from colchis import __version__
from colchis.cli import (
    apps,
    constraints,
    daemons,
    events,
    jobs,
    logs,
    nodes,
    planning,
    rebalance,
    simulation,
)
from colchis.cli.output import say
from colchis.errors import ColchisError, InputError

app = typer.Typer(
    name="colchis",
    help="Run services, batch jobs and streams on one set of Linux hosts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"colchis {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True),
) -> None:
    """Run services, batch jobs and streams on one set of Linux hosts."""


for family in (
    daemons,
    apps,
    logs,
    planning,
    rebalance,
    nodes,
    constraints,
    jobs,
    events,
    simulation,
):
    family.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of this process, and exit with its code."""
    try:
        app(arguments, prog_name="colchis")
    except InputError as error:
        for problem in error.problems:
            say(f"error: {problem}")
        sys.exit(2)
    except ColchisError as error:
        for line in str(error).splitlines():
            say(f"error: {line}")
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
