"""Carries out what the core wants done to containers, through the driver.

The driver's calls block, so they run in threads; those for one container one after the other, in
the order given, those for different ones side by side. Suspending and resuming wait for no other
work, and are done in one go for containers that come together.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from colchis.wire.messages import Exit, ExitKind
from colchis_agent.cgroups import CgroupError, CgroupTree
from colchis_agent.core import events as e
from colchis_agent.driver import (
    ContainerRef,
    DriverError,
    Ended,
    Gone,
    LaunchSpec,
    ProcessDriver,
    Running,
)
from colchis_agent.driver import Exit as DriverExit
from colchis_agent.driver import ExitKind as DriverExitKind
from colchis_agent.service.output import Outputs
from colchis_agent.service.state import StateError
from colchis_agent.service.together import Together

T = TypeVar("T")
THREADS = 8
PAUSE = 0.02
FREEZE_SECONDS = 30.0
CLEAR_SECONDS = 20.0

KINDS: dict[DriverExitKind, ExitKind] = {
    DriverExitKind.EXITED: "exited",
    DriverExitKind.SIGNALED: "signal",
    DriverExitKind.OOM: "oom",
    DriverExitKind.FAILED: "launch-failed",
    DriverExitKind.LOST: "lost",
}

log = structlog.get_logger(__name__)


class Drive:
    """``specify`` turns a launch into what the driver needs; ``tell`` takes what came of it.

    ``broken`` is told of an error that nobody foresaw: some container may then be without care.
    """

    def __init__(
        self,
        driver: ProcessDriver,
        tree: CgroupTree,
        outputs: Outputs,
        specify: Callable[[e.Launch], LaunchSpec],
        tell: Callable[[e.Event], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._driver = driver
        self._tree = tree
        self._outputs = outputs
        self._specify = specify
        self._tell = tell
        self._broken = broken
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="driver")
        self._quick = ThreadPoolExecutor(1, thread_name_prefix="suspension")
        self._suspend = Together(self._quick, driver.suspend)
        self._resume = Together(self._quick, driver.resume)
        self._queues: dict[str, deque[Callable[[], Awaitable[None]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watched: dict[ContainerRef, int] = {}

    def obey(self, instruction: e.Instruction) -> bool:
        """Begin to carry an instruction out; False if it is not about a container's processes."""
        match instruction:
            case e.Launch(ref):
                self._submit(ref, lambda: self._launch(instruction))
            case e.Watch(ref):
                self._submit(ref, lambda: self._watch(ref))
            case e.Freeze(ref, operation):
                self._submit(ref, lambda: self._freeze(ref, operation))
            case e.Thaw(ref, operation):
                self._submit(ref, lambda: self._thaw(ref, operation))
            case e.Terminate(ref):
                self._submit(ref, lambda: self._quietly(self._driver.terminate, ref))
            case e.Kill(ref):
                self._submit(ref, lambda: self._quietly(self._driver.kill, ref))
            case e.Clear(ref):
                self._submit(ref, lambda: self._quietly(self._clear, ref))
            case e.Discard(ref):
                self._submit(ref, lambda: self._quietly(self._discard, ref))
            case _:
                return False
        return True

    async def adopt(self) -> dict[ContainerRef, e.AliveLife | e.EndedLife | None]:
        """What the driver finds; see ``Adopted``."""
        return await self._thread(self._adopt_all)

    async def drain(self) -> None:
        """Wait until nothing is being carried out."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Let go of everything; containers go on."""
        for descriptor in self._watched.values():
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        self._watched.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for threads in (self._threads, self._quick):
            threads.shutdown(wait=True, cancel_futures=True)

    def _submit(self, ref: ContainerRef, work: Callable[[], Awaitable[None]]) -> None:
        queue = self._queues.get(ref.container)
        if queue is not None:
            queue.append(work)
            return
        self._queues[ref.container] = deque([work])
        self._spawn(self._work(ref.container))

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("containers can no longer be cared for", exc_info=error)
            self._broken(error)

    async def _work(self, container: str) -> None:
        queue = self._queues[container]
        try:
            while queue:
                await queue.popleft()()
        finally:
            del self._queues[container]

    async def _thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _quietly(self, function: Callable[[ContainerRef], object], ref: ContainerRef) -> None:
        try:
            await self._thread(function, ref)
        except (DriverError, CgroupError) as error:
            log.warning("a container could not be handled", container=str(ref), error=str(error))

    async def _launch(self, instruction: e.Launch) -> None:
        ref = instruction.ref
        try:
            spec = await self._thread(self._specify, instruction)
            await self._thread(self._driver.launch, spec)
            state = await self._thread(self._driver.inspect, ref)
        except (DriverError, StateError, OSError) as error:
            self._tell(e.LaunchFailed(ref, str(error)))
            return
        failed = isinstance(state, Ended) and state.exit.kind is DriverExitKind.FAILED
        if not failed:
            pid = state.pid if isinstance(state, Running) else None
            self._tell(e.Launched(ref, pid, time.time()))
        await self._watch(ref)

    async def _watch(self, ref: ContainerRef) -> None:
        """Tell when the life ends; at once if it has."""
        descriptor = None
        try:
            descriptor = await self._thread(self._driver.exit_descriptor, ref)
        except DriverError as error:
            log.warning("a container is watched by looking", container=str(ref), error=str(error))
        if descriptor is None:
            self._spawn(self._ended(ref))
            return
        former = self._watched.pop(ref, None)
        loop = asyncio.get_running_loop()
        if former is not None:
            loop.remove_reader(former)
            os.close(former)
        self._watched[ref] = descriptor
        loop.add_reader(descriptor, self._supervisor_gone, ref)

    def _supervisor_gone(self, ref: ContainerRef) -> None:
        descriptor = self._watched.pop(ref)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._spawn(self._ended(ref))

    async def _ended(self, ref: ContainerRef) -> None:
        """Tell how the life ended; watch it again if it has not."""
        state = await self._thread(self._driver.inspect, ref)
        if isinstance(state, Running):
            await asyncio.sleep(PAUSE)
            await self._watch(ref)
            return
        end = Exit("lost", detail="its files are gone")
        if isinstance(state, Ended):
            end = wire_exit(state.exit)
        self._tell(e.Exited(ref, end, await self._thread(self._outputs.length, ref)))

    async def _freeze(self, ref: ContainerRef, operation: int) -> None:
        deadline = time.monotonic() + FREEZE_SECONDS
        try:
            while not await self._suspend(ref):
                if self._queues[ref.container]:
                    return
                if time.monotonic() > deadline:
                    raise DriverError(f"{ref} does not leave its cores")
                await asyncio.sleep(PAUSE)
        except DriverError as error:
            self._tell(e.OperationFailed(ref, operation, str(error)))
        else:
            self._tell(e.Frozen(ref, operation))

    async def _thaw(self, ref: ContainerRef, operation: int) -> None:
        try:
            await self._resume(ref)
        except DriverError as error:
            self._tell(e.OperationFailed(ref, operation, str(error)))
        else:
            self._tell(e.Thawed(ref, operation))

    def _adopt_all(self) -> dict[ContainerRef, e.AliveLife | e.EndedLife | None]:
        found: dict[ContainerRef, e.AliveLife | e.EndedLife | None] = {}
        for ref, state in self._driver.adopt_all().items():
            if isinstance(state, Running):
                try:
                    frozen = self._driver.is_suspended(ref)
                except DriverError:
                    frozen = False
                found[ref] = e.AliveLife(state.pid, frozen)
            elif isinstance(state, Ended):
                found[ref] = e.EndedLife(wire_exit(state.exit), self._outputs.length(ref))
            elif not isinstance(state, Gone):
                found[ref] = None
        return found

    def _clear(self, ref: ContainerRef) -> None:
        self._kill_all(ref)
        name = self._driver.group(ref)
        if self._tree.exists(name):
            self._tree.remove(name)

    def _kill_all(self, ref: ContainerRef) -> None:
        deadline = time.monotonic() + CLEAR_SECONDS
        while not self._driver.kill(ref):
            if time.monotonic() > deadline:
                raise DriverError(f"some processes of {ref} will not die")
            time.sleep(PAUSE)

    def _discard(self, ref: ContainerRef) -> None:
        deadline = time.monotonic() + CLEAR_SECONDS
        while isinstance(self._driver.inspect(ref), Running) and time.monotonic() < deadline:
            self._driver.kill(ref)
            time.sleep(PAUSE)
        self._driver.discard(ref)
        self._outputs.forget(ref)


def wire_exit(end: DriverExit) -> Exit:
    """The driver's reason in the words of the wire."""
    return Exit(KINDS[end.kind], end.code, end.signal, end.message)
