"""Which slot process works on what: the executor's decisions, without any I/O.

An executor has ``cores`` cores and rather more slot processes: one per core at work, one for
every task that is parked alone, and spares so that an urgent task never waits for a fork. A
process runs one attempt at a time; where processes run short, attempts run in a process beside
others that are parked there, as greenlets.

The master counts a core as free only when it is told, so every report of a suspension is sent
after the fact. Orders that no longer apply (the attempt ended meanwhile) change nothing.
"""

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from colchis_agent.executor.events import (
    Cancel,
    Continue,
    Ended,
    Event,
    Flag,
    Freeze,
    Frozen,
    Instruction,
    Kill,
    Launch,
    ProcessExited,
    ProcessReady,
    ReportDied,
    ReportEnded,
    ReportLost,
    ReportResumed,
    ReportSuspended,
    Resume,
    Run,
    Rung,
    Spawn,
    Suspend,
    Thaw,
    Tick,
    Unwind,
    Yielded,
)
from colchis_agent.executor.lifecycle import ON_A_CORE, Cause, Phase, step

MARGIN = 16
"""Processes beyond ``most`` that may be forked while all others are frozen or busy."""


class Process(Struct):
    """One slot process as the core sees it."""

    number: int
    ready: bool = False
    current: int | None = None
    parked: set[int] = set()
    frozen: bool = False
    doomed: bool = False

    @property
    def idle(self) -> bool:
        """Whether it waits for an order."""
        return self.ready and self.current is None and not self.doomed


class Attempt(Struct):
    """One try at one task."""

    number: int
    phase: Phase = Phase.WAITING
    process: int | None = None
    deadline: float | None = None
    resume_after: bool = False


