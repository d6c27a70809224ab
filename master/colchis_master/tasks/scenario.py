"""Scenarios for the simulation: what they say, and reading them from YAML."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from colchis.specs.cursor import Cursor, Fields, Report, did_you_mean, suggest
from colchis.specs.files import documents_in, read_text
from colchis_master.tasks.events import BATCH, PRIORITIES
from colchis_master.tasks.options import Options
from colchis_master.tasks.options_spec import OPTIONS, read_options
from colchis_master.tasks.policies import DEFAULT, POLICIES

T = TypeVar("T")

SUSPEND_LATENCY = 0.001
_MOST_TASKS = 1_000_000
_FAULTS = ("lost", "joined")


@dataclass(frozen=True, slots=True)
class ExecutorSpec:
    """An executor that is there from the start."""

    name: str
    node: str
    cores: int
    memory: int = 0


@dataclass(frozen=True, slots=True)
class HeartbeatSpec:
    """A heartbeat; None for what it does not say."""

    at: float
    executor: str
    spilled: float | None = None
    memory: float | None = None
    gc: float | None = None


@dataclass(frozen=True, slots=True)
class StageSpec:
    """Parallel tasks; ``durations`` in seconds and ``prefer`` have an entry for each."""

    name: str
    durations: tuple[float, ...]
    memory: int = 0
    prefer: tuple[str | None, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job submitted at ``at`` seconds."""

    name: str
    at: float
    priority: int
    stages: tuple[StageSpec, ...]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """An executor is ``lost``, or has ``joined`` again."""

    at: float
    executor: str
    event: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that happens to the scheduler from outside."""

    executors: tuple[ExecutorSpec, ...]
    jobs: tuple[JobSpec, ...]
    heartbeats: tuple[HeartbeatSpec, ...] = ()
    faults: tuple[FaultSpec, ...] = ()
    policy: str = DEFAULT
    options: Options = Options()  # noqa: RUF009 - frozen, so safe to share
    suspend_latency: float = SUSPEND_LATENCY


def read_scenario(path: str | Path) -> Scenario:
    """A scenario from a YAML (or JSON) file, ``-`` for standard input.

    Raises InputError with every mistake in it.
    """
    text, file = read_text(Path(path))
    report = Report(file)
    documents = documents_in(text, report)
    scenarios = [_scenario(document) for document in documents]
    for further in documents[1:]:
        further.fail("a second document; a scenario is one")
    report.check()
    return scenarios[0]


def _scenario(document: Cursor) -> Scenario:
    top = document.fields(
        "a scenario",
        required=("executors",),
        optional=("policy", "heartbeats", "jobs", "faults", "options"),
    )
    executors = {one.name: one for one in _named(top, "executors", _executor, "name")}
    places = {*executors, *(executor.node for executor in executors.values())}
    options, latency = _options(top)
    return Scenario(
        tuple(executors.values()),
        tuple(_named(top, "jobs", lambda item: _job(item, places), "job")),
        tuple(_heartbeat(item, executors) for item in _items(top, "heartbeats")),
        tuple(_fault(item, executors) for item in _items(top, "faults")),
        _get(top, "policy", lambda at: _known(at, "policy", POLICIES), DEFAULT),
        options,
        latency,
    )


def _executor(item: Cursor) -> ExecutorSpec:
    form = item.fields("an executor", required=("name", "cores"), optional=("node", "memory"))
    name = _get(form, "name", lambda at: at.identifier("an executor's name"), "")
    return ExecutorSpec(
        name,
        _get(form, "node", lambda at: at.identifier("a node's name"), name),
        _get(form, "cores", lambda at: at.whole("cores", 1, 4096, 1), 1),
        _get(form, "memory", Cursor.memory, 0),
    )


def _heartbeat(item: Cursor, executors: Collection[str]) -> HeartbeatSpec:
    form = item.fields(
        "a heartbeat", required=("executor",), optional=("at", "spilled", "memory", "gc")
    )
    return HeartbeatSpec(
        _get(form, "at", _time, 0.0),
        _get(form, "executor", lambda at: _known(at, "executor", executors), ""),
        _get(form, "spilled", lambda at: float(at.memory()), None),
        _get(form, "memory", lambda at: at.number("a share of memory", 0, 1), None),
        _get(form, "gc", lambda at: at.number("a share of time", 0, 1), None),
    )


def _fault(item: Cursor, executors: Collection[str]) -> FaultSpec:
    form = item.fields("a fault", required=("executor", "event"), optional=("at",))
    return FaultSpec(
        _get(form, "at", _time, 0.0),
        _get(form, "executor", lambda at: _known(at, "executor", executors), ""),
        _get(form, "event", lambda at: _known(at, "fault", _FAULTS), ""),
    )


def _job(item: Cursor, places: Collection[str]) -> JobSpec:
    form = item.fields("a job", required=("job", "stages"), optional=("at", "priority", "weight"))
    stages = tuple(_named(form, "stages", lambda one: _stage(one, places), "stage"))
    _check_order(form, stages)
    return JobSpec(
        _get(form, "job", lambda at: at.identifier("a job's name"), ""),
        _get(form, "at", _time, 0.0),
        _get(form, "priority", _priority, BATCH),
        stages,
        _get(form, "weight", lambda at: at.number("a weight", 1e-6, 1e6, 1.0), 1.0),
    )


def _stage(item: Cursor, places: Collection[str]) -> StageSpec:
    form = item.fields(
        "a stage", required=("stage", "tasks", "duration"), optional=("memory", "prefer", "after")
    )
    tasks = _get(form, "tasks", lambda at: at.whole("tasks", 1, _MOST_TASKS, 1), 1)
    name = _get(form, "stage", lambda at: at.identifier("a stage's name"), "")
    return StageSpec(
        name,
        _each(form, "duration", lambda at: at.number("a duration in seconds", 0), tasks, 0.0),
        _get(form, "memory", Cursor.memory, 0),
        _each(form, "prefer", lambda at: _place(at, places), tasks, None),
        _get(form, "after", _after, ()),
    )


def _check_order(job: Fields, stages: tuple[StageSpec, ...]) -> None:
    """Note stages that wait for what is not there, or for themselves."""
    names = [stage.name for stage in stages]
    ready: set[str] = set()
    while more := {
        stage.name
        for stage in stages
        if stage.name not in ready and all(o in ready or o not in names for o in stage.after)
    }:
        ready |= more
    for item in _items(job, "stages"):
        name, after = item.get("stage"), item.get("after")
        if name is None or after is None:
            continue
        others = [after] if isinstance(after.value.data, str) else after.items("stages")
        for other in others:
            if isinstance(other.value.data, str):
                _known(other, "stage of this job", names)
        if name.value.text in names and name.value.text not in ready:
            after.fail("the stage waits for itself, directly or through others")


def _options(top: Fields) -> tuple[Options, float]:
    at = top.get("options")
    if at is None:
        return Options(), SUSPEND_LATENCY
    form = at.fields("options", required=(), optional=("suspend_latency", *OPTIONS))
    latency = _get(form, "suspend_latency", _time, SUSPEND_LATENCY)
    return read_options(form, Options()), latency


def _named(form: Fields, name: str, read: Callable[[Cursor], T], key: str) -> Iterator[T]:
    """The items of a list, with names that must differ; only that of jobs may be empty."""
    at = form.get(name)
    if at is not None and at.value.data == [] and name != "jobs":
        at.fail("is empty; at least one is needed")
    seen: set[str] = set()
    for item in _items(form, name):
        yield read(item)
        named = item.get(key)
        if named is not None:
            if named.value.text in seen:
                named.fail(f"{named.value.text!r} stands before in this list; names must differ")
            seen.add(named.value.text)


def _items(form: Fields, name: str) -> list[Cursor]:
    at = form.get(name)
    return [] if at is None else at.items(f"a list of {name}")


def _get(form: Fields, name: str, read: Callable[[Cursor], T], default: T) -> T:
    at = form.get(name)
    return default if at is None else read(at)


def _each(
    form: Fields, name: str, read: Callable[[Cursor], T], tasks: int, default: T
) -> tuple[T, ...]:
    """One value for all tasks, or a list with one for each."""
    at = form.get(name)
    if at is None:
        return (default,) * tasks
    if not isinstance(at.value.data, list):
        return (read(at),) * tasks
    items = at.items("a list")
    if len(items) != tasks:
        at.fail(f"expected {tasks} values, one for each task, found {len(items)}")
    return tuple(read(item) for item in items)


def _time(at: Cursor) -> float:
    return at.number("a time in seconds", 0)


def _priority(at: Cursor) -> int:
    data = at.value.data
    if isinstance(data, str) and data in PRIORITIES:
        return PRIORITIES[data]
    if isinstance(data, str):
        at.expected("a priority: stream, batch, or a whole number from 0 to 1000")
        return BATCH
    return at.whole("a priority", 0, 1000, BATCH)


def _place(at: Cursor, places: Collection[str]) -> str | None:
    return None if at.value.data is None else _known(at, "node or executor", places)


def _after(at: Cursor) -> tuple[str, ...]:
    if isinstance(at.value.data, str):
        return (at.text("a stage's name"),)
    return tuple(item.text("a stage's name") for item in at.items("a list of stages"))


def _known(at: Cursor, what: str, known: Collection[str]) -> str:
    name = at.text(f"a {what}")
    if isinstance(at.value.data, str) and name not in known:
        hint = did_you_mean(suggest(name, known)) or f"; known are {', '.join(sorted(known))}"
        at.fail(f"no {what} {name!r}{hint}")
    return name
