"""The solver in a process of its own, killed and started again when it overruns or crashes.

Parent and child speak over a private pipe that nobody else can reach: length-prefixed pickles of
the vocabulary's own types. The child is started as a fresh interpreter, so that it inherits no
threads, sockets or locks of the master.
"""

import asyncio
import contextlib
import io
import pickle
import random
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO

from colchis.jobs.urgency import wake_normally
from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, ContainerId
from colchis.model.plan import Plan
from colchis_master.lra.delta import Delta, apply, delta
from colchis_master.lra.rebalance import Moves, rebalance
from colchis_master.lra.schedule import schedule
from colchis_master.lra.settings import Settings

_LENGTH = struct.Struct("!Q")
MAX_MESSAGE = 1 << 32
GRACE = 2.0
"""Seconds beyond its time limit after which the child counts as stuck."""
START = 60.0
"""Seconds within which a new child must be ready."""
FALLBACK = "serial"
BALANCE_TIME = 20.0
"""Seconds for finding moves; those found by then are the answer."""
BALANCE_LIMIT = 60.0
"""Seconds after which a child that looks for moves counts as stuck."""
PART = 20
"""Nodes, containers or rules that are pickled at a time."""

NICE = 10
"""How far the child steps back when there are too few cores: tasks do not wait for a plan."""


@dataclass(frozen=True, slots=True)
class Request:
    cluster: Cluster
    apps: tuple[AppSpec, ...]
    algorithm: str
    settings: Settings
    seed: int
    begun: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Balance:
    """Moves are wanted, see ``colchis_master.lra.rebalance``."""

    cluster: Cluster
    settings: Settings
    max_moves: int
    per_app: Mapping[str, int]
    movable: Collection[ContainerId]


@dataclass(frozen=True, slots=True)
class Failure:
    """The child's scheduler raised."""

    reason: str


class SolverLostError(Exception):
    """The child ended, or had to be ended, without an answer."""


async def _yield() -> None:
    await asyncio.sleep(0)


