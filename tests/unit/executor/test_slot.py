"""The hub of a slot process, in this process, with a channel of lists."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from colchis.jobs.task import checkpoint, point
from colchis.wire.work import Stored, Work
from colchis_agent.executor.board import ORDER_CANCEL, ORDER_NONE, ORDER_SUSPEND, Board, Line
from colchis_agent.executor.channel import (
    ChannelError,
    Cut,
    FromSlot,
    Go,
    Parked,
    Part,
    Raised,
    Returned,
    Start,
    Starved,
    Throw,
    ToSlot,
    Unwound,
)
from colchis_agent.executor.slot import Hub, InputLostError


class Script:
    """Answers each of the hub's messages with the next order, and ends when there is none."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.orders: list[ToSlot] = []
        self.said: list[FromSlot] = []
        self.resume_always = False
        self.flag = ORDER_NONE

    def receive(self) -> ToSlot:
        if self.resume_always and self.said and isinstance(last := self.said[-1], Parked):
            self.said.pop()
            return Go(last.attempt)
        if not self.orders:
            raise ChannelError("the script is over")
        order = self.orders.pop(0)
        self.line.order = ORDER_NONE if isinstance(order, Throw) else self.flag
        return order

    def send(self, message: FromSlot) -> None:
        self.said.append(message)

    tell = send


class Nowhere:
    def get(self, stored: Stored) -> bytes:
        raise InputLostError(stored.key)

    def put(self, key: str, data: bytes) -> None:
        raise AssertionError("nothing large is made here")


class Slot:
    def __init__(self, folder: Path) -> None:
        self.board = Board(1)
        self.line = self.board.line(0)
        self.line.reset()
        self.script = Script(self.line)
        self.folder = folder

    def work(self, function: Any, *inputs: Any, kind: Any = "records") -> Work:
        digest = f"{len(list(self.folder.iterdir())):032x}"
        (self.folder / digest).write_bytes(cloudpickle.dumps(function))
        data = [i if isinstance(i, Stored) else pickle.dumps(i) for i in inputs]
        return Work(kind, digest, data)

    def run(self, *orders: ToSlot) -> list[FromSlot]:
        self.script.orders = list(orders)
        hub = Hub(self.script, self.line, self.folder, Nowhere())
        with pytest.raises(ChannelError):
            hub.run()
        return self.script.said


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slot:
    monkeypatch.setattr(point, "flag", point.flag)
    monkeypatch.setattr(point, "pause", point.pause)
    return Slot(tmp_path)


def test_right_answer_when_suspended_after_every_one_of_100_000_records(slot: Slot) -> None:
    starts: list[int] = []

    def total(records: Iterator[int]) -> int:
        starts.append(1)
        return sum(record for record in records)

    slot.script.flag, slot.script.resume_always = ORDER_SUSPEND, True
    work = slot.work(total, range(60_000), range(60_000, 100_000))
    (said,) = slot.run(Start(1, work))
    assert isinstance(said, Returned) and isinstance(said.results[0], bytes)
    assert pickle.loads(said.results[0]) == sum(range(100_000))


def test_tasks_run_beside_those_that_are_parked(slot: Slot) -> None:
    work = slot.work(lambda records: list(records), [1, 2])
    slot.script.flag = ORDER_SUSPEND
    said = slot.run(Start(1, work), Start(2, work), Go(2), Go(1), Go(1), Go(2))
    kinds = [(type(m), m.attempt) for m in said if not isinstance(m, Starved)]  # type: ignore[union-attr]  # Ready is not said here
    assert kinds == [
        (Parked, 1),
        (Parked, 2),
        (Parked, 2),
        (Parked, 1),
        (Returned, 1),
        (Returned, 2),
    ]


def test_parked_task_is_unwound(slot: Slot, tmp_path: Path) -> None:
    mark = tmp_path.parent / f"{tmp_path.name}-mark"

    def tidy(records: Iterator[int]) -> None:
        try:
            for _ in records:
                pass
        except Exception:
            raise AssertionError("a cancellation is no Exception") from None
        finally:
            mark.touch()

    slot.script.flag = ORDER_SUSPEND
    assert slot.run(Start(1, slot.work(tidy, [1, 2])), Throw(1)) == [Parked(1), Unwound(1)]
    assert mark.exists()


