"""The job service as a child of the master: started, kept running, and asked how things stand."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import structlog
import zmq
import zmq.asyncio

from colchis.jobs.sockets import PlainSockets, Sockets
from colchis.wire import jobs as wire
from colchis.wire.codec import WireError
from colchis.wire.tasks import WhoAreYou

log = structlog.get_logger("jobs")

AGAIN = 1.0
"""Seconds before a service that has ended is started again."""
STOP_PATIENCE = 10.0
PING = 5.0


class NoSuchJobError(LookupError):
    """The job service does not know the job."""


class JobDesk:
    """Runs the service with ``config`` (see ``colchis_master.jobs.__main__.Config``).

    ``folder`` is the master's own; the configuration and, where the config names none, the
    journal lie there. ``address`` (default: where the service listens to clients) and ``sockets``
    are how it is asked; with CURVE the key must be on the service's list. Use as an async context
    manager.
    """

    def __init__(
        self,
        config: dict[str, Any],
        folder: Path,
        *,
        address: str = "",
        sockets: Sockets | None = None,
    ) -> None:
        self._config = {"journal": str(folder / "jobs.sqlite"), **config, "tied": True}
        self._file = folder / "jobs.json"
        self._numbers = count(1)
        self._waiting: dict[int, tuple[wire.Query, asyncio.Future[wire.Status]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._address = address or config["clients"]
        self._context = zmq.asyncio.Context()
        make: Any = sockets or PlainSockets()
        self._socket: zmq.asyncio.Socket = make.connect(self._context, self._address)

    async def __aenter__(self) -> "JobDesk":
        self._file.touch(mode=0o600)
        self._file.write_bytes(msgspec.json.encode(self._config))
        loops: tuple[Callable[[], Any], ...] = (self._keep_running, self._listen, self._ping)
        self._tasks = [asyncio.create_task(loop()) for loop in loops]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.close()
        self._context.term()

    async def ask(self, what: str, job: str = "", timeout: float = 10.0) -> Any:
        """``list``, ``status``, ``tasks``, ``cancel``, or ``story`` of a task, as plain data.

        Raises NoSuchJobError, and TimeoutError where the service does not answer.
        """
        if what == "story":
            told = (await self._query("-", job, timeout)).story
            if not told:
                raise NoSuchJobError(f"nothing is known of {job}")
            return {"story": [_step(one, time.time()) for one in told]}
        found = await self._query(job, "", timeout)
        if what == "list":
            return {"jobs": [_plain(one, tasks=False) for one in found.jobs]}
        if not found.jobs:
            raise NoSuchJobError(f"there is no job {job}")
        if what == "tasks":
            return {"tasks": msgspec.to_builtins(found.jobs[0].tasks)}
        if what == "cancel":
            await self._send(wire.CancelJob(job))
            return {"job": job}
        return _plain(found.jobs[0], tasks=True)

    async def _query(self, job: str, task: str, timeout: float) -> wire.Status:
        number = next(self._numbers)
        future: asyncio.Future[wire.Status] = asyncio.get_running_loop().create_future()
        query = wire.Query(number, job, task)
        self._waiting[number] = (query, future)
        try:
            await self._send(query)
            return await asyncio.wait_for(future, timeout)
        finally:
            del self._waiting[number]

    async def _send(self, message: wire.FromClient) -> None:
        await self._socket.send(wire.FROM_CLIENT.encode(message))

    async def _ping(self) -> None:
        await self._send(wire.Hello("master"))
        while True:
            await asyncio.sleep(PING)
            await self._send(wire.Ping("master"))

    async def _listen(self) -> None:
        while True:
            for frame in await self._socket.recv_multipart():
                try:
                    message = wire.TO_CLIENT.decode(frame)
                except WireError as error:
                    log.warning("answer dropped", why=str(error))
                    continue
                if isinstance(message, WhoAreYou):
                    await self._send(wire.Hello("master"))
                    # What was asked of a service that did not know us is asked again.
                    for query, _ in list(self._waiting.values()):
                        await self._send(query)
                elif isinstance(message, wire.Status) and message.request in self._waiting:
                    _, future = self._waiting[message.request]
                    if not future.done():
                        future.set_result(message)

    async def _keep_running(self) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "colchis_master.jobs", str(self._file)
            )
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                with suppress(ProcessLookupError):
                    process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_PATIENCE)
                except TimeoutError:
                    process.kill()
                    await process.wait()
                raise
            log.error("the job service has ended and is started again", code=code)
            await asyncio.sleep(AGAIN)


def _step(told: wire.Told, now: float) -> dict[str, Any]:
    """As in the story of anything else; ``now`` is Unix time."""
    text = f"{told.what}: {told.reason}"
    return {"time": now - told.ago, "text": text, "id": told.task}


def _plain(job: wire.JobStatus, *, tasks: bool) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(job)
    # The service is our child: its monotonic clock is ours.
    plain["submitted"] = time.time() - (time.monotonic() - job.submitted)
    if not tasks:
        del plain["tasks"]
    if job.failure is not None:
        # The pickled exception is for the client's process alone.
        plain["failure"].pop("exception")
    return plain
