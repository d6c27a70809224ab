"""Nothing is carried out before the journal has it, nothing overtakes, nothing is lost."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.wire.messages import Confirm
from colchis_master.core.events import Answer, Emit, Instruction, Persist, Send
from colchis_master.core.records import ContainerRecord, Record
from colchis_master.service import outbox as module
from colchis_master.service.dispatch import AT_ONCE
from colchis_master.service.feed import Feed
from colchis_master.service.outbox import LINES, MOST, Haste, Outbox


def record(number: int, node: str = "n1") -> ContainerRecord:
    return ContainerRecord(f"a/g/{number}", 1, number, "placed", node)


def persist(number: int) -> Persist:
    return Persist(record(number))


def answer(number: int) -> Answer:
    return Answer(number, {})


def send(link: str, number: int) -> Send:
    return Send("n1", link, Confirm(1, "s", number))


def emit(text: str) -> Emit:
    return Emit("placed", "1-1", text, "", "", "")


class Bench:
    """An outbox whose turns end when told; what was written, and what was done."""

    def __init__(self) -> None:
        self.feed = Feed([])
        self.writes: list[tuple[list[Record], list[dict[str, Any]]]] = []
        self.done: list[Instruction] = []
        self.failures: list[Exception] = []
        self.error: Exception | None = None
        self._turn: list[Callable[[], None]] = []
        self.spare: list[Callable[[], None]] = []
        self.held: list[Callable[[], None]] = []
        self.outbox = Outbox(
            self._write,
            self.feed,
            self._carry_out,
            self.failures.append,
            self._turn.append,
            self.spare.append,
            self.held.append,
        )

    def _write(self, records: Sequence[Record], events: Sequence[dict[str, Any]]) -> None:
        if self.error is not None:
            raise self.error
        self.writes.append((list(records), list(events)))
        self.done += [Persist(one) for one in records]

    def _carry_out(self, instruction: Instruction) -> None:
        assert not isinstance(instruction, Persist | Emit)
        if instruction == answer(13):
            raise ValueError("a fault")
        self.done.append(instruction)

    def end_turn(self) -> None:
        self._call(self._turn)

    def find_some_time(self) -> None:
        self._call(self.spare)

    def find_time(self) -> None:
        while self.spare:
            self.find_some_time()

    def let_time_pass(self) -> None:
        self._call(self.held)
        self.find_time()

    def _call(self, calls: list[Callable[[], None]]) -> None:
        due, calls[:] = list(calls), []
        for call in due:
            call()


def test_what_needs_no_write_is_done_at_once() -> None:
    bench = Bench()
    bench.outbox.put([answer(1)], 1.0)
    assert bench.done == [answer(1)]
    bench.end_turn()
    assert bench.writes == []


def test_an_answer_waits_for_its_record_and_what_comes_later_for_both() -> None:
    bench = Bench()
    bench.outbox.put([persist(1), answer(1)], 1.0)
    bench.outbox.put([answer(2)], 1.0)
    assert bench.done == []
    bench.end_turn()
    assert bench.done == [persist(1), answer(1), answer(2)]


def test_all_of_a_turn_goes_into_one_write() -> None:
    bench = Bench()
    for number in range(5):
        bench.outbox.put([persist(number), answer(number)], 1.0)
    bench.end_turn()
    bench.outbox.put([persist(9)], 1.0)
    bench.end_turn()
    assert [len(records) for records, _ in bench.writes] == [5, 1]


def test_what_nobody_waits_for_is_held_back_but_not_for_ever() -> None:
    bench = Bench()
    bench.outbox.put([persist(1)], 1.0, Haste.NONE)
    bench.end_turn()
    bench.outbox.put([persist(2)], 1.0, Haste.NONE)
    bench.end_turn()
    assert bench.done == []
    bench.let_time_pass()
    assert bench.done == [persist(1), persist(2)]
    assert len(bench.writes) == 1


def test_what_somebody_waits_for_goes_with_all_before_it_at_the_end_of_its_turn() -> None:
    bench = Bench()
    bench.outbox.put([persist(1)], 1.0, Haste.NONE)
    bench.end_turn()
    bench.outbox.put([persist(2), answer(2)], 1.0)
    bench.end_turn()
    assert bench.done == [persist(1), persist(2), answer(2)]
    assert len(bench.writes) == 1
    bench.let_time_pass()
    assert len(bench.writes) == 1


def test_what_somebody_waits_for_but_no_task_is_done_when_there_is_time() -> None:
    bench = Bench()
    bench.outbox.put([persist(1), answer(1)], 1.0, Haste.SOME)
    bench.outbox.put([persist(2)], 1.0, Haste.NONE)
    bench.end_turn()
    assert bench.done == []
    bench.find_time()
    assert bench.done == [persist(1), persist(2), answer(1)]


def test_what_a_task_waits_for_takes_with_it_what_waits_for_time() -> None:
    bench = Bench()
    bench.outbox.put([persist(1), answer(1)], 1.0, Haste.SOME)
    bench.outbox.put([persist(2), answer(2)], 1.0, Haste.ALL)
    bench.end_turn()
    assert len(bench.writes) == 1
    assert bench.done == [persist(1), persist(2), answer(2)]
    bench.find_time()
    assert bench.done == [persist(1), persist(2), answer(2), answer(1)]
    bench.outbox.put([persist(3)], 1.0, Haste.NONE)
    bench.find_time()
    assert bench.done[4:] == []


def test_what_is_held_back_has_its_own_time() -> None:
    bench = Bench()
    bench.outbox.put([persist(1)], 1.0)
    bench.end_turn()
    earlier, bench.held[:] = list(bench.held), []
    bench.outbox.put([persist(2)], 1.0, Haste.NONE)
    for call in earlier:
        call()
    bench.find_time()
    assert bench.done == [persist(1)]
    bench.let_time_pass()
    assert bench.done == [persist(1), persist(2)]


def test_a_line_that_cannot_be_logged_keeps_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    class Log:
        def info(self, text: str, **_: object) -> None:
            if text == "event-1":
                raise OSError("no space left on device")
            said.append(text)

    monkeypatch.setattr(module, "log", Log())
    bench = Bench()
    bench.outbox.put([emit(f"event-{number}") for number in range(2 * LINES)], 1.0)
    bench.end_turn()
    for _ in range(2 * LINES):
        bench.find_time()
    assert said == [f"event-{number}" for number in range(2 * LINES) if number != 1]
    bench.outbox.put([emit("event-1"), emit("event-last")], 1.0)
    bench.outbox.close()
    assert said[-1] == "event-last"
    assert bench.failures == []


def test_not_more_than_some_is_held_back() -> None:
    bench = Bench()
    for number in range(MOST):
        bench.outbox.put([persist(number)], 1.0, Haste.NONE)
    bench.find_time()
    assert len(bench.done) == MOST


def test_events_are_logged_in_order_a_few_in_each_turn_and_all_at_the_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    bench = Bench()
    bench.outbox.put([emit(f"event-{number}") for number in range(3 * LINES)], 1.0)
    bench.end_turn()
    assert len(bench.feed.since(0, 100)[0]) == 3 * LINES
    bench.find_time()
    bench.outbox.put([emit("event-last")], 1.0)
    bench.outbox.close()
    said = [word for word in "".join(capfd.readouterr()).split() if word.startswith("event-")]
    assert said == [*(f"event-{number}" for number in range(3 * LINES)), "event-last"]


def test_of_one_key_the_last_record_is_written() -> None:
    bench = Bench()
    bench.outbox.put([persist(1), persist(2)], 1.0)
    bench.outbox.put([Persist(record(1, "n7"))], 1.0)
    bench.end_turn()
    assert bench.writes == [([record(2), record(1, "n7")], [])]


def test_events_are_numbered_and_timed_as_they_happened_and_shown_once_written() -> None:
    bench = Bench()
    bench.outbox.put([emit("first")], 1.0)
    bench.outbox.put([emit("second")], 2.0)
    assert bench.feed.since(0, 10)[0] == []
    bench.end_turn()
    bench.outbox.put([emit("third")], 3.0)
    bench.end_turn()
    events, _ = bench.feed.since(0, 10)
    assert [(e["seq"], e["time"], e["text"]) for e in events] == [
        (1, 1.0, "first"),
        (2, 2.0, "second"),
        (3, 3.0, "third"),
    ]
    assert [e for _, written in bench.writes for e in written] == events


def test_after_a_write_that_failed_nothing_is_carried_out() -> None:
    bench = Bench()
    bench.error = OSError("disk full")
    bench.outbox.put([persist(1), answer(1)], 1.0)
    bench.outbox.put([emit("seen by nobody"), answer(2)], 1.0)
    bench.end_turn()
    bench.outbox.put([persist(3), answer(3)], 1.0)
    bench.outbox.put([answer(4)], 1.0)
    bench.end_turn()
    bench.outbox.flush()
    assert [str(error) for error in bench.failures] == ["disk full"]
    assert bench.done == []
    assert bench.feed.since(0, 10)[0] == []


def test_after_a_fault_in_carrying_out_nothing_more_is() -> None:
    bench = Bench()
    bench.outbox.put([persist(1), answer(13), answer(2)], 1.0)
    bench.end_turn()
    bench.outbox.put([answer(3)], 1.0)
    assert [str(error) for error in bench.failures] == ["a fault"]
    assert bench.done == [persist(1)]


def test_what_no_task_waits_for_is_carried_out_some_at_a_time_and_once_it_is_written() -> None:
    bench = Bench()
    answers = [answer(100 + number) for number in range(AT_ONCE + 1)]
    bench.outbox.put([emit("e"), *answers], 1.0, Haste.SOME)
    bench.find_some_time()
    assert len(bench.writes) == 1
    assert bench.done == []
    bench.find_some_time()
    assert bench.done == answers[:AT_ONCE]
    bench.outbox.put([answer(1)], 1.0, Haste.NONE)
    bench.find_some_time()
    assert bench.done == [*answers, answer(1)]


def test_of_one_write_what_a_task_waits_for_is_carried_out_first() -> None:
    bench = Bench()
    bench.outbox.put([persist(1), send("a", 1), send("b", 2)], 1.0, Haste.NONE)
    bench.outbox.put([persist(2), send("a", 3), answer(4)], 1.0, Haste.ALL)
    bench.end_turn()
    bench.find_time()
    told = [one for one in bench.done if not isinstance(one, Persist)]
    assert told == [send("a", 1), send("a", 3), answer(4), send("b", 2)]
    assert [records for records, _ in bench.writes] == [[record(1), record(2)]]


SOME = st.one_of(
    st.integers(0, 2).map(persist),
    st.integers(3, 5).map(answer),
    st.builds(send, st.sampled_from("ab"), st.integers(0, 5)),
)
PUTS = st.lists(
    st.tuples(
        st.lists(SOME, max_size=4),
        st.sampled_from(Haste),
        st.sampled_from(["goes on", "ends", "has time", "time passes"]),
    ),
    max_size=12,
)


@given(PUTS)
def test_each_agent_and_each_who_waits_is_told_in_order(
    puts: list[tuple[list[Instruction], Haste, str]],
) -> None:
    bench = Bench()
    for instructions, haste, turn in puts:
        bench.outbox.put(instructions, 1.0, haste)
        if turn == "ends":
            bench.end_turn()
        elif turn == "has time":
            bench.find_time()
        elif turn == "time passes":
            bench.let_time_pass()
    bench.outbox.close()
    assert bench.failures == []
    everything = [(one, haste) for instructions, haste, _ in puts for one in instructions]
    kept = [one.record.key for one, _ in everything if isinstance(one, Persist)]
    assert {one.record.key for one in bench.done if isinstance(one, Persist)} == set(kept)
    told = [one for one in bench.done if not isinstance(one, Persist)]
    wanted = [one for one, _ in everything if not isinstance(one, Persist)]
    assert sorted(map(repr, told)) == sorted(map(repr, wanted))
    for link in "ab":
        sent = [one for one in told if isinstance(one, Send) and one.link == link]
        assert sent == [one for one in wanted if isinstance(one, Send) and one.link == link]
    if len({haste for _, haste in everything}) <= 1:
        assert told == wanted