def test_checkpoint_suspends_where_there_are_no_records(slot: Slot) -> None:
    def call(a: int, *, b: int) -> int:
        checkpoint()
        return a + b

    work = slot.work(call, ((1,), {"b": 2}), kind="call")
    slot.script.flag = ORDER_SUSPEND
    parked, returned = slot.run(Start(1, work), Go(1))
    assert parked == Parked(1) and isinstance(returned, Returned)


def test_cancelled_at_the_next_record(slot: Slot) -> None:
    slot.script.flag = ORDER_CANCEL
    assert slot.run(Start(1, slot.work(sum, [1, 2]))) == [Unwound(1)]


def test_lost_input_is_named(slot: Slot) -> None:
    work = slot.work(sum, Stored("5.0", 10, "ipc://nowhere"))
    assert slot.run(Start(1, work)) == [Starved(1, "5.0")]


def test_exit_does_not_end_the_hub_nor_travel_as_itself(slot: Slot) -> None:
    def leave() -> None:
        raise SystemExit(3)

    (said,) = slot.run(Start(1, slot.work(leave, ((), {}), kind="call")))
    assert isinstance(said, Raised)
    assert isinstance(pickle.loads(said.failure.exception), RuntimeError)


def test_wrong_number_of_buckets_is_an_error(slot: Slot) -> None:
    work = slot.work(lambda records: [1], [0])
    (said,) = slot.run(Start(1, Work("records", work.function, work.inputs, 2)))
    assert isinstance(said, Raised) and "1 buckets instead of 2" in said.failure.message


def test_nothing_happens_outside_a_slot() -> None:
    checkpoint()


def told(said: list[FromSlot]) -> list[tuple[str, object]]:
    return [
        (
            type(message).__name__,
            pickle.loads(message.results[0])
            if isinstance(message, Part | Returned) and isinstance(message.results[0], bytes)
            else None,
        )
        for message in said
    ]


def test_lot_is_worked_through_task_by_task_until_one_fails(slot: Slot) -> None:
    work = [slot.work(sum, [number]) for number in range(3)]
    assert told(slot.run(Start(1, work[0], work[1:]))) == [
        ("Part", 0),
        ("Part", 1),
        ("Returned", 2),
    ]
    slot.script.said.clear()
    wrong = slot.work(sum, ["text"])
    assert told(slot.run(Start(4, work[0], [wrong, work[1]]))) == [("Part", 0), ("Raised", None)]


def test_lot_ends_after_the_task_at_hand_where_the_flag_or_the_limit_says_so(slot: Slot) -> None:
    works = [slot.work(lambda records: 7, []) for _ in range(4)]
    slot.line.limit = 2
    assert told(slot.run(Start(1, works[0], works[1:]))) == [("Part", 7)] * 2 + [("Cut", None)]
    slot.script.said.clear()
    slot.line.limit, slot.script.flag = 100, ORDER_SUSPEND
    assert told(slot.run(Start(5, works[0], works[1:]))) == [("Part", 7), ("Cut", None)]
    assert isinstance(slot.script.said[-1], Cut)


def test_lot_that_was_suspended_ends_after_the_task_at_hand(slot: Slot) -> None:
    first, second = slot.work(sum, [1, 2]), slot.work(sum, [3])
    slot.script.flag = ORDER_SUSPEND

    def receive() -> ToSlot:
        slot.script.flag = ORDER_NONE if len(slot.script.orders) < 2 else ORDER_SUSPEND
        return Script.receive(slot.script)

    slot.script.receive = receive  # type: ignore[method-assign]  # one order with, one without
    said = slot.run(Start(1, first, [second]), Go(1))
    assert told(said) == [("Parked", None), ("Part", 3), ("Cut", None)]
