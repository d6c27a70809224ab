"""What is carried out in one turn of the loop where no task waits for it."""

from collections.abc import Callable

from colchis.wire.messages import Confirm
from colchis_master.core.events import Answer, Instruction, Send
from colchis_master.service.dispatch import AT_ONCE, Dispatch


def send(link: str, number: int) -> Send:
    return Send("n1", link, Confirm(1, "s", number))


def test_a_task_in_between_hastens_nothing_else() -> None:
    done: list[Instruction] = []
    due: list[Callable[[], None]] = []
    dispatch = Dispatch(done.append, due.append)
    dispatch.put([send("a", 1)], now=False)
    dispatch.put([send("a", 2)], now=True)
    assert done == [send("a", 1), send("a", 2)]
    answers = [Answer(number, {}) for number in range(4 * AT_ONCE)]
    dispatch.put(answers, now=False)
    turns = 0
    while due:
        for some in [due.pop(0) for _ in range(len(due))]:
            some()
        turns += 1
    assert (done[2:], turns) == (answers, 4)
    assert dispatch.idle


def test_what_is_left_for_one_agent_can_be_sent_before_the_rest() -> None:
    done: list[Instruction] = []
    due: list[Callable[[], None]] = []
    dispatch = Dispatch(done.append, due.append)
    dispatch.put([send("a", 1), send("b", 2), Answer(3, {}), send("a", 4)], now=False)
    dispatch.hasten("a")
    dispatch.hasten("a")
    dispatch.hasten("none")
    assert done == [send("a", 1), send("a", 4)]
    dispatch.finish()
    assert done[2:] == [send("b", 2), Answer(3, {})]