class SolverProcess:
    """One child that solves one round after another.

    Before each piece of work that takes a while here, ``turn`` is awaited.
    """

    def __init__(
        self,
        *,
        algorithm: str = "ilp",
        seed: int = 0,
        grace: float = GRACE,
        command: Sequence[str] = (sys.executable, "-m", "colchis_master.lra.process"),
        turn: Callable[[], Awaitable[None]] = _yield,
    ) -> None:
        self._algorithm = algorithm
        self._random = random.Random(seed)
        self._grace = grace
        self._command = tuple(command)
        self._wait_for_turn = turn
        self._child: asyncio.subprocess.Process | None = None
        self._is_up = False
        self._known = Cluster()
        self._turn = asyncio.Lock()
        self.restarts = 0

    async def __aenter__(self) -> "SolverProcess":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Have the child ready before the first round; if it is not, a round will tell why."""
        async with self._turn:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._ready()

    async def solve(
        self,
        cluster: Cluster,
        apps: Sequence[AppSpec],
        settings: Settings,
        algorithm: str | None = None,
        begun: Collection[str] = (),
    ) -> Plan:
        """The child's plan, as of ``colchis_master.lra.schedule``. Where it crashes, raises or
        overruns its time limit it is started again, and the plan is the ``serial`` heuristic's,
        with a note that says why."""
        chosen = algorithm or self._algorithm
        async with self._turn:
            seed = self._random.getrandbits(32)
            request = Request(cluster, tuple(apps), chosen, settings, seed, frozenset(begun))
            try:
                return await self._ask(request)
            except SolverLostError as error:
                why = f"{chosen} failed: {error}; planned by {FALLBACK} instead"
            try:
                plan = await self._ask(replace(request, algorithm=FALLBACK))
            except SolverLostError as error:
                why = f"{why} (in the master itself: {error})"
                plan = await asyncio.to_thread(run, replace(request, algorithm=FALLBACK))
            return replace(plan, notes=(*plan.notes, why))

    async def rebalance(self, request: Balance) -> Moves:
        """The child's moves. Raises SolverLostError where it gave none in time."""
        async with self._turn:
            answer = await self._exchange(request, BALANCE_LIMIT)
        assert isinstance(answer, Moves)
        return answer

    async def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        await child.wait()
        if child.stdin is not None:
            child.stdin.close()
            with contextlib.suppress(OSError):
                await child.stdin.wait_closed()

    async def _ask(self, request: Request) -> Plan:
        answer = await self._exchange(request, request.settings.time_limit)
        assert isinstance(answer, Plan)
        return answer

    async def _exchange(self, request: Request | Balance, limit: float) -> object:
        try:
            child = await self._ready()
            await self._wait_for_turn()
            change = delta(self._known, request.cluster)
            self._known = request.cluster
            payload = await _pickled(
                change, replace(request, cluster=Cluster()), self._wait_for_turn
            )
            data = await asyncio.wait_for(_exchange(child, payload), limit + self._grace)
            await self._wait_for_turn()
            answer: object = pickle.loads(data)  # noqa: S301 - our own child
        except TimeoutError:
            await self._lose()
            raise SolverLostError(
                f"no answer {self._grace:g} s after its time limit of {limit:g} s"
            ) from None
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            ended = self._child
            if ended is not None:
                # Signalling a process that has just died would lose its exit code.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), START)
            await self._lose()
            code = None if ended is None else ended.returncode
            raise SolverLostError(
                f"its process ended (exit code {code}; {type(error).__name__})"
            ) from None
        except BaseException:
            # What the child has of the cluster is not known any more.
            await self._lose()
            raise
        if isinstance(answer, Failure):
            raise SolverLostError(answer.reason)
        return answer

    async def _lose(self) -> None:
        self.restarts += 1
        await self.close()

    async def _ready(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None and self._is_up:
            return self._child
        await self.close()
        self._is_up = False
        self._known = Cluster()
        self._child = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        stdout = self._child.stdout
        assert stdout is not None
        await asyncio.wait_for(stdout.readexactly(1), START)
        self._is_up = True
        return self._child


async def _exchange(child: asyncio.subprocess.Process, payload: memoryview) -> bytes:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(_LENGTH.pack(len(payload)))
    child.stdin.write(payload)
    await child.stdin.drain()
    (length,) = _LENGTH.unpack(await child.stdout.readexactly(_LENGTH.size))
    if length > MAX_MESSAGE:
        raise EOFError("the answer is too long")
    return await child.stdout.readexactly(length)


async def _pickled(
    change: Delta, request: Request | Balance, turn: Callable[[], Awaitable[None]]
) -> memoryview:
    """As pickles of parts, and then of the whole, which refers to the parts.

    Pickling all the nodes and containers of a cluster at once would hold up the master's loop for
    as long.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    parts: tuple[tuple[object, ...], ...] = (change.nodes, change.containers, change.rules)
    for whole in (*parts, getattr(request, "apps", ())):
        for first in range(0, len(whole), PART):
            await turn()
            pickler.dump(whole[first : first + PART])
    await turn()
    pickler.dump((change, request))
    return buffer.getbuffer()


def _unpickled(data: bytes) -> tuple[Delta, Request | Balance]:
    unpickler = pickle.Unpickler(io.BytesIO(data))  # noqa: S301 - from our own parent
    while True:
        match unpickler.load():
            case (Delta() as change, (Request() | Balance()) as request):
                return change, request


def run(request: Request, clock: Callable[[], float] = time.monotonic) -> Plan:
    """Solve a request where it is."""
    return schedule(
        request.cluster,
        request.apps,
        algorithm=request.algorithm,
        settings=request.settings,
        clock=clock,
        rng=random.Random(request.seed),
        begun=request.begun,
    )


def _answer(request: Request | Balance) -> Plan | Moves:
    if isinstance(request, Request):
        return run(request)
    end = time.monotonic() + BALANCE_TIME
    return rebalance(
        request.cluster,
        request.settings,
        request.max_moves,
        per_app=request.per_app,
        movable=request.movable,
        stop=lambda: time.monotonic() > end,
    )


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until the other end is closed."""
    answers.write(b"+")
    answers.flush()
    cluster = Cluster()
    while len(head := requests.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        change, request = _unpickled(requests.read(length))
        cluster = apply(cluster, change)
        request = replace(request, cluster=cluster)
        answer: Plan | Moves | Failure
        try:
            answer = _answer(request)
        except Exception as error:  # reported to the parent, which has a fallback
            answer = Failure(f"{type(error).__name__}: {error}")
        payload = pickle.dumps(answer)
        answers.write(_LENGTH.pack(len(payload)) + payload)
        answers.flush()


def main() -> None:
    """The child: the answers' pipe is moved off standard output, where libraries may print."""
    import os
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    # Inherited from the master, whose tasks it would keep from their cores.
    wake_normally()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # What is pickled here is to be found there, so it may not be of the module ``__main__``.
    from colchis_master.lra import process
    from colchis_master.lra.highs import quiet_stdout

    with quiet_stdout():
        import highspy

        highspy.Highs()  # type: ignore[no-untyped-call] # untyped library
    process.serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    # What is pickled must be of this module under its own name, on both ends of the pipe.
    from colchis_master.lra.process import main as serve_parent

    serve_parent()
