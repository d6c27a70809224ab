"""What the API asks of a running master, answered by its core."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from colchis.model.app import AppSpec, Kind
from colchis.model.change import keep_homes
from colchis.model.cluster import Cluster, ContainerId
from colchis.model.plan import Plan
from colchis.specs import parse_rules
from colchis.wire.messages import LogChunk, ReadLog
from colchis_master.api.control import ControlError, Json
from colchis_master.core import events as ask
from colchis_master.core.changes import changes
from colchis_master.core.core import MasterCore
from colchis_master.lra import ALGORITHMS, Moves, UnknownContainerError, explain
from colchis_master.lra.process import SolverLostError
from colchis_master.service.feed import Feed
from colchis_master.service.logs import LogReads, whole_text
from colchis_master.service.turns import Turns
from colchis_master.service.views import Views


class Shell(Protocol):
    """What the control needs of the shell around the core."""

    core: MasterCore
    feed: Feed
    turns: Turns

    def handle(self, event: ask.Event) -> None:
        """Give the core an event and carry out what it says."""
        ...

    def send(self, node: str, message: ReadLog) -> bool:
        """Whether the message is on its way."""
        ...

    async def plan(
        self,
        cluster: Cluster,
        apps: Sequence[AppSpec],
        settings: Mapping[str, Any],
        begun: Collection[str],
    ) -> Plan:
        """A plan that holds nobody up; ``begun`` are apps that may be placed in part."""
        ...

    async def find_moves(self, question: ask.FindMoves) -> Moves:
        """Raises SolverLostError."""
        ...


class AskJobs(Protocol):
    """Asks the job service: ``list``, ``status``, ``tasks``, ``cancel`` or ``story``."""

    async def __call__(self, what: str, job: str = "") -> Json: ...


class MasterControl:
    """One method for each endpoint, see ``colchis_master.api.control.Control``."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._views = Views(shell.core)
        self._logs = LogReads(shell.core.state.epoch)
        self._waiting: dict[int, asyncio.Future[ask.Answer]] = {}
        self._requests = 0
        self._jobs: AskJobs | None = None

    def jobs_are_asked(self, jobs: AskJobs) -> None:
        """There is a job service from now on."""
        self._jobs = jobs

    def answered(self, answer: ask.Answer) -> None:
        """The core's answer to a request; it is durable by now."""
        future = self._waiting.pop(answer.request, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def log_chunk(self, chunk: LogChunk) -> None:
        """An agent's answer to a question for output."""
        self._logs.answered(chunk)

    async def turn(self) -> None:
        await self._shell.turns.turn()

    async def submit(self, apps: Sequence[AppSpec], *, update: bool) -> Json:
        return await self._ask(lambda n: ask.Submit(n, tuple(apps), update, time.time()))

    async def remove(self, app: str, grace: float) -> Json:
        return await self._ask(lambda n: ask.Remove(n, app, grace))

    async def suspend(self, app: str, containers: Sequence[str] | None, group: str | None) -> Json:
        return await self._set_suspended(app, True, containers, group)

    async def resume(self, app: str, containers: Sequence[str] | None, group: str | None) -> Json:
        return await self._set_suspended(app, False, containers, group)

    async def _set_suspended(
        self, app: str, suspended: bool, containers: Sequence[str] | None, group: str | None
    ) -> Json:
        chosen = None if containers is None else tuple(containers)
        return await self._ask(lambda n: ask.SetSuspended(n, app, suspended, chosen, group))

    async def drain(self, node: str) -> Json:
        return await self._ask(lambda n: ask.SetDrained(n, node, True))

    async def undrain(self, node: str) -> Json:
        return await self._ask(lambda n: ask.SetDrained(n, node, False))

    async def add_rules(self, constraints: Sequence[Any]) -> Json:
        rules = tuple(parse_rules(list(constraints)))
        return await self._ask(lambda n: ask.AddRules(n, rules, time.time()))

    async def remove_rule(self, name: str) -> Json:
        return await self._ask(lambda n: ask.RemoveRule(n, name))

    async def plan(self, apps: Sequence[AppSpec], settings: Mapping[str, Any]) -> Json:
        if settings["algorithm"] not in ALGORITHMS:
            names = ", ".join(ALGORITHMS)
            raise ControlError(422, f"{settings['algorithm']!r} is none of {names}")
        cluster, found = changes(self._shell.core.state, apps)
        begun = [change.app for change in found if change.begun]
        plan = keep_homes(await self._shell.plan(cluster, apps, settings, begun), found)
        return {**plan.to_contract(), "changes": [one.to_contract(plan) for one in found]}

    async def rebalance(self, max_moves: int, *, plan: bool) -> Json:
        try:
            found = await self._shell.find_moves(self._shell.core.rebalance.question(max_moves))
        except SolverLostError as error:
            raise ControlError(503, f"no moves were found: {error}") from None
        if found.moves and not plan:
            moves = moves_of(found)
            await self._ask(lambda n: ask.MakeMoves(n, moves))
        return found.to_contract()

    async def explain(self, container: str) -> Json:
        entry = self._views.container_of(container)
        app = self._views.app_of(entry.id.app)
        cluster = self._shell.core.state.cluster()
        ident = ContainerId.parse(container)
        try:
            found = await asyncio.to_thread(explain, cluster, [app.spec], ident)
        except UnknownContainerError as error:
            raise ControlError(404, str(error)) from None
        return found.to_contract()

    async def read_log(self, container: str, offset: int, limit: int) -> Json:
        entry = self._views.container_of(container)
        if entry.node is None:
            raise ControlError(409, f"{container} has not been placed yet")
        node = entry.node
        chunk = await self._logs.read(
            container, offset, limit, lambda message: self._shell.send(node, message)
        )
        # The longest character has four bytes: a smaller limit might never hold a whole one.
        text, left = whole_text(chunk.data, final=chunk.ended or limit < 4)
        return {"data": text, "next_offset": chunk.next_offset - left, "ended": chunk.ended}

    def apps(self) -> Json:
        return self._views.apps()

    def app(self, name: str) -> Json:
        return self._views.app(name)

    def endpoints(self, name: str) -> Json:
        return self._views.endpoints(name)

    def nodes(self) -> Json:
        return self._views.nodes(time.monotonic())

    def constraints(self) -> Json:
        return self._views.constraints(time.monotonic())

    def violations(self) -> Json:
        return self._views.violations()

    def snapshot(self) -> Json:
        return self._views.snapshot()

    def events(self, since: int, limit: int) -> Json:
        found, following = self._shell.feed.since(since, limit)
        return {"events": found, "next": following}

    async def wait_for_events(self, since: int) -> None:
        await self._shell.feed.wait(since)

    def status(self) -> Json:
        return self._views.status()

    async def story(self, ident: str) -> Json:
        steps = [
            {"time": event["time"], "text": event["text"], "id": event["id"]}
            for event in self._shell.feed.about(ident)
        ]
        if steps:
            return {"story": steps}
        if self._jobs is not None and "/" in ident:
            # Tasks are JOB/STAGE/INDEX, and the job service's affair.
            return await self._jobs("story", ident)
        raise ControlError(404, f"nothing is known of {ident}")

    def metrics(self) -> bytes:
        registry = CollectorRegistry()
        status = self._views.status()
        for name in ("nodes", "apps", "containers"):
            gauge = Gauge(
                f"colchis_{name}", f"{name.title()} by state", ["state"], registry=registry
            )
            for state, count in status[name].items():
                gauge.labels(state).set(count)
        Gauge("colchis_violations", "Rules missed", registry=registry).set(status["violations"])
        Gauge("colchis_epoch", "Starts of the master", registry=registry).set(status["epoch"])
        return generate_latest(registry)

    async def jobs(self) -> Json:
        return await self._ask_jobs("list")

    async def job(self, job: str) -> Json:
        return await self._ask_jobs("status", job)

    async def job_tasks(self, job: str) -> Json:
        return await self._ask_jobs("tasks", job)

    async def cancel_job(self, job: str) -> Json:
        return await self._ask_jobs("cancel", job)

    async def _ask_jobs(self, what: str, *of: str) -> Json:
        if self._jobs is None:
            raise ControlError(404, "this master runs no job service")
        return await self._jobs(what, *of)

    async def _ask(self, make: Callable[[int], ask.Request]) -> Json:
        self._requests += 1
        request = make(self._requests)
        if not is_urgent(request):
            await self._shell.turns.turn()
        future: asyncio.Future[ask.Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request.request] = future
        self._shell.handle(request)
        answer = await future
        if answer.status:
            raise ControlError(answer.status, answer.error)
        return dict(answer.body)


def is_urgent(request: ask.Request) -> bool:
    """Whether a task or a stream waits for it; what takes effect with the next round does not."""
    if isinstance(request, ask.Submit):
        return any(spec.kind is Kind.BATCH for spec in request.apps)
    return isinstance(request, ask.SetSuspended)


def moves_of(found: Moves) -> tuple[ask.Move, ...]:
    """As the core takes them."""
    return tuple(ask.Move(m.container, m.source, m.target, m.reason) for m in found.moves)
