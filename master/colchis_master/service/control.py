"""What the HTTP API asks of the master."""

import asyncio
import codecs
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from colchis.errors import InputError
from colchis.model.app import AppSpec
from colchis.model.cluster import ContainerId
from colchis.specs import parse_rules
from colchis.wire.messages import LogChunk, ReadLog
from colchis_master.api.control import ControlError, Json
from colchis_master.core.apps import app_state
from colchis_master.core.core import MasterCore
from colchis_master.core.entries import AppEntry
from colchis_master.core.events import (
    AddRules,
    Answer,
    Remove,
    RemoveRule,
    Request,
    SetDrained,
    SetSuspended,
    Submit,
)
from colchis_master.core.views import Views
from colchis_master.lra import ALGORITHMS, Settings, UnknownContainerError, explain
from colchis_master.lra.process import SolverProcess
from colchis_master.service.events import EventLog
from colchis_master.service.jobs import Jobs
from colchis_master.service.metrics import metrics

LOG_PATIENCE = 10.0
"""Seconds within which an agent must answer for a log."""


class MasterControl:
    """``post`` gives the core an event; what it answers comes back by ``answered``."""

    def __init__(
        self,
        core: MasterCore,
        events: EventLog,
        post: Callable[[Request], None],
        send: Callable[[str, ReadLog], bool],
        lra: Settings,
        jobs: Jobs,
    ) -> None:
        self._core = core
        self._events = events
        self._post = post
        self._send = send
        self._lra = lra
        self._jobs = jobs
        self._views = Views(core)
        self._solver = SolverProcess()
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._logs: dict[int, asyncio.Future[LogChunk]] = {}

    async def close(self) -> None:
        await self._solver.close()

    # --- answers --------------------------------------------------------------------------------

    def answered(self, answer: Answer) -> None:
        """The core's answer to a request."""
        waiting = self._waiting.pop(answer.request, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def log_read(self, chunk: LogChunk) -> None:
        """An agent's answer to a reading of a log."""
        waiting = self._logs.pop(chunk.request, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(chunk)

    async def _ask(self, make: Callable[[int], Request]) -> Json:
        self._requests += 1
        number = self._requests
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._post(make(number))
        answer = await waiting
        if answer.status == 422:
            raise InputError.of(answer.error)
        if answer.status:
            raise ControlError(answer.status, answer.error)
        return dict(answer.body)

    # --- requests -------------------------------------------------------------------------------

    async def submit(self, apps: Sequence[AppSpec], *, update: bool) -> Json:
        return await self._ask(lambda n: Submit(n, tuple(apps), update, time.time()))

    async def remove(self, app: str, grace: float) -> Json:
        return await self._ask(lambda n: Remove(n, app, grace))

    async def suspend(
        self, app: str, containers: Sequence[str] | None, group: str | None
    ) -> Json:
        return await self._set_suspended(app, True, containers, group)

    async def resume(self, app: str, containers: Sequence[str] | None, group: str | None) -> Json:
        return await self._set_suspended(app, False, containers, group)

    async def _set_suspended(
        self, app: str, suspended: bool, containers: Sequence[str] | None, group: str | None
    ) -> Json:
        chosen = None if containers is None else tuple(containers)
        return await self._ask(lambda n: SetSuspended(n, app, suspended, chosen, group))

    async def drain(self, node: str) -> Json:
        return await self._ask(lambda n: SetDrained(n, node, True))

    async def undrain(self, node: str) -> Json:
        return await self._ask(lambda n: SetDrained(n, node, False))

    async def add_rules(self, constraints: Sequence[Any]) -> Json:
        rules = parse_rules(list(constraints))
        return await self._ask(lambda n: AddRules(n, rules, time.time()))

    async def remove_rule(self, name: str) -> Json:
        return await self._ask(lambda n: RemoveRule(n, name))

    # --- plans and explanations -----------------------------------------------------------------

    async def plan(self, apps: Sequence[AppSpec], settings: Mapping[str, Any]) -> Json:
        algorithm = settings.get("algorithm", "ilp")
        if algorithm not in ALGORITHMS:
            wanted = ", ".join(ALGORITHMS)
            raise InputError.of(f"{algorithm!r} is no algorithm; write one of {wanted}")
        chosen = replace(
            self._lra,
            mode=settings.get("mode", self._lra.mode),
            time_limit=settings.get("time_limit", self._lra.time_limit),
        )
        plan = await self._solver.solve(self._core.state.cluster(), apps, chosen, algorithm)
        return plan.to_contract()

    async def explain(self, container: str) -> Json:
        try:
            ident = ContainerId.parse(container)
        except ValueError as error:
            raise InputError.of(str(error), field="container") from None
        app = self._core.state.apps.get(ident.app)
        entry = self._views.find(ident)
        specs = [app.spec] if app is not None else []
        cluster = self._core.state.cluster()
        try:
            found = await asyncio.to_thread(explain, cluster, specs, ident)
        except UnknownContainerError as error:
            raise ControlError(404, str(error)) from None
        answer = found.to_contract()
        answer["state"] = entry.state.value if entry is not None else None
        answer["waiting_for"] = [*(app.reasons if app else ()), *(entry.reasons if entry else ())]
        return answer

    async def read_log(self, container: str, offset: int, limit: int) -> Json:
        try:
            entry = self._views.find(ContainerId.parse(container))
        except ValueError as error:
            raise InputError.of(str(error), field="container") from None
        if entry is None:
            raise ControlError(404, f"there is no container {container}")
        if entry.node is None:
            raise ControlError(409, f"{container} is on no node")
        self._requests += 1
        number = self._requests
        waiting = self._logs[number] = asyncio.get_running_loop().create_future()
        ask = ReadLog(self._core.state.epoch, number, container, offset, limit)
        try:
            if not self._send(entry.node, ask):
                raise ControlError(409, f"node {entry.node} cannot be reached")
            chunk = await asyncio.wait_for(waiting, LOG_PATIENCE)
        except TimeoutError:
            raise ControlError(504, f"no answer from node {entry.node}") from None
        finally:
            self._logs.pop(number, None)
        if chunk.error:
            raise ControlError(409, chunk.error)
        text, left = _text(chunk.data, whole=chunk.ended or len(chunk.data) < 4)
        return {"data": text, "next_offset": chunk.next_offset - left, "ended": chunk.ended}

    # --- views ----------------------------------------------------------------------------------

    def _app(self, name: str) -> AppEntry:
        app = self._core.state.apps.get(name)
        if app is None:
            raise ControlError(404, f"there is no app {name}")
        return app

    def apps(self) -> Json:
        return {"apps": self._views.apps()}

    def app(self, name: str) -> Json:
        return self._views.app(self._app(name))

    def endpoints(self, name: str) -> Json:
        return {"endpoints": self._views.endpoints(self._app(name))}

    def nodes(self) -> Json:
        return {"nodes": self._views.nodes(time.monotonic())}

    def constraints(self) -> Json:
        return {"constraints": self._views.constraints(time.monotonic())}

    def violations(self) -> Json:
        return {"violations": self._views.violations()}

    def snapshot(self) -> Json:
        return self._views.snapshot()

    def events(self, since: int, limit: int) -> Json:
        return self._events.since(since, limit)

    async def wait_for_events(self, since: int) -> None:
        await self._events.wait(since)

    def status(self) -> Json:
        return self._views.status(time.monotonic())

    def story(self, ident: str) -> Json:
        return {"story": self._events.about(ident)}

    def metrics(self) -> bytes:
        return metrics(self.status(), self._views.nodes(time.monotonic()))

    def app_states(self) -> dict[str, str]:
        """Each app's state, by name."""
        return {name: app_state(app) for name, app in self._core.state.apps.items()}

    # --- jobs -----------------------------------------------------------------------------------

    async def jobs(self) -> Json:
        return {"jobs": await self._jobs.list()}

    async def job(self, job: str) -> Json:
        return await self._jobs.show(job)

    async def job_tasks(self, job: str) -> Json:
        return {"tasks": (await self._jobs.show(job))["tasks"]}

    async def cancel_job(self, job: str) -> Json:
        return await self._jobs.cancel(job)


def _text(data: bytes, *, whole: bool) -> tuple[str, int]:
    """Text of ``data``, and how many bytes at its end are the beginning of a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=whole)
    return text, len(decoder.getstate()[0])
