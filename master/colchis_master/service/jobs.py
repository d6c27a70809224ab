"""The job service: a process of its own, started by the master and asked on behalf of the API."""

import asyncio
import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import msgspec
import structlog
import zmq
import zmq.asyncio

from colchis.wire.codec import WireError
from colchis.wire.jobs import FROM_CLIENT, TO_CLIENT, CancelJob, Hello, Query, Status
from colchis.wire.work import PROTOCOL
from colchis_master.api.control import ControlError
from colchis_master.service.settings import MasterSettings

log = structlog.get_logger(__name__)

PATIENCE = 5.0
"""Seconds within which the job service must answer."""
RESTART = 1.0


class Jobs:
    """Keeps the job service running; with no addresses in the settings there is none."""

    def __init__(self, settings: MasterSettings) -> None:
        self._settings = settings
        self._enabled = bool(settings.jobs_clients and settings.jobs_executors)
        self._task: asyncio.Task[None] | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._requests = 0

    async def __aenter__(self) -> "Jobs":
        if self._enabled:
            self._task = asyncio.create_task(self._keep_running(), name="jobs")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        child = self._child
        if child is not None and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            try:
                await asyncio.wait_for(child.wait(), PATIENCE)
            except TimeoutError:
                child.kill()
                await child.wait()

    async def _keep_running(self) -> None:
        config = self._write_config()
        while True:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "colchis_master.jobs", str(config)
            )
            code = await self._child.wait()
            log.error("the job service ended and is started again", code=code)
            await asyncio.sleep(RESTART)

    def _write_config(self) -> Path:
        settings = self._settings
        path = settings.state / "jobs.json"
        config = {
            "clients": settings.jobs_clients,
            "executors": settings.jobs_executors,
            "journal": str(settings.state / "jobs.db"),
            "policy": settings.policy,
            "tied": True,
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(config))
        return path

    async def list(self) -> list[dict[str, Any]]:
        """All jobs, without their tasks."""
        return [_plain(job) for job in (await self._query("")).jobs]

    async def show(self, job: str) -> dict[str, Any]:
        """One job with its tasks. Raises ControlError where there is none."""
        found = [one for one in (await self._query(job)).jobs if one.job == job]
        if not found:
            raise ControlError(404, f"there is no job {job}")
        return _plain(found[0])

    async def cancel(self, job: str) -> dict[str, Any]:
        """End a job. Raises ControlError where there is none."""
        await self.show(job)
        await self._query(job, CancelJob(job))
        return {"job": job, "state": "cancelling"}

    async def _query(self, job: str, *before: CancelJob) -> Status:
        if not self._enabled:
            raise ControlError(409, "this master runs no job service")
        async with self._turn:
            context = zmq.asyncio.Context()
            socket = context.socket(zmq.DEALER)
            socket.linger = 0
            try:
                socket.connect(_reachable(self._settings.jobs_clients))
                self._requests += 1
                hello = Hello(PROTOCOL, f"master-{secrets.token_hex(4)}")
                for message in (hello, *before, Query(self._requests, job)):
                    await socket.send(FROM_CLIENT.encode(message))
                return await asyncio.wait_for(self._answer(socket), PATIENCE)
            except TimeoutError:
                raise ControlError(504, "the job service does not answer") from None
            finally:
                socket.close(0)
                context.term()

    async def _answer(self, socket: zmq.asyncio.Socket) -> Status:
        while True:
            for frame in await socket.recv_multipart():
                try:
                    message = TO_CLIENT.decode(frame)
                except WireError:
                    continue
                if isinstance(message, Status) and message.request == self._requests:
                    return message


def _reachable(address: str) -> str:
    return address.replace("tcp://0.0.0.0:", "tcp://127.0.0.1:").replace("tcp://*:", "tcp://127.0.0.1:")


def _plain(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found
