"""What runs inside a slot process: tasks as greenlets on its main thread.

The hub waits for an order, switches into a task, and comes back when the task ends or yields. A
task yields where the iterator over its records finds the flag set, from whatever depth of calls:
a greenlet keeps its whole stack. Nothing runs beside the task, so no thread competes for the
interpreter lock with it.
"""

import gc
import os
import pickle
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from operator import length_hint
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
from greenlet import getcurrent, greenlet

from colchis.jobs.task import TaskCancelledError, point
from colchis.wire.work import MAX_INLINE, MAX_RESULT, Failure, Input, Stored, Work
from colchis_agent.executor.board import ORDER_CANCEL, ORDER_NONE, Line
from colchis_agent.executor.channel import (
    Cut,
    FromSlot,
    Go,
    Parked,
    Part,
    Raised,
    Returned,
    Start,
    Starved,
    ToSlot,
    Unwound,
)

FUNCTIONS_KEPT = 64
_PARKED = object()


class InputLostError(Exception):
    """An input is nowhere to be had."""

    def __init__(self, key: str) -> None:
        super().__init__(f"input {key} is lost")
        self.key = key


class Results(Protocol):
    """Where large results are kept and fetched; see ``store``."""

    def get(self, stored: Stored) -> bytes:
        """The bytes of a result; raises InputLostError."""

    def put(self, key: str, data: bytes) -> None:
        """Keep a result."""


class Channel(Protocol):
    """The supervisor, as the hub sees it."""

    def send(self, message: FromSlot) -> None:
        """Tell."""

    def tell(self, message: Part) -> None:
        """Tell without waking."""

    def receive(self) -> ToSlot:
        """Wait for an order."""


class Records(Iterator[Any]):
    """A task's records, over all of its inputs, and how far it has come with them."""

    def __init__(self, inputs: list[Input], load: Callable[[Input], Any]) -> None:
        self._inputs = inputs
        self._load = load
        self._done = 0
        self._current: Iterator[Any] = iter(())
        self._length = 0
        self._records = self._walk()

    def __iter__(self) -> Iterator[Any]:
        # The generator itself: one call per record less than through __next__.
        return self._records

    def __next__(self) -> Any:
        return next(self._records)

    def _walk(self) -> Iterator[Any]:
        flag, pause = point.flag, point.pause
        for number, item in enumerate(self._inputs):
            self._done = number
            records: Iterable[Any] = self._load(item)
            self._length = length_hint(records)
            self._current = iter(records)
            del records
            for record in self._current:
                yield record
                if flag[0]:
                    pause()
        self._done = len(self._inputs)

    def progress(self) -> float:
        """Part of the records done, 0 to 1; -1 where the inputs do not know their length."""
        if self._done >= len(self._inputs):
            return 1.0
        part = 1 - length_hint(self._current) / self._length if self._length else 0.0
        return (self._done + part) / len(self._inputs)


