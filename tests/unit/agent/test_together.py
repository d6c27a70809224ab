"""Many are served by one call, and nobody waits for others to come."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from colchis_agent.service.together import Together


@contextmanager
def together(
    function: Callable[[list[int]], Mapping[int, int | Exception]],
) -> Iterator[Together[int, int]]:
    with ThreadPoolExecutor(1) as threads:
        yield Together(threads, function)


def test_who_comes_while_a_call_is_at_work_is_in_the_next() -> None:
    calls: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def double(keys: list[int]) -> dict[int, int]:
        calls.append(keys)
        begun.set()
        assert go_on.wait(60)
        return {key: 2 * key for key in keys}

    async def main() -> list[int]:
        with together(double) as ask:
            first = asyncio.create_task(ask(1))
            await asyncio.to_thread(begun.wait, 60)
            others = [asyncio.create_task(ask(key)) for key in (2, 3, 4)]
            await asyncio.sleep(0)
            go_on.set()
            return await asyncio.gather(first, *others)

    assert asyncio.run(main()) == [2, 4, 6, 8]
    assert calls == [[1], [2, 3, 4]]


def test_an_error_is_for_whom_it_concerns() -> None:
    def refuse_odd(keys: list[int]) -> dict[int, int | Exception]:
        return {key: ValueError(f"{key} is odd") if key % 2 else key for key in keys}

    async def main() -> None:
        with together(refuse_odd) as ask:
            odd, even = await asyncio.gather(ask(1), ask(2), return_exceptions=True)
            assert even == 2
            with pytest.raises(ValueError, match="1 is odd"):
                assert isinstance(odd, BaseException)
                raise odd

    asyncio.run(main())


def test_all_are_told_when_the_call_itself_fails() -> None:
    def fail(keys: list[int]) -> dict[int, int]:
        raise RuntimeError("no luck")

    async def main() -> None:
        with together(fail) as ask:
            found = await asyncio.gather(ask(1), ask(2), return_exceptions=True)
            assert [str(one) for one in found] == ["no luck", "no luck"]

    asyncio.run(main())
