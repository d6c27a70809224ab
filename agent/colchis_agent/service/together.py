"""One call for many things that are asked for one by one."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Together(Generic[K, T]):
    """Joins what is asked while a call is at work into the next one; nobody waits for company.

    ``function`` gives an outcome for each thing, or an error to be raised for whoever asked for
    it. ``threads`` has one thread, so that one call runs after the other. The same thing is not
    asked for again before its outcome is there.
    """

    def __init__(
        self, threads: Executor, function: Callable[[list[K]], Mapping[K, T | Exception]]
    ) -> None:
        self._threads = threads
        self._function = function
        self._asked: deque[K] = deque()
        self._outcomes: dict[K, T | Exception] = {}

    async def __call__(self, key: K) -> T:
        """The outcome for this thing."""
        self._asked.append(key)
        await asyncio.get_running_loop().run_in_executor(self._threads, self._work)
        outcome = self._outcomes.pop(key)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _work(self) -> None:
        # Whoever comes first does it for all; those after find nothing left to do.
        keys = [self._asked.popleft() for _ in range(len(self._asked))]
        if keys:
            try:
                self._outcomes.update(self._function(keys))
            except Exception as error:
                self._outcomes.update(dict.fromkeys(keys, error))