class Hub:
    """The loop of one slot process."""

    def __init__(self, channel: Channel, line: Line, functions: Path, results: Results) -> None:
        self._channel = channel
        self._line = line
        self._functions = functions
        self._results = results
        self._cache: OrderedDict[str, Callable[..., Any]] = OrderedDict()
        self._parked: dict[int, greenlet] = {}
        self._records: dict[int, Records] = {}
        self._short: set[int] = set()
        self._current = -1
        self._hub = getcurrent()
        self._main = threading.get_ident()
        self._pid = os.getpid()
        self._cancelled = False
        point.flag = line.word()
        point.pause = self._pause

    def run(self) -> None:
        """Carry out orders until the channel ends; raises ChannelError then."""
        while True:
            order = self._channel.receive()
            if isinstance(order, Start):
                task = greenlet(self._perform)
                argument: object = order
            else:
                task = self._parked.pop(order.attempt)
                argument = isinstance(order, Go)
            self._current = order.attempt
            self._line.progress = -1.0
            answer = task.switch(argument)
            if os.getpid() != self._pid:
                # The task forked, and its child came back here as if it were the slot.
                os._exit(0)
            if answer is _PARKED:
                # The rest of a lot is given back with every suspension.
                self._short.add(order.attempt)
                answer = Parked(order.attempt)
            else:
                self._records.pop(order.attempt, None)
                self._short.discard(order.attempt)
                sys.stdout.flush()
            self._channel.send(answer)

    def _pause(self) -> None:
        """Called by a task where its flag is set."""
        line = self._line
        if line.asked:
            line.asked = False
            records = self._records.get(self._current)
            if records is not None:
                line.progress = records.progress()
        if line.order == ORDER_NONE or threading.get_ident() != self._main:
            return
        if os.getpid() != self._pid:
            return
        if line.order != ORDER_CANCEL:
            here = getcurrent()
            if here is self._hub:
                return
            self._parked[self._current] = here
            if self._hub.switch(_PARKED) and line.order != ORDER_CANCEL:
                return
        raise TaskCancelledError

    def _perform(self, order: Start) -> FromSlot:
        """The body of an attempt's greenlet; what it returns goes to the supervisor."""
        attempt, line = order.attempt, self._line
        answer = self._try(attempt, attempt, order.work)
        for index, work in enumerate(order.more, 1):
            if not isinstance(answer, Returned) or os.getpid() != self._pid:
                break
            sys.stdout.flush()
            # Told first, then the limit is read: see ``Supervisor._give_back``.
            self._channel.tell(Part(attempt, index - 1, answer.results, answer.seconds))
            if line.order != ORDER_NONE or index >= line.limit or attempt in self._short:
                return Cut(attempt)
            line.progress = -1.0
            answer = self._try(attempt, attempt + index, work)
        return answer

    def _try(self, attempt: int, number: int, work: Work) -> FromSlot:
        """One task; ``number`` names its results."""
        began = time.monotonic()
        try:
            value = self._call(attempt, work)
            results = self._keep(number, work, value)
        except TaskCancelledError:
            return Unwound(attempt)
        except InputLostError as error:
            return Starved(attempt, error.key)
        except BaseException as error:
            return Raised(attempt, failure_of(error))
        return Returned(attempt, results, time.monotonic() - began)

    def _call(self, attempt: int, work: Work) -> Any:
        function = self._function(work.function)
        if work.kind == "call":
            args, kwargs = self._load(work.inputs[0])
            return function(*args, **kwargs)
        records = Records(work.inputs, self._load)
        self._records[attempt] = records
        value = function(iter(records))
        # A generator is run here, where it can still be suspended.
        return list(value) if isinstance(value, Iterator) else value

    def _load(self, item: Input) -> Any:
        return pickle.loads(item if isinstance(item, bytes) else self._results.get(item))  # noqa: S301 - the one place where users' data is meant to be unpickled

    def _keep(self, number: int, work: Work, value: Any) -> list[bytes | int]:
        if not work.buckets:
            return [self._keep_one(f"{number}.0", value)]
        values = list(value)
        if len(values) != work.buckets:
            raise ValueError(f"{len(values)} buckets instead of {work.buckets}")
        return [self._keep_one(f"{number}.{i}", one) for i, one in enumerate(values)]

    def _keep_one(self, key: str, value: Any) -> bytes | int:
        data = dumps(value)
        if len(data) <= MAX_INLINE:
            return data
        if len(data) > MAX_RESULT:
            raise ValueError(f"a result of {len(data)} bytes; at most {MAX_RESULT} are kept")
        self._results.put(key, data)
        return len(data)

    def _function(self, digest: str) -> Callable[..., Any]:
        found = self._cache.get(digest)
        if found is None:
            try:
                data = (self._functions / digest).read_bytes()
            except OSError as error:
                raise RuntimeError(
                    "the task's function is not here: the disk of its executor did not take it "
                    f"({error.strerror})"
                ) from None
            found = pickle.loads(data)  # noqa: S301 - as above
            self._cache[digest] = found
            if len(self._cache) > FUNCTIONS_KEPT:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(digest)
        return found


def dumps(value: Any) -> bytes:
    """Pickle; by value what was defined in the user's script, which is no module here."""
    try:
        return pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        return bytes(cloudpickle.dumps(value, protocol=5))


def failure_of(error: BaseException) -> Failure:
    """What the master and the user are told of an exception."""
    text = "".join(traceback.format_exception(error))[-60_000:]
    message = f"{type(error).__name__}: {error}"[:60_000]
    if isinstance(error, SystemExit):
        # Raised again at the client, it would end the client.
        error = RuntimeError(f"the task called sys.exit({error.code!r})")
    try:
        data = dumps(error)
        pickle.loads(data)  # noqa: S301 - our own bytes: some exceptions pickle but do not unpickle
    except Exception:
        data = b""
    return Failure(message=message, traceback=text, exception=data if len(data) < 2**20 else b"")


def watch_garbage_collection(line: Line) -> None:
    """Add up the time of collections on the board."""
    began = 0.0

    def watch(phase: str, _info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            line.gc_seconds += time.perf_counter() - began

    gc.callbacks.append(watch)
