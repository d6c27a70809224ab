"""`job list|status|tasks|cancel`: work on executors."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, say, show, table

JobArgument = Annotated[str, typer.Argument(help="The job's name.")]


def register(app: typer.Typer) -> None:
    job = typer.Typer(no_args_is_help=True, help="List, inspect and cancel jobs.")
    job.command("list")(list_jobs)
    job.command("status")(status)
    job.command("tasks")(tasks)
    job.command("cancel")(cancel)
    app.add_typer(job, name="job")


def list_jobs(output: OutputOption = Output.TABLE, connection: ConnectionOption = None) -> None:
    """Show every job."""
    with client(connection) as master:
        jobs = master.jobs()
    show(output, {"jobs": jobs}, [_rows(jobs)])


def status(
    job: JobArgument, output: OutputOption = Output.TABLE, connection: ConnectionOption = None
) -> None:
    """Show one job."""
    with client(connection) as master:
        found = master.job(job)
    show(output, found, [_rows([found])])


def tasks(
    job: JobArgument, output: OutputOption = Output.TABLE, connection: ConnectionOption = None
) -> None:
    """Show a job's tasks: where each is, how often it was suspended, and why last."""
    with client(connection) as master:
        found = master.job_tasks(job)
    show(output, {"tasks": found}, [_rows(found)])


def _rows(found: Iterable[dict[str, Any]]) -> Table:
    rows = list(found)
    columns = (
        [key for key, value in rows[0].items() if not isinstance(value, dict | list)]
        if (rows)
        else ["job"]
    )
    return table([c.upper() for c in columns], ([row.get(c) for c in columns] for row in rows))


def cancel(job: JobArgument, connection: ConnectionOption = None) -> None:
    """End a job: none of its tasks goes on."""
    with client(connection) as master:
        master.cancel_job(job)
    say(f"{job}: cancelled")
