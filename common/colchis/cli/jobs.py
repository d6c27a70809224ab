"""`job list|status|tasks|cancel`: work on executors."""

from datetime import datetime
from typing import Any

import typer
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, say, show, table
from colchis.cli.targets import JobArgument


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


def _rows(found: list[dict[str, Any]]) -> Table:
    """A column for each plain value, and one for the counts by state."""
    first = found[0] if found else {"job": ""}
    columns = [key for key in first if key == "counts" or not isinstance(first[key], list | dict)]
    return table(
        [column.upper() for column in columns],
        ([_cell(column, row.get(column)) for column in columns] for row in found),
    )


def _cell(column: str, value: Any) -> Any:
    if column == "submitted":
        return datetime.fromtimestamp(value).astimezone().strftime("%H:%M:%S")
    if isinstance(value, dict):
        return ", ".join(f"{count} {state}" for state, count in value.items())
    return f"{value:.3f}" if isinstance(value, float) else value


def cancel(job: JobArgument, connection: ConnectionOption = None) -> None:
    """End a job: none of its tasks goes on."""
    with client(connection) as master:
        master.cancel_job(job)
    say(f"{job}: cancelled")
