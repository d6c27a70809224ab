"""Futures that are cancelled by several at once, and settled meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from colchis.jobs.futures import Collector, JobFuture, Ordered, first

PATIENCE = 60.0


def test_cancelling_twice_ends_the_job_once() -> None:
    ended: list[str] = []
    future: JobFuture[Any] = JobFuture("j", ended.append)
    assert future.cancel() and future.cancel()
    assert future.cancelled() and ended == ["j"]
    # As others wait for it who know nothing of ours.
    assert not wait([future], PATIENCE).not_done


def at_once(*actions: Callable[[], object]) -> list[BaseException]:
    """Do things from threads of their own, and give what they raise."""
    barrier = threading.Barrier(len(actions))
    raised: list[BaseException] = []

    def act(action: Callable[[], object]) -> None:
        barrier.wait(PATIENCE)
        try:
            action()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return raised


def test_cancelled_here_and_there_at_once() -> None:
    for _ in range(200):
        ended: list[str] = []
        future: JobFuture[Any] = JobFuture("j", ended.append)
        collector = Collector(future, 1, first)
        told = lambda c=collector: c.ended("cancelled", None)  # noqa: E731
        assert at_once(future.cancel, future.cancel, told) == []
        assert future.cancelled() and ended == ["j"]


class Slow(Future[Any]):
    """Is cancelled by another just after somebody has seen that it is not."""

    def done(self) -> bool:
        done = super().done()
        self.cancel()
        return done


def test_results_in_order_cancelled_just_before_the_end() -> None:
    ends: list[Callable[[Ordered[Any]], None]] = [
        lambda ordered: ordered.ended("failed", None),
        lambda ordered: ordered.refused("no", lost=False),
        lambda ordered: ordered.refused("gone", lost=True),
    ]
    for end in ends:
        ordered: Ordered[Any] = Ordered(3)
        ordered.futures[1] = Slow()  # type: ignore[call-overload]  # as good as another
        end(ordered)
        assert all(future.done() for future in ordered.futures)


def test_who_waits_for_cancelled_results_goes_on() -> None:
    ordered: Ordered[Any] = Ordered(2)
    for future in ordered.futures:
        assert future.cancel() and future.cancel()
    assert not wait(ordered.futures, PATIENCE).not_done
