"""How the job service waits: awake for a moment where that pays, else asleep."""

import random

from colchis.wire import jobs as ask
from colchis_master.jobs.waiting import ASLEEP, AWAKE, GAP, Waiting
from tests.unit.jobs.world import World, stage

LOOK = GAP / 10


class Peers:
    """A clock and a poll on it; others may have the core for a while, once."""

    def __init__(self, cores: int = 2) -> None:
        self.now = 100.0
        self.answer_at = float("inf")
        self.away = 0.0
        self.polled: list[int] = []
        self.waiting = Waiting(self.poll, cores=cores, clock=lambda: self.now)

    def poll(self, milliseconds: int) -> list[str]:
        self.polled.append(milliseconds)
        self.now += LOOK + self.away
        self.away = 0.0
        until = max(self.now, min(self.answer_at, self.now + milliseconds / 1000))
        self.now = until
        return ["answer"] if until >= self.answer_at else []


def test_who_expects_nothing_sleeps() -> None:
    peers = Peers()
    assert peers.waiting.until(peers.now + 0.0123) == []
    assert peers.polled == [13]


def test_an_answer_that_comes_soon_is_waited_for_awake() -> None:
    peers = Peers()
    peers.waiting.expect(peers.now)
    peers.answer_at = peers.now + AWAKE / 2
    assert peers.waiting.until(peers.now + 1) == ["answer"]
    assert set(peers.polled) == {0}
    # What comes after it, within the same moment, is as well.
    peers.answer_at = peers.now + AWAKE / 4
    assert peers.waiting.until(peers.now + 1) == ["answer"]
    assert set(peers.polled) == {0}


def test_an_answer_that_does_not_come_is_waited_for_asleep() -> None:
    peers = Peers()
    began = peers.now
    peers.waiting.expect(began)
    peers.answer_at = began + 0.5
    assert peers.waiting.until(began + 1) == ["answer"]
    assert peers.polled[-1] > 900
    assert len(peers.polled) * LOOK < AWAKE + 3 * LOOK


def test_what_is_due_is_not_late() -> None:
    peers = Peers()
    peers.waiting.expect(peers.now)
    due = peers.now + AWAKE / 2
    assert peers.waiting.until(due) == []
    assert peers.now < due + 3 * LOOK
    assert peers.waiting.until(0.0) == []
    assert set(peers.polled) == {0}


def test_a_core_that_others_want_is_left_to_them() -> None:
    peers = Peers()
    peers.waiting.expect(peers.now)
    peers.answer_at = peers.now + AWAKE / 2
    peers.away = AWAKE  # the answer has come meanwhile
    assert peers.waiting.until(peers.now + 1) == ["answer"]
    disturbed = peers.now
    peers.answer_at = float("inf")
    peers.polled.clear()
    for later in (0.0, ASLEEP / 2):
        peers.waiting.expect(disturbed + later)
        peers.waiting.until(peers.now + 0.0095)
    assert peers.polled == [10, 10]
    peers.now = disturbed + 2 * ASLEEP
    peers.waiting.expect(peers.now)
    peers.waiting.until(peers.now + 0.0095)
    assert 0 in peers.polled


def test_who_has_one_core_sleeps() -> None:
    peers = Peers(cores=1)
    peers.waiting.expect(peers.now)
    peers.waiting.until(peers.now + 0.0095)
    assert peers.polled == [10]


def one(job: str) -> ask.Submit:
    return ask.Submit(job, job, 2, [stage("a", 1)], [0], 3)


def expected(world: World, job: str) -> bool:
    """Whether an answer to the launch of a job's task is; then the job is worked off."""
    world.submit(one(job))
    told = world.core.expects_answer()
    assert not world.core.expects_answer(), "it is told once"
    while world.step():
        pass
    return told


def test_only_tasks_that_are_known_to_be_short_are_waited_for() -> None:
    world = World(1, 1, random.Random(0))
    assert not expected(world, "unknown")
    assert expected(world, "short")
    world.seconds = 1.0
    assert expected(world, "short as far as known")
    assert not expected(world, "long")


def test_nothing_is_waited_for_while_others_wait_for_slots() -> None:
    world = World(1, 1, random.Random(0))
    expected(world, "first")
    world.core.jobs.submit("c", one("second"), world.now)
    world.core.jobs.submit("c", one("third"), world.now)
    world.take()
    assert world.core.books.attempts, "one was launched"
    assert not world.core.expects_answer()
