"""`simulate`: the task scheduler under a virtual clock."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from colchis.cli.output import Output, OutputOption, say, show, table


def register(app: typer.Typer) -> None:
    app.command("simulate")(simulate)


def simulate(
    scenario: Annotated[Path, typer.Argument(help="Executors, jobs, heartbeats and faults.")],
    policy: Annotated[str | None, typer.Option(help="Instead of the scenario's.")] = None,
    seed: Annotated[int, typer.Option(help="Of the policy's random choices.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a scenario and print what the scheduler did, and each job's latency."""
    from colchis_master.tasks.simulate import read_scenario
    from colchis_master.tasks.simulate import simulate as run

    result = run(read_scenario(scenario), policy=policy, seed=seed).to_contract()
    show(output, result, _tables(result))
    unfinished = [job for job in result["jobs"] if job["finished"] is None]
    for job in unfinished:
        done = sum(
            event["event"] == "finish" and event["task"].startswith(f"{job['job']}/")
            for event in result["events"]
        )
        left = job["tasks"] - done
        say(f"{job['job']} never finishes: {left} of its {job['tasks']} tasks are left")
    if unfinished:
        raise typer.Exit(1)


def _tables(result: dict[str, Any]) -> Iterable[Table | str]:
    yield table(
        ("T", "EVENT", "TASK", "EXECUTOR"),
        (
            (f"{event['t']:.3f}", event["event"], event.get("task"), event.get("executor"))
            for event in result["events"]
        ),
    )
    yield ""
    yield table(
        ("JOB", "SUBMITTED", "FINISHED", "LATENCY", "TASKS", "SUSPENSIONS", "KILLS"),
        (
            (
                job["job"],
                f"{job['submitted']:.3f}",
                "never" if job["finished"] is None else f"{job['finished']:.3f}",
                None if job["latency"] is None else f"{job['latency']:.3f}",
                job["tasks"],
                job["suspensions"],
                job["kills"],
            )
            for job in result["jobs"]
        ),
    )
