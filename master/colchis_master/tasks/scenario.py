"""Scenarios for the simulation: what they say, and reading them from YAML."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedSeq

from colchis.errors import InputError
from colchis.model.resources import parse_memory
from colchis_master.tasks.events import BATCH, PRIORITIES
from colchis_master.tasks.form import Form, Notes, load, number, text, whole
from colchis_master.tasks.options import Options
from colchis_master.tasks.policies import DEFAULT, POLICIES

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
    """A scenario from a YAML (or JSON) file. Raises InputError with every mistake in it."""
    notes = Notes(str(path))
    top = Form(
        notes,
        load(Path(path)),
        (1, 1),
        "",
        "policy executors heartbeats jobs faults options",
    )
    notes.check()
    policy = top.get("policy", _one_of(POLICIES, "policy"), DEFAULT)
    executors = _executors(top)
    names = {executor.name for executor in executors}
    places = names | {executor.node for executor in executors}
    heartbeats = tuple(
        HeartbeatSpec(
            form.get("at", number(), 0.0),
            form.need("executor", _one_of(names, "executor"), ""),
            form.get("spilled", _bytes, None),
            form.get("memory", number(0, 1), None),
            form.get("gc", number(0, 1), None),
        )
        for form in top.each("heartbeats", "at executor spilled memory gc")
    )
    jobs = _jobs(top, places)
    faults = tuple(
        FaultSpec(
            form.get("at", number(), 0.0),
            form.need("executor", _one_of(names, "executor"), ""),
            form.need("event", _one_of(_FAULTS, "fault"), ""),
        )
        for form in top.each("faults", "at executor event")
    )
    options, latency = _options(top)
    notes.check()
    return Scenario(executors, jobs, heartbeats, faults, policy, options, latency)


def _executors(top: Form) -> tuple[ExecutorSpec, ...]:
    if not top.map.get("executors"):
        top.wrong("executors", "at least one executor is needed")
    found: dict[str, ExecutorSpec] = {}
    for form in top.each("executors", "name node cores memory"):
        name = form.need("name", text, "")
        if name in found:
            form.wrong("name", f"there is an executor {name!r} already")
        found[name] = ExecutorSpec(
            name,
            form.get("node", text, name),
            form.need("cores", whole(1, 4096), 1),
            form.get("memory", parse_memory, 0),
        )
    return tuple(found.values())


def _jobs(top: Form, places: set[str]) -> tuple[JobSpec, ...]:
    found: dict[str, JobSpec] = {}
    for form in top.each("jobs", "job at priority weight stages"):
        name = form.need("job", text, "")
        if name in found:
            form.wrong("job", f"there is a job {name!r} already")
        if not form.map.get("stages"):
            form.wrong("stages", "at least one stage is needed")
        found[name] = JobSpec(
            name,
            form.get("at", number(), 0.0),
            form.get("priority", _priority, BATCH),
            _stages(form, places),
            form.get("weight", number(1e-6, 1e6), 1.0),
        )
    return tuple(found.values())


def _stages(job: Form, places: set[str]) -> tuple[StageSpec, ...]:
    found: dict[str, StageSpec] = {}
    forms: dict[str, Form] = {}
    for form in job.each("stages", "stage tasks duration memory prefer after"):
        name = form.need("stage", text, "")
        if name in found:
            form.wrong("stage", f"the job has a stage {name!r} already")
        tasks = form.need("tasks", whole(1, _MOST_TASKS), 1)
        forms[name] = form
        found[name] = StageSpec(
            name,
            _durations(form, tasks),
            form.get("memory", parse_memory, 0),
            _prefer(form, tasks, places),
            form.get("after", _names, ()),
        )
    for name, stage in found.items():
        for other in stage.after:
            if other not in found:
                forms[name].wrong("after", f"the job has no stage {other!r}")
    ready: set[str] = set()
    while more := {
        name
        for name, stage in found.items()
        if name not in ready and all(o in ready or o not in found for o in stage.after)
    }:
        ready |= more
    for name in found:
        if name not in ready:
            forms[name].wrong("after", "waits for itself, through other stages or directly")
    return tuple(found.values())


def _durations(form: Form, tasks: int) -> tuple[float, ...]:
    value = form.map.get("duration")
    if isinstance(value, CommentedSeq):
        return form.get("duration", _list(number(), tasks, "durations"), (0.0,) * tasks)
    return (form.need("duration", number(), 0.0),) * tasks


def _prefer(form: Form, tasks: int, places: set[str]) -> tuple[str | None, ...]:
    one = _one_of(places, "node or executor")

    def convert(value: object) -> str | None:
        return None if value is None else one(value)

    if isinstance(form.map.get("prefer"), str):
        return (form.get("prefer", one, ""),) * tasks
    return form.get("prefer", _list(convert, tasks, "preferences"), (None,) * tasks)


def _options(top: Form) -> tuple[Options, float]:
    names = list(Options.__dataclass_fields__)
    form = top.inner("options", " ".join(["suspend_latency", *names]))
    latency = form.get("suspend_latency", number(), SUSPEND_LATENCY)
    values: dict[str, Any] = {}
    for name in names:
        if form.map.get(name) is None:
            continue
        match name:
            case "max_suspensions":
                value: Any = form.get(name, whole(1, 10**9), None)
            case "max_suspended_memory":
                value = form.get(name, parse_memory, None)
            case _:
                value = form.get(name, number(), None)
        if value is not None:
            try:
                Options(**{name: value})
            except InputError as error:
                form.wrong(name, error.problems[0].message)
            else:
                values[name] = value
    return Options(**values), latency


def _priority(value: object) -> int:
    if isinstance(value, str) and value in PRIORITIES:
        return PRIORITIES[value]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1000:
        raise ValueError(f"must be stream, batch or a whole number from 0 to 1000, not {value!r}")
    return int(value)


def _bytes(value: object) -> float | None:
    return float(parse_memory(value))


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (text(value),)
    if not isinstance(value, CommentedSeq):
        raise ValueError(f"must be a list of stages, not {value!r}")
    return tuple(text(item) for item in value)


def _one_of(known: Any, what: str) -> Any:
    def convert(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"no {what} {value!r}; known are {', '.join(sorted(known))}")
        return str(value)

    return convert


def _list(one: Any, length: int, what: str) -> Any:
    def convert(value: object) -> tuple[Any, ...]:
        if not isinstance(value, CommentedSeq) or len(value) != length:
            raise ValueError(f"must be a list of {length} {what}, one for each task")
        return tuple(one(item) for item in value)

    return convert
