"""Requests go first, but the rest has its turn."""

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from colchis_master.service.turns import PASSED_OVER, Turns


class Loop:
    """Turns that end when told; ``done`` has what each of them did."""

    def __init__(self) -> None:
        self.done: list[list[int]] = [[]]
        self.failures: list[Exception] = []
        self._ready: list[Callable[[], None]] = []
        self.turns = Turns(self.soon, self.failures.append)

    def soon(self, call: Callable[[], None]) -> None:
        self._ready.append(call)

    def put(self, number: int) -> None:
        self.turns.put(lambda: self.done[-1].append(number))

    def end_turn(self) -> None:
        self.done.append([])
        ready, self._ready[:] = list(self._ready), []
        for call in ready:
            call()


def test_each_turn_of_the_loop_does_one_piece() -> None:
    loop = Loop()
    for number in range(3):
        loop.put(number)
    for _ in range(4):
        loop.end_turn()
    assert loop.done == [[], [0], [1], [2], []]


def test_a_piece_that_waits_already_can_be_left_at_that() -> None:
    loop = Loop()

    def piece() -> None:
        loop.done[-1].append(1)
        if len(loop.done) == 2:
            loop.turns.put_once(piece)

    for _ in range(3):
        loop.turns.put_once(piece)
    for _ in range(4):
        loop.end_turn()
    assert loop.done == [[], [1], [1], [], []]


def test_what_has_just_arrived_goes_first() -> None:
    loop = Loop()
    loop.put(1)
    loop.turns.first()
    loop.soon(lambda: loop.done[-1].append(100))
    loop.end_turn()
    loop.end_turn()
    assert loop.done == [[], [100], [1]]


def test_a_flood_of_requests_leaves_the_rest_some_turns() -> None:
    loop = Loop()
    for number in range(3):
        loop.put(number)
    for _ in range(3 * (PASSED_OVER + 1)):
        loop.turns.first()
        loop.end_turn()
    assert [one for turn in loop.done for one in turn] == [0, 1, 2]


def test_a_fault_is_told_and_ends_no_other_piece() -> None:
    loop = Loop()
    fault = ValueError("a fault")

    def fail() -> None:
        raise fault

    loop.turns.put(fail)
    loop.put(1)
    loop.end_turn()
    loop.end_turn()
    assert loop.failures == [fault]
    assert loop.done == [[], [], [1]]


def test_nothing_is_done_once_it_is_closed() -> None:
    loop = Loop()
    loop.put(1)
    loop.turns.close()
    loop.put(2)
    loop.end_turn()
    assert loop.done == [[], []]


def test_who_awaits_a_turn_has_it_alone() -> None:
    done: list[str] = []

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        turns = Turns(loop.call_soon, lambda error: None)

        async def work(name: str) -> None:
            for _ in range(3):
                await turns.turn()
                loop.call_soon(done.append, "|")
                done.append(name)

        turns.put(lambda: done.append("p"))
        await asyncio.gather(work("a"), work("b"))

    asyncio.run(scenario())
    assert "".join(done[: done.index("b")]) == "pa|"
    assert "".join(done).replace("|", "") == "pababab"
    assert all(not "".join(done).count(pair) for pair in ("ab", "ba", "aa", "bb"))


@given(st.lists(st.sampled_from(["put", "request", "turn"]), max_size=60))
def test_pieces_keep_their_order_and_none_waits_for_ever(steps: list[str]) -> None:
    loop = Loop()
    put = 0
    since = 0
    for step in steps:
        if step == "put":
            loop.put(put)
            put += 1
        elif step == "request":
            loop.turns.first()
        else:
            waits = put > sum(map(len, loop.done))
            loop.end_turn()
            since = 0 if loop.done[-1] or not waits else since + 1
            assert since <= PASSED_OVER
    for _ in range((put + 1) * (PASSED_OVER + 1)):
        loop.end_turn()
    assert [one for turn in loop.done for one in turn] == list(range(put))
    assert max(map(len, loop.done)) <= 1
    assert loop.failures == []
