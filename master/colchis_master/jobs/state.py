"""Jobs, stages and tasks, and the life of a task between them as a table.

A task is *waiting* while an input is not there, *ready* once it was handed to the task scheduler
(whose own table says the rest), *done* when its results are known. A result that is lost sets its
task back to waiting.
"""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from msgspec import Struct

from colchis.wire.jobs import StageSpec, Submit
from colchis.wire.work import Failure, Input


class TaskState(StrEnum):
    """Where a task stands as its job sees it."""

    WAITING = "waiting"
    READY = "ready"
    DONE = "done"


class Turn(StrEnum):
    """What moves a task."""

    HAND_OVER = "hand-over"
    FINISH = "finish"
    LOSE_INPUT = "lose-input"
    LOSE_RESULT = "lose-result"


TRANSITIONS: Mapping[tuple[TaskState, Turn], TaskState] = MappingProxyType(
    {
        (TaskState.WAITING, Turn.HAND_OVER): TaskState.READY,
        (TaskState.READY, Turn.FINISH): TaskState.DONE,
        (TaskState.READY, Turn.LOSE_INPUT): TaskState.WAITING,
        (TaskState.DONE, Turn.LOSE_RESULT): TaskState.WAITING,
    }
)


class IllegalTurnError(RuntimeError):
    """The table has no such step; nothing was changed."""


class Task(Struct):
    """One task. ``number`` counts its tries, as the task scheduler does."""

    id: str
    stage: int
    index: int
    state: TaskState = TaskState.WAITING
    results: list[Input] | None = None
    number: int = 0
    failures: int = 0
    suspensions: int = 0
    kills: int = 0
    executor: str = ""
    done_by: tuple[str, int] | None = None
    """The executor that may keep a note of its results, and under which attempt."""
    attempt: int | None = None
    shown: str = ""
    memory: int = 0
    reason: str = ""
    broken: Failure | None = None

    def turn(self, turn: Turn) -> None:
        """Take a step of the table; raises :class:`IllegalTurnError` where there is none."""
        try:
            self.state = TRANSITIONS[self.state, turn]
        except KeyError:
            raise IllegalTurnError(f"a task that is {self.state} cannot {turn}") from None


class Stage(Struct):
    """One stage; ``left`` counts its tasks that are not done."""

    number: int
    spec: StageSpec
    tasks: list[Task]
    left: int
    after: tuple[int, ...]
    first: int = 0
    """No task before this one is waiting."""
    before: list[int] = []
    held: dict[int, Counter[str]] = {}
    """Bytes of each result's bucket by the address that holds them."""

    def set_back(self, task: Task, turn: Turn) -> None:
        """Let one of its tasks wait again."""
        task.turn(turn)
        self.first = min(self.first, task.index)

    @property
    def complete(self) -> bool:
        """Whether every result is there."""
        return self.left == 0


class Job(Struct):
    """One job and who submitted it. Times are monotonic seconds.

    All its attempts have greater numbers than ``born``. While it is ``settling`` no task is handed
    over: executors may be at them since before the service's own beginning.
    """

    id: str
    client: str
    spec: Submit
    stages: list[Stage]
    submitted: float
    state: str = "running"
    ended: float | None = None
    failure: Failure | None = None
    born: int = 0
    settling: bool = False

    @classmethod
    def of(cls, client: str, spec: Submit, now: float, born: int = 0) -> "Job":
        """A job about to begin."""
        stages = []
        for number, stage in enumerate(spec.stages):
            tasks = [
                Task(f"{spec.job}/{stage.name}/{index}", number, index)
                for index in range(stage.tasks)
            ]
            after = tuple(dict.fromkeys(one.stage for one in stage.after))
            stages.append(Stage(number, stage, tasks, stage.tasks, after))
        for one in stages:
            for earlier in one.after:
                stages[earlier].before.append(one.number)
        return cls(spec.job, client, spec, stages, now, born=born)

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state != "running"


def problems(spec: Submit) -> list[str]:
    """What is wrong with a submission beyond the types of its fields; empty where nothing is."""
    found: list[str] = []
    names: set[str] = set()
    if spec.independent and len(spec.stages) != 1:
        found.append("independent: only for a job of one stage")
    if not spec.stages:
        found.append("stages: a job has at least one")
    for number, stage in enumerate(spec.stages):
        at = f"stages[{number}]"
        if stage.name in names:
            found.append(f"{at}.name: {stage.name!r} is taken by an earlier stage")
        names.add(stage.name)
        if stage.payloads and len(stage.payloads) != stage.tasks:
            found.append(f"{at}.payloads: {len(stage.payloads)} for {stage.tasks} tasks")
        if stage.prefer and len(stage.prefer) != stage.tasks:
            found.append(f"{at}.prefer: {len(stage.prefer)} for {stage.tasks} tasks")
        if stage.kind == "call" and not stage.payloads and stage.tasks:
            found.append(f"{at}.payloads: a call needs its arguments")
        for which, after in enumerate(stage.after):
            field_name = f"{at}.after[{which}]"
            if after.stage >= number:
                found.append(f"{field_name}.stage: {after.stage} does not come before {number}")
                continue
            earlier = spec.stages[after.stage]
            if after.mode == "each" and earlier.tasks != stage.tasks:
                found.append(f"{field_name}: {earlier.tasks} results for {stage.tasks} tasks")
            if after.mode == "bucket" and earlier.buckets < stage.tasks:
                found.append(f"{field_name}: {earlier.buckets} buckets for {stage.tasks} tasks")
            if after.mode != "bucket" and earlier.buckets:
                found.append(f"{field_name}: {earlier.name!r} is in buckets, read it by bucket")
    found += [
        f"deliver[{which}]: there is no stage {number}"
        for which, number in enumerate(spec.deliver)
        if number >= len(spec.stages)
    ]
    return found
