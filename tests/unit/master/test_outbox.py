"""Nothing is carried out before the journal has it, nothing overtakes, nothing is lost."""

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from colchis_master.core.events import Answer, Emit, Instruction, Persist
from colchis_master.core.records import ContainerRecord, Record
from colchis_master.service.feed import Feed
from colchis_master.service.outbox import Outbox

PATIENCE = 60.0


def persist(number: int) -> Persist:
    return Persist(record(number))


def record(number: int, node: str = "n1") -> ContainerRecord:
    return ContainerRecord(f"a/g/{number}", 1, number, "placed", node)


def answer(number: int) -> Answer:
    return Answer(number, {})


def emit(text: str) -> Emit:
    return Emit("placed", "1-1", text, "", "", "")


class Journal:
    """Writes one at a time, each when it is let; keeps what was written."""

    def __init__(self) -> None:
        self.written: list[tuple[list[Record], list[dict[str, Any]]]] = []
        self.begun: queue.Queue[int] = queue.Queue()
        self.let = threading.Semaphore(0)
        self.error: Exception | None = None

    def write(self, records: Sequence[Record], events: Sequence[dict[str, Any]]) -> None:
        self.begun.put(len(records))
        assert self.let.acquire(timeout=PATIENCE)
        if self.error is not None:
            raise self.error
        self.written.append((list(records), list(events)))


class Bench:
    def __init__(self) -> None:
        self.journal = Journal()
        self.feed = Feed([])
        self.done: list[Instruction] = []
        self.failures: list[BaseException] = []
        self.outbox = Outbox(self.journal.write, self.feed, self.done.append, self.failures.append)

    async def begun(self) -> int:
        """The number of records of a write, once it has begun."""
        return await asyncio.to_thread(self.journal.begun.get, True, PATIENCE)


def run(scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        bench = Bench()
        try:
            await asyncio.wait_for(scenario(bench), PATIENCE)
        finally:
            bench.journal.let.release(1000)
            await bench.outbox.close()

    asyncio.run(all_of_it())


def test_what_needs_no_write_is_done_at_once() -> None:
    async def scenario(bench: Bench) -> None:
        bench.outbox.put([answer(1)], 1.0)
        assert bench.done == [answer(1)]
        assert bench.journal.begun.empty()

    run(scenario)


def test_an_answer_waits_for_its_record_and_what_comes_later_for_both() -> None:
    async def scenario(bench: Bench) -> None:
        bench.outbox.put([persist(1), answer(1)], 1.0)
        assert await bench.begun() == 1
        bench.outbox.put([answer(2)], 2.0)
        assert bench.done == []
        bench.journal.let.release()
        await bench.outbox.close()
        assert bench.done == [persist(1), answer(1), answer(2)]

    run(scenario)


def test_all_that_comes_during_a_write_goes_into_the_next() -> None:
    async def scenario(bench: Bench) -> None:
        bench.outbox.put([persist(0)], 1.0)
        assert await bench.begun() == 1
        for number in range(1, 6):
            bench.outbox.put([persist(number), answer(number)], 1.0)
        bench.journal.let.release()
        assert await bench.begun() == 5
        assert bench.done == [persist(0)]
        bench.journal.let.release()
        await bench.outbox.close()
        assert len(bench.journal.written) == 2

    run(scenario)


def test_of_one_key_the_last_record_is_written() -> None:
    async def scenario(bench: Bench) -> None:
        bench.outbox.put([persist(9)], 1.0)
        await bench.begun()
        bench.outbox.put([persist(1), persist(2)], 1.0)
        bench.outbox.put([Persist(record(1, "n7"))], 1.0)
        bench.journal.let.release(2)
        await bench.outbox.close()
        assert bench.journal.written[1][0] == [record(2), record(1, "n7")]

    run(scenario)


def test_events_are_numbered_and_timed_as_they_happened_and_shown_once_written() -> None:
    async def scenario(bench: Bench) -> None:
        bench.outbox.put([emit("first")], 1.0)
        await bench.begun()
        bench.outbox.put([emit("second")], 2.0)
        bench.outbox.put([emit("third")], 3.0)
        assert bench.feed.since(0, 10)[0] == []
        bench.journal.let.release(2)
        await bench.outbox.close()
        events, _ = bench.feed.since(0, 10)
        assert [(e["seq"], e["time"], e["text"]) for e in events] == [
            (1, 1.0, "first"),
            (2, 2.0, "second"),
            (3, 3.0, "third"),
        ]
        assert [e for _, written in bench.journal.written for e in written] == events

    run(scenario)


def test_after_a_write_that_failed_nothing_is_carried_out() -> None:
    async def scenario(bench: Bench) -> None:
        bench.journal.error = OSError("disk full")
        bench.outbox.put([persist(1), answer(1)], 1.0)
        await bench.begun()
        bench.outbox.put([answer(2)], 1.0)
        bench.journal.let.release()
        await bench.outbox.close()
        assert [str(error) for error in bench.failures] == ["disk full"]
        bench.outbox.put([persist(3), answer(3)], 1.0)
        bench.outbox.put([answer(4)], 1.0)
        assert bench.done == []
        assert bench.journal.begun.empty()

    run(scenario)


def test_a_fault_in_carrying_out_is_told() -> None:
    async def scenario(bench: Bench) -> None:
        def broken(_: Instruction) -> None:
            raise ValueError("a fault")

        outbox = Outbox(bench.journal.write, bench.feed, broken, bench.failures.append)
        outbox.put([persist(1)], 1.0)
        bench.journal.let.release()
        await outbox.close()
        assert [str(error) for error in bench.failures] == ["a fault"]

    run(scenario)


PUTS = st.lists(
    st.lists(st.integers(0, 5).map(lambda n: persist(n) if n < 3 else answer(n)), max_size=4),
    max_size=12,
)


@given(PUTS, st.data())
def test_order_is_kept_and_what_is_done_is_written(
    puts: list[list[Instruction]], data: st.DataObject
) -> None:
    async def scenario(bench: Bench) -> None:
        for instructions in puts:
            bench.outbox.put(instructions, 1.0)
            written = {one.key for records, _ in bench.journal.written for one in records}
            done = {one.record.key for one in bench.done if isinstance(one, Persist)}
            assert done <= written
            if data.draw(st.booleans()):
                bench.journal.let.release()
                await asyncio.sleep(0)
        bench.journal.let.release(100)
        await bench.outbox.close()
        assert bench.done == [one for instructions in puts for one in instructions]

    run(scenario)
