"""The executor's core in a world that answers in any order it likes."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.errors import IllegalTransitionError
from colchis_agent.executor import events as ev
from colchis_agent.executor.core import MARGIN, ExecutorCore
from colchis_agent.executor.lifecycle import (
    ON_A_CORE,
    TRANSITIONS,
    Cause,
    Phase,
    step,
)

GRACE = 1.0


@dataclass
class SlotModel:
    """What a slot process would do."""

    ready: bool = False
    running: int | None = None
    parked: set[int] = field(default_factory=set)
    flag: str = ""
    freezing: bool = False
    frozen: bool = False
    killed: bool = False
    crashed: bool = False


class World:
    """Carries instructions out, and lets a random one of the things that may happen happen."""

    def __init__(self, cores: int, spares: int, most: int, rng: random.Random) -> None:
        self.core = ExecutorCore(cores=cores, spares=spares, most=most, grace=GRACE)
        self.rng = rng
        self.now = 0.0
        self.slots: dict[int, SlotModel] = {}
        self.on_core: set[int] = set()
        self.reports: dict[int, list[ev.Report]] = {}
        self.feed(ev.Tick())

    def feed(self, event: ev.Event) -> None:
        for instruction in self.core.handle(event, self.now):
            self.carry_out(instruction)
        self.check()

    def carry_out(self, what: ev.Instruction) -> None:
        match what:
            case ev.Spawn(process):
                assert process not in self.slots
                self.slots[process] = SlotModel()
            case ev.Run(process, attempt):
                slot = self.waiting(process)
                slot.running, slot.flag = attempt, ""
            case ev.Continue(process, attempt) | ev.Unwind(process, attempt):
                slot = self.waiting(process)
                slot.parked.remove(attempt)
                slot.running = attempt
                slot.flag = "cancel" if isinstance(what, ev.Unwind) else ""
            case ev.Flag(process, cancel):
                self.slots[process].flag = "cancel" if cancel else "suspend"
            case ev.Freeze(process):
                self.slots[process].freezing = True
            case ev.Thaw(process, clear):
                slot = self.slots[process]
                slot.freezing = slot.frozen = False
                if clear:
                    slot.flag = ""
            case ev.Kill(process):
                self.slots[process].killed = True
            case _:
                self.reports.setdefault(what.attempt, []).append(what)

    def waiting(self, process: int) -> SlotModel:
        slot = self.slots[process]
        assert slot.ready and slot.running is None and not slot.killed and not slot.frozen
        return slot

    def check(self) -> None:
        busy = [a for a in self.core.attempts.values() if a.phase in ON_A_CORE]
        unwinding = [a for a in busy if a.phase is Phase.CANCELLING]
        assert len(busy) - len(unwinding) <= self.core.cores
        assert len(self.slots) <= self.core.most + MARGIN
        for history in self.reports.values():
            ends = [r for r in history if is_end(r)]
            assert len(ends) <= 1
            assert not ends or is_end(history[-1])

    def happenings(self) -> list[ev.Event]:
        """Everything that the outside may do next."""
        found: list[ev.Event] = []
        for number, slot in self.slots.items():
            if slot.killed or slot.crashed:
                found.append(ev.ProcessExited(number, -9))
            elif not slot.ready:
                found.append(ev.ProcessReady(number))
            elif slot.frozen:
                continue
            elif slot.running is not None:
                found.append(ev.Ended(number, slot.running, "result"))
                if slot.flag == "suspend":
                    found.append(ev.Yielded(number, slot.running))
                if slot.freezing:
                    found.append(ev.Frozen(number))
        return found

    def happen(self, event: ev.Event) -> None:
        match event:
            case ev.ProcessReady(number):
                self.slots[number].ready = True
            case ev.ProcessExited(number, _):
                del self.slots[number]
            case ev.Yielded(number, attempt):
                self.slots[number].parked.add(attempt)
                self.slots[number].running = None
            case ev.Ended(number, _, _):
                self.slots[number].running = None
            case ev.Frozen(number):
                self.slots[number].frozen = True
        self.feed(event)

    def pass_time(self) -> None:
        self.now += GRACE * 2
        self.feed(ev.Tick())

    def settle(self) -> None:
        """Let everything happen that must, resuming what was suspended."""
        for _ in range(2000):
            if not self.core.attempts:
                return
            for attempt in list(self.core.attempts):
                self.feed(ev.Resume(attempt))
            self.pass_time()
            possible = self.happenings()
            if possible:
                self.happen(self.rng.choice(possible))
        raise AssertionError(f"stuck with {self.core.attempts} in {self.core.processes}")


def is_end(report: ev.Report) -> bool:
    return isinstance(report, ev.ReportEnded | ev.ReportDied | ev.ReportLost)


@given(
    seed=st.integers(0, 10**6),
    cores=st.integers(1, 3),
    spares=st.integers(0, 2),
    room=st.integers(0, 3),
)
def test_every_attempt_ends_once_whatever_the_order(
    seed: int, cores: int, spares: int, room: int
) -> None:
    rng = random.Random(seed)
    world = World(cores, spares, cores + room, rng)
    launched = 0
    for _ in range(120):
        choice = rng.random()
        known = list(range(1, launched + 1))
        if choice < 0.15:
            launched += 1
            world.feed(ev.Launch(launched))
        elif choice < 0.5 and known:
            attempt = rng.choice(known)
            orders: list[ev.Event] = [
                ev.Suspend(attempt),
                ev.Suspend(attempt),
                ev.Resume(attempt),
                ev.Resume(attempt),
                ev.Cancel(attempt, rng.choice([0.0, GRACE])),
                ev.Launch(attempt),
            ]
            # A launch repeated after the end would be a new attempt under an old number.
            order = rng.choice(orders)
            if not isinstance(order, ev.Launch) or attempt in world.core.attempts:
                world.feed(order)
        elif choice < 0.6:
            world.pass_time()
        elif choice < 0.63 and world.slots:
            world.slots[rng.choice(list(world.slots))].crashed = True
        else:
            possible = world.happenings()
            if possible:
                world.happen(rng.choice(possible))
    world.settle()
    for attempt in range(1, launched + 1):
        assert len([r for r in world.reports[attempt] if is_end(r)]) == 1


def ready(cores: int = 1, spares: int = 1) -> World:
    world = World(cores, spares, cores + 4, random.Random(0))
    start_all(world)
    return world


def start_all(world: World) -> None:
    for number, slot in list(world.slots.items()):
        if not slot.ready:
            world.happen(ev.ProcessReady(number))


def phase(world: World, attempt: int) -> Phase:
    return world.core.attempts[attempt].phase


def process(world: World, attempt: int) -> int:
    found = world.core.attempts[attempt].process
    assert found is not None
    return found


def test_core_is_free_only_after_the_task_has_yielded() -> None:
    world = ready()
    world.feed(ev.Launch(1))
    world.feed(ev.Suspend(1))
    world.feed(ev.Launch(2))
    assert phase(world, 2) is Phase.WAITING
    world.happen(ev.Yielded(process(world, 1), 1))
    start_all(world)
    assert phase(world, 2) is Phase.RUNNING


def test_task_that_does_not_yield_is_frozen_and_a_spare_takes_its_core() -> None:
    world = ready()
    world.feed(ev.Launch(1))
    world.feed(ev.Suspend(1))
    world.feed(ev.Launch(2))
    world.pass_time()
    first = process(world, 1)
    assert phase(world, 2) is Phase.WAITING
    world.happen(ev.Frozen(first))
    assert world.reports[1] == [ev.ReportSuspended(1, first, ev.Rung.FROZEN)]
    start_all(world)
    assert phase(world, 2) is Phase.RUNNING
    assert process(world, 2) != first


def test_task_suspended_before_it_started_starts_when_resumed() -> None:
    world = ready()
    world.feed(ev.Launch(1))
    world.feed(ev.Launch(2))
    world.feed(ev.Suspend(2))
    assert world.reports[2] == [ev.ReportSuspended(2, -1, ev.Rung.HELD)]
    world.happen(ev.Ended(process(world, 1), 1, "result"))
    start_all(world)
    assert phase(world, 2) is Phase.HELD
    world.feed(ev.Resume(2))
    assert phase(world, 2) is Phase.RUNNING


def test_task_that_ends_before_it_yields_gives_its_core_away_once() -> None:
    world = ready()
    world.feed(ev.Launch(1))
    first = process(world, 1)
    world.feed(ev.Suspend(1))
    world.happen(ev.Ended(first, 1, "result"))
    world.feed(ev.Yielded(first, 1))
    assert [type(report) for report in world.reports[1]] == [ev.ReportEnded]


def test_news_that_crossed_the_freeze_counts() -> None:
    world = ready()
    world.feed(ev.Launch(1))
    first = process(world, 1)
    world.feed(ev.Suspend(1))
    world.pass_time()
    world.happen(ev.Frozen(first))
    world.slots[first].frozen = False
    world.happen(ev.Ended(first, 1, "result"))
    kinds = [type(report) for report in world.reports[1]]
    assert kinds == [ev.ReportSuspended, ev.ReportEnded]
    assert not world.slots[first].frozen


def test_innocents_are_lost_when_another_task_ends_their_process() -> None:
    world = World(1, 0, 1, random.Random(0))
    world.feed(ev.Launch(1))
    start_all(world)
    world.feed(ev.Suspend(1))
    world.happen(ev.Yielded(process(world, 1), 1))
    world.feed(ev.Launch(2))
    assert process(world, 2) == process(world, 1)
    world.happen(ev.ProcessExited(process(world, 2), -11))
    assert world.reports[2] == [ev.ReportDied(2, 0, -11, cancelled=False)]
    assert world.reports[1][-1] == ev.ReportLost(1)


def test_parked_task_gets_out_of_a_process_frozen_by_another() -> None:
    world = World(1, 0, 1, random.Random(0))
    world.feed(ev.Launch(1))
    start_all(world)
    world.feed(ev.Suspend(1))
    world.happen(ev.Yielded(process(world, 1), 1))
    world.feed(ev.Launch(2))
    world.feed(ev.Suspend(2))
    world.pass_time()
    world.happen(ev.Frozen(process(world, 2)))
    world.feed(ev.Resume(1))
    assert phase(world, 1) is Phase.RESUMING
    world.happen(ev.Yielded(process(world, 2), 2))
    assert phase(world, 1) is Phase.RUNNING
    assert phase(world, 2) is Phase.SUSPENDED


@pytest.mark.parametrize("order", [ev.Suspend(9), ev.Resume(9), ev.Cancel(9, 0.0)])
def test_orders_for_unknown_attempts_change_nothing(order: ev.Event) -> None:
    world = ready()
    assert world.core.handle(order, 0.0) == []


def test_illegal_transition_raises() -> None:
    with pytest.raises(IllegalTransitionError, match="held cannot finish"):
        step(Phase.HELD, Cause.FINISH)


def test_every_phase_is_reached_and_left() -> None:
    reached = set(TRANSITIONS.values()) | {Phase.WAITING}
    left = {phase for phase, _ in TRANSITIONS} | {Phase.ENDED}
    assert reached == left == set(Phase)


@pytest.mark.parametrize(
    "wrong", [{"cores": 0}, {"spares": -1}, {"most": 1}, {"grace": -1.0}], ids=str
)
def test_senseless_settings_are_refused(wrong: dict[str, float]) -> None:
    settings = {"cores": 2, "spares": 1, "most": 4, "grace": 1.0, **wrong}
    with pytest.raises(ValueError, match="are needed"):
        ExecutorCore(**settings)  # type: ignore[arg-type]  # that is the point
