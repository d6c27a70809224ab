"""Short ways to write scenarios and to read what came of them."""

from typing import Any

from colchis_master.tasks.options import Options
from colchis_master.tasks.scenario import (
    ExecutorSpec,
    FaultSpec,
    HeartbeatSpec,
    JobSpec,
    Scenario,
    StageSpec,
)
from colchis_master.tasks.simulate import SimulationResult, simulate

GIB = 2**30
L, H = 2, 1


def executors(count: int, cores: int, memory: int = 32 * GIB) -> tuple[ExecutorSpec, ...]:
    return tuple(ExecutorSpec(f"e{i}", f"n{i}", cores, memory) for i in range(count))


def job(
    name: str,
    tasks: int,
    duration: float,
    *,
    at: float = 0.0,
    priority: int = L,
    memory: int = GIB,
    prefer: tuple[str | None, ...] = (),
    weight: float = 1.0,
) -> JobSpec:
    stage = StageSpec("s", (duration,) * tasks, memory, prefer)
    return JobSpec(name, at, priority, (stage,), weight)


def play(
    where: tuple[ExecutorSpec, ...],
    *jobs: JobSpec,
    policy: str = "lma",
    heartbeats: tuple[HeartbeatSpec, ...] = (),
    faults: tuple[FaultSpec, ...] = (),
    **options: Any,
) -> SimulationResult:
    return simulate(Scenario(where, jobs, heartbeats, faults, policy, Options(**options)))


def told(result: SimulationResult, event: str) -> list[dict[str, Any]]:
    return [entry for entry in result.events if entry["event"] == event]


def tasks(result: SimulationResult, event: str) -> list[str]:
    return [entry["task"] for entry in told(result, event)]


def outcome(result: SimulationResult, name: str) -> dict[str, Any]:
    return next(entry for entry in result.jobs if entry["job"] == name)


def on(result: SimulationResult, event: str, job_name: str) -> list[str]:
    """The executors of these events of one job, sorted."""
    return sorted(
        entry["executor"]
        for entry in told(result, event)
        if entry["task"].startswith(f"{job_name}/")
    )
