"""What an executor can tell a job service that was started anew."""

from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT, Input, Stored
from colchis_agent.executor.core import Attempt
from colchis_agent.executor.lifecycle import Phase
from colchis_agent.executor.past import Past


def test_attempts_with_names_that_can_go_on_are_told() -> None:
    past = Past()
    phases = list(Phase)
    for number, _ in enumerate(phases):
        past.begin(number, f"task-{number}")
    attempts = [Attempt(number, phase) for number, phase in enumerate(phases)]
    past.begin(99, "")
    attempts.append(Attempt(99, Phase.RUNNING))
    told = {one.attempt: one for one in past.carried(attempts, lambda number: 10 * number)}
    assert {phases[number]: one.state for number, one in told.items()} == {
        Phase.WAITING: "running",
        Phase.RUNNING: "running",
        Phase.SUSPENDING: "suspending",
        Phase.SUSPENDED: "suspended",
        Phase.FROZEN: "suspended",
        Phase.HELD: "suspended",
        Phase.RESUMING: "running",
    }
    assert all(one.task == f"task-{n}" and one.memory == 10 * n for n, one in told.items())


def test_results_are_kept_until_they_are_settled() -> None:
    past = Past()
    for number in range(4):
        past.begin(number, f"task-{number}" if number else "")
        past.end(number, [b"result"] if number < 3 else None)
    assert past.done() == [wire.Done(n, f"task-{n}", [b"result"]) for n in (1, 2)]
    past.settle([0, 1, 9])
    assert [one.attempt for one in past.done()] == [2]
    assert past.carried([Attempt(3)], lambda _: 0) == []


def test_results_are_few_and_small_and_the_oldest_go_first() -> None:
    past = Past(most=3, most_bytes=1000)
    stored = Stored("4.0", 10**9, "somewhere")
    results: list[Input] = [b"a", b"b", b"c", b"d", stored, b"x" * 900]
    for number, result in enumerate(results):
        past.begin(number, f"task-{number}")
        past.end(number, [result])
        assert len(past.done()) <= 3
    assert [one.attempt for one in past.done()] == [4, 5]
    past.begin(6, "large")
    past.end(6, [b"x" * 2000])
    assert [one.attempt for one in past.done()] == [4, 5], "too large to be kept at all"
    past.begin(7, "small")
    past.end(7, [b"x" * 1000])
    assert [one.attempt for one in past.done()] == [7]


def test_only_what_is_wanted_of_earlier_epochs_is_kept() -> None:
    past = Past()
    numbers = [1 << EPOCH_SHIFT, (1 << EPOCH_SHIFT) + 1, 2 << EPOCH_SHIFT]
    for number in numbers:
        past.begin(number, "task")
        past.end(number, [b""])
    past.keep_only(2, {numbers[1]})
    assert [one.attempt for one in past.done()] == numbers[1:]