class ExecutorCore:
    """Takes events, returns instructions; ``now`` is monotonic, in seconds.

    ``grace`` is how long a task may take to yield before its process is frozen; ``spares`` how
    many empty processes are kept ready; beyond ``most`` processes, attempts share them.
    """

    def __init__(self, *, cores: int, spares: int, most: int, grace: float) -> None:
        if cores < 1 or spares < 0 or most < cores or grace < 0:
            raise ValueError("cores >= 1, spares >= 0, most >= cores and grace >= 0 are needed")
        self.cores = cores
        self.spares = spares
        self.most = most
        self.grace = grace
        self.attempts: dict[int, Attempt] = {}
        self.processes: dict[int, Process] = {}
        self._waiting: deque[int] = deque()
        self._returning: dict[int, None] = {}
        self._empty: dict[int, None] = {}
        self._deadlines: set[int] = set()
        self._busy = 0
        self._starting = 0
        self._next_process = 0
        self._out: list[Instruction] = []
        self._handlers: dict[type, Callable[..., None]] = {
            Launch: self._launch,
            Suspend: self._suspend,
            Resume: self._resume,
            Cancel: self._cancel,
            ProcessReady: self._process_ready,
            Yielded: self._yielded,
            Ended: self._ended,
            Frozen: self._frozen,
            ProcessExited: self._process_exited,
            Tick: self._tick,
        }

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event in; the instructions are to be carried out in order."""
        self._out = []
        self._handlers[type(event)](event, now)
        self._dispatch(now)
        return self._out

    def next_deadline(self) -> float | None:
        """When a :class:`Tick` is due at the latest, or None."""
        if not self._deadlines:
            return None
        times = (self.attempts[number].deadline for number in self._deadlines)
        return min((time for time in times if time is not None), default=None)

    def _launch(self, event: Launch, now: float) -> None:
        if event.attempt in self.attempts:
            return
        self.attempts[event.attempt] = Attempt(event.attempt)
        self._waiting.append(event.attempt)

    def _suspend(self, event: Suspend, now: float) -> None:
        attempt = self.attempts.get(event.attempt)
        if attempt is None:
            return
        attempt.resume_after = False
        if attempt.phase is Phase.RUNNING:
            self._move(attempt, Cause.SUSPEND)
            self._set_deadline(attempt, now + self.grace)
            self._out.append(Flag(_process_of(attempt), cancel=False))
        elif attempt.phase is Phase.WAITING:
            self._move(attempt, Cause.SUSPEND)
            self._waiting.remove(attempt.number)
            self._out.append(ReportSuspended(attempt.number, -1, Rung.HELD))
        elif attempt.phase is Phase.RESUMING:
            process = self.processes[_process_of(attempt)]
            inside = process.current == attempt.number
            self._move(attempt, Cause.FREEZE if inside else Cause.SUSPEND)
            self._returning.pop(attempt.number)
            if inside and not process.frozen:
                process.frozen = True
                self._out.append(Freeze(process.number))
            rung = Rung.FROZEN if inside else Rung.COOPERATIVE
            self._out.append(ReportSuspended(attempt.number, process.number, rung))

    def _resume(self, event: Resume, now: float) -> None:
        attempt = self.attempts.get(event.attempt)
        if attempt is None:
            return
        if attempt.phase in (Phase.SUSPENDED, Phase.FROZEN):
            self._move(attempt, Cause.RESUME)
            self._returning[attempt.number] = None
        elif attempt.phase is Phase.HELD:
            self._move(attempt, Cause.RESUME)
            self._waiting.append(attempt.number)
            self._out.append(ReportResumed(attempt.number))
        elif attempt.phase is Phase.SUSPENDING:
            attempt.resume_after = True

    def _cancel(self, event: Cancel, now: float) -> None:
        attempt = self.attempts.get(event.attempt)
        if attempt is None:
            return
        phase = attempt.phase
        if phase in (Phase.WAITING, Phase.HELD):
            if phase is Phase.WAITING:
                self._waiting.remove(attempt.number)
            self._forget(attempt, Cause.CANCEL)
            self._out.append(ReportDied(attempt.number, -1, 0, cancelled=True))
        elif phase in (Phase.RUNNING, Phase.SUSPENDING):
            self._move(attempt, Cause.CANCEL)
            self._set_deadline(attempt, now + event.grace)
            self._out.append(Flag(_process_of(attempt), cancel=True))
            if event.grace <= 0:
                self._kill(self.processes[_process_of(attempt)])
        elif phase is Phase.CANCELLING:
            self._set_deadline(attempt, min(attempt.deadline or now, now + event.grace))
        elif phase in (Phase.SUSPENDED, Phase.FROZEN, Phase.RESUMING):
            process = self.processes[_process_of(attempt)]
            if process.current == attempt.number:
                if phase is Phase.RESUMING:
                    self._returning.pop(attempt.number)
                    self._move(attempt, Cause.FREEZE)
                self._move(attempt, Cause.CANCEL)
                self._kill(process)
            else:
                self._move(attempt, Cause.CANCEL)
                self._returning[attempt.number] = None

    def _process_ready(self, event: ProcessReady, now: float) -> None:
        process = self.processes.get(event.process)
        if process is None or process.ready:
            return
        process.ready = True
        self._starting -= 1
        self._empty[process.number] = None

    def _yielded(self, event: Yielded, now: float) -> None:
        process, attempt = self._news(event.process, event.attempt)
        if process is None or attempt is None:
            return
        process.parked.add(attempt.number)
        self._release(process)
        before = attempt.phase
        self._move(attempt, Cause.YIELD)
        self._clear_deadline(attempt)
        if before is Phase.SUSPENDING:
            report = ReportSuspended(attempt.number, process.number, Rung.COOPERATIVE)
            self._out.append(report)
            self._resume_if_wanted(attempt, now)
        elif attempt.phase is Phase.UNWINDING:
            self._returning[attempt.number] = None

    def _ended(self, event: Ended, now: float) -> None:
        process, attempt = self._news(event.process, event.attempt)
        if process is None or attempt is None:
            return
        self._release(process)
        self._forget(attempt, Cause.FINISH)
        self._out.append(ReportEnded(attempt.number, process.number, event.outcome))

    def _frozen(self, event: Frozen, now: float) -> None:
        process = self.processes.get(event.process)
        if process is None or process.current is None or not process.frozen or process.doomed:
            return
        attempt = self.attempts[process.current]
        if attempt.phase is not Phase.SUSPENDING:
            return
        self._move(attempt, Cause.FREEZE)
        self._out.append(ReportSuspended(attempt.number, process.number, Rung.FROZEN))
        self._resume_if_wanted(attempt, now)

    def _process_exited(self, event: ProcessExited, now: float) -> None:
        process = self.processes.pop(event.process, None)
        if process is None:
            return
        self._empty.pop(process.number, None)
        if not process.ready:
            self._starting -= 1
        if process.current is not None:
            attempt = self.attempts[process.current]
            cancelled = attempt.phase is Phase.CANCELLING
            self._forget(attempt, Cause.LOSE)
            died = ReportDied(attempt.number, process.number, event.status, cancelled)
            self._out.append(died)
        for number in sorted(process.parked):
            attempt = self.attempts[number]
            unwinding = attempt.phase is Phase.UNWINDING
            self._forget(attempt, Cause.LOSE)
            if unwinding:
                self._out.append(ReportDied(number, process.number, event.status, cancelled=True))
            else:
                self._out.append(ReportLost(number))

    def _tick(self, event: Tick, now: float) -> None:
        for number in sorted(self._deadlines):
            attempt = self.attempts[number]
            if attempt.deadline is None or attempt.deadline > now:
                continue
            self._clear_deadline(attempt)
            process = self.processes[_process_of(attempt)]
            if attempt.phase is Phase.SUSPENDING:
                process.frozen = True
                self._out.append(Freeze(process.number))
            elif attempt.phase is Phase.CANCELLING:
                self._kill(process)

    def _dispatch(self, now: float) -> None:
        for number in list(self._returning):
            attempt = self.attempts[number]
            # Cleanup is short and frees memory: it does not wait for a core.
            if self._busy < self.cores or attempt.phase is Phase.UNWINDING:
                self._return(attempt, now)
        while self._waiting and self._busy < self.cores:
            process = self._pick()
            if process is None:
                break
            self._start(process, self.attempts[self._waiting.popleft()])
        self._stock()

    def _return(self, attempt: Attempt, now: float) -> None:
        process = self.processes[_process_of(attempt)]
        if process.current == attempt.number:
            process.frozen = False
            self._out.append(Thaw(process.number, clear=True))
        elif process.frozen:
            # Another attempt is frozen in there. Its flag is still set: let it go on until it
            # yields, or the two would wait for each other.
            process.frozen = False
            self._out.append(Thaw(process.number, clear=False))
            return
        elif process.idle:
            self._occupy(process, attempt)
            unwind = attempt.phase is Phase.UNWINDING
            instruction = Unwind if unwind else Continue
            self._out.append(instruction(process.number, attempt.number))
        else:
            return
        self._returning.pop(attempt.number)
        self._move(attempt, Cause.CONTINUE)
        if attempt.phase is Phase.CANCELLING:
            self._set_deadline(attempt, now + self.grace)
        else:
            self._out.append(ReportResumed(attempt.number))

    def _pick(self) -> Process | None:
        """An idle process, an empty one if there is or soon will be one."""
        if self._empty:
            return self.processes[next(reversed(self._empty))]
        if self._starting or len(self.processes) < self.most:
            return None
        idle = [process for process in self.processes.values() if process.idle]
        return min(idle, key=lambda process: (len(process.parked), process.number), default=None)

    def _start(self, process: Process, attempt: Attempt) -> None:
        self._occupy(process, attempt)
        self._move(attempt, Cause.START)
        attempt.process = process.number
        self._out.append(Run(process.number, attempt.number))

    def _stock(self) -> None:
        """Fork what is missing from the spares; let go of empty processes far beyond them."""
        ready = len(self._empty) + self._starting
        room = self.cores - self._busy
        wanted = self.spares + min(len(self._waiting), room)
        if ready < wanted:
            most = self.most + MARGIN if self._stuck() else self.most
            for _ in range(min(wanted - ready, most - len(self.processes))):
                self._starting += 1
                self.processes[self._next_process] = Process(self._next_process)
                self._out.append(Spawn(self._next_process))
                self._next_process += 1
        while len(self._empty) > self.spares + self.cores:
            self._kill(self.processes[next(iter(self._empty))])

    def _stuck(self) -> bool:
        """Whether attempts wait and no process is idle or will be, so that ``most`` must give."""
        return (
            bool(self._waiting)
            and self._busy < self.cores
            and not self._starting
            and len(self.processes) >= self.most
            and not any(process.idle for process in self.processes.values())
        )

    def _news(self, process: int, attempt: int) -> tuple[Process | None, Attempt | None]:
        """The process and attempt of a message, or Nones where it is stale."""
        found = self.processes.get(process)
        if found is None or found.current != attempt:
            return None, None
        return found, self.attempts[attempt]

    def _occupy(self, process: Process, attempt: Attempt) -> None:
        process.current = attempt.number
        process.parked.discard(attempt.number)
        self._empty.pop(process.number, None)

    def _release(self, process: Process) -> None:
        process.current = None
        if process.frozen:
            process.frozen = False
            self._out.append(Thaw(process.number, clear=True))
        if not process.parked and not process.doomed:
            self._empty[process.number] = None

    def _kill(self, process: Process) -> None:
        if not process.doomed:
            process.doomed = True
            self._empty.pop(process.number, None)
            self._out.append(Kill(process.number))

    def _resume_if_wanted(self, attempt: Attempt, now: float) -> None:
        if attempt.resume_after:
            attempt.resume_after = False
            self._resume(Resume(attempt.number), now)

    def _move(self, attempt: Attempt, cause: Cause) -> None:
        phase = step(attempt.phase, cause)
        self._busy += (phase in ON_A_CORE) - (attempt.phase in ON_A_CORE)
        attempt.phase = phase

    def _forget(self, attempt: Attempt, cause: Cause) -> None:
        self._move(attempt, cause)
        self._clear_deadline(attempt)
        self._returning.pop(attempt.number, None)
        del self.attempts[attempt.number]

    def _set_deadline(self, attempt: Attempt, time: float) -> None:
        attempt.deadline = time
        self._deadlines.add(attempt.number)

    def _clear_deadline(self, attempt: Attempt) -> None:
        attempt.deadline = None
        self._deadlines.discard(attempt.number)


def _process_of(attempt: Attempt) -> int:
    assert attempt.process is not None, "only an attempt that has begun has a process"
    return attempt.process
