"""The master: its core, run by sockets, the journal, the solver and the clock."""

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import structlog
import uvicorn
import uvloop
import zmq.asyncio
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from colchis.client.connection import Connection, write_connection
from colchis.client.http import IDLE
from colchis.jobs.urgency import wake_soon
from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster
from colchis.model.plan import Plan
from colchis.notify import notify
from colchis.wire.curve import server_socket
from colchis.wire.keys import AllowList, load_pair
from colchis.wire.messages import FromMaster, LogChunk
from colchis.wire.zap import ZapHandler
from colchis_master.api.application import create_api
from colchis_master.api.tokens import Tokens, load_or_create
from colchis_master.core import events as ask
from colchis_master.core.core import MasterCore
from colchis_master.core.records import Record
from colchis_master.core.settings import TICK, CoreSettings
from colchis_master.journal.journal import Journal, JournalError
from colchis_master.lra import Moves
from colchis_master.lra.process import Balance, SolverLostError, SolverProcess
from colchis_master.service.control import MasterControl, is_urgent, moves_of
from colchis_master.service.feed import KEPT, Feed
from colchis_master.service.jobs import Jobs
from colchis_master.service.link import Link
from colchis_master.service.mqtt import publish
from colchis_master.service.outbox import HOLD, Haste, Outbox
from colchis_master.service.settings import MasterSettings
from colchis_master.service.turns import Turns

DOMAIN = "agents"
TURN = 0.0002
"""Seconds for which messages of agents are handled before others have their turn."""
SHARE = 0.2
"""Of the time for which they had to wait, if that comes to more: under a flood of requests agents
would else be taken for silent that are not."""

GARBAGE = (500, 2_000, 50)
"""Objects after which the youngest generation is collected, and collections after which each of the
others is. What the master makes it mostly keeps, so that collections find little; one of all that
there is should be rare."""
LITTER = 10_000
"""New objects after which the interpreter collects them whatever the loop is at."""

CLOSE_PATIENCE = 5.0
"""Seconds that open HTTP requests have when the master stops."""

IDLE_PATIENCE = 4 * int(IDLE)
"""Seconds after which an HTTP connection is closed that its client has left open and unused."""

log = structlog.get_logger(__name__)


def run_master(settings: MasterSettings) -> int:
    """Run a master until it is told to stop (SIGTERM, SIGINT); returns an exit code.

    Raises InputError where keys or tokens cannot be used, JournalError where the journal cannot.
    """
    # Nobody who has the cores shall keep a task waiting. ZeroMQ's threads inherit it.
    wake_soon()
    master = Master(settings)
    # What is there by now stays: collections, which stop all work, need not look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(LITTER, *GARBAGE[1:])
    return uvloop.run(master.run())


class Master:
    """One master. What it has acknowledged is in the journal; containers go on without it."""

    def __init__(self, settings: MasterSettings) -> None:
        self._settings = settings
        self._keys = load_pair(settings.keys / "master.key")
        admin = load_or_create(settings.keys / "admin.token")
        lookup = load_or_create(settings.keys / "lookup.token")
        self._admin = admin
        self._tokens = Tokens(admin=admin, lookup=lookup)
        jobs = None
        if settings.jobs:
            jobs = Jobs.load(
                listen=settings.jobs,
                public=settings.public_jobs,
                keys=settings.keys,
                policy=settings.policy,
                options=settings.tasks,
            )
        self._journal = Journal(settings.state / "journal.sqlite")
        for problem in self._journal.contents.damaged:
            log.error("a part of the journal is lost", problem=problem)
        self.feed = Feed(self._journal.events(KEPT))
        self.core = MasterCore(
            self._journal.epoch,
            CoreSettings(
                cluster=settings.cluster,
                interval=settings.interval,
                heartbeat_interval=settings.heartbeat_interval,
                suspect_after=settings.lost_after / 2,
                lost_after=settings.lost_after,
                api=settings.api_url,
                token=lookup,
                make_room=settings.make_room,
                rebalance_threshold=settings.rebalance_threshold,
                jobs=jobs.clients() if jobs else None,
                executors=jobs.executors() if jobs else None,
            ),
            spare_unknown=self._journal.spare_unknown,
        )
        records = self._journal.contents.records.values()
        left_out = self.core.restore(records, time.monotonic(), time.time())
        for problem in left_out:
            log.error("a record of the journal is left out", problem=problem)
        self.turns = Turns(_soon, self._not_kept)
        self._listens = False
        self._outbox = Outbox(
            self._write,
            self.feed,
            self._carry_out,
            self._not_kept,
            self._at_once,
            self.turns.put,
            lambda flush: asyncio.get_running_loop().call_later(HOLD, flush),
        )
        self._jobs = jobs
        self._control = MasterControl(self)
        self._link: Link | None = None
        self._solver = SolverProcess(algorithm=settings.algorithm, turn=self.turns.turn)
        self._planner = SolverProcess(turn=self.turns.turn)
        self._tasks: set[asyncio.Task[None]] = set()
        self._code: asyncio.Future[int] | None = None

    async def run(self) -> int:
        """Until told to stop; 1 where the journal can no longer be kept."""
        loop = asyncio.get_running_loop()
        self._code = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, 0)
        async with AsyncExitStack() as stack:
            ctx = zmq.asyncio.Context()
            stack.callback(ctx.term)
            allowed = AllowList(self._settings.keys / "allowed")
            await stack.enter_async_context(ZapHandler(ctx, {DOMAIN: allowed}))
            plain: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(ctx.underlying)
            socket = server_socket(plain, self._keys, DOMAIN)
            stack.callback(socket.close, 200)
            socket.bind(self._settings.listen)
            self._link = Link(socket, self._heard)
            stack.enter_context(self._link)
            stack.callback(self.turns.close)
            stack.callback(self._outbox.close)
            if self._jobs is not None:
                desk = self._jobs.desk(self._settings.state)
                await stack.enter_async_context(desk.service)
                self._control.jobs_are_asked(desk)
            stack.push_async_callback(self._solver.close)
            stack.push_async_callback(self._planner.close)
            await stack.enter_async_context(self._serving())
            stack.push_async_callback(self._end_tasks)
            self._spawn(self._tick())
            self._spawn(self._solver.start())
            if self._settings.mqtt is not None:
                name = f"colchis-{self._settings.cluster}"
                self._spawn(publish(self.feed, self._settings.mqtt, name))
            self._announce()
            code = await self._code
            notify("STOPPING=1")
        self._journal.close()
        return code

    def handle(self, event: ask.Event) -> None:
        """Give the core an event; what it says is carried out once what must be durable is."""
        instructions = self.core.handle(time.monotonic(), event)
        self._outbox.put(instructions, time.time(), _haste(event, instructions))
        if gc.get_count()[0] > GARBAGE[0]:
            self.turns.put_once(self._collect)

    def _write(self, records: Sequence[Record], events: Sequence[Mapping[str, Any]]) -> None:
        self._journal.write(records, events)
        self._tidy_if_due()

    def _tidy(self) -> None:
        self._journal.tidy()
        self._tidy_if_due()

    def _tidy_if_due(self) -> None:
        if self._journal.untidy:
            self.turns.put_once(self._tidy)

    def _collect(self) -> None:
        """Here, where no task waits for it."""
        full = [
            n
            for n, (count, most) in enumerate(zip(gc.get_count(), GARBAGE, strict=True))
            if count > most
        ]
        gc.collect(max(full, default=0))

    def _at_once(self, flush: Callable[[], None]) -> None:
        _soon(flush)
        self.turns.first()

    def _not_kept(self, error: Exception) -> None:
        if isinstance(error, JournalError):
            log.critical("the journal cannot be kept; the master stops", error=str(error))
        else:
            log.critical("the master stops because of a fault", exc_info=error)
        self._stop(1)

    def send(self, node: str, message: FromMaster) -> bool:
        """Whether the message is on its way to a node's present connection."""
        entry = self.core.state.nodes.get(node)
        if self._link is None or entry is None or not entry.link:
            return False
        self._outbox.hasten(entry.link)
        return self._link.send(entry.link, message)

    async def plan(
        self,
        cluster: Cluster,
        apps: Sequence[AppSpec],
        settings: Mapping[str, Any],
        begun: Collection[str],
    ) -> Plan:
        """A plan, without holding up the rounds."""
        chosen = replace(
            self._settings.solver(), mode=settings["mode"], time_limit=settings["time_limit"]
        )
        return await self._planner.solve(cluster, apps, chosen, settings["algorithm"], begun)

    async def find_moves(self, question: ask.FindMoves) -> Moves:
        """Moves that make the placement better. Raises SolverLostError."""
        return await self._planner.rebalance(
            Balance(question.cluster, self._settings.solver(), question.limit, {}, question.movable)
        )

    async def _make_moves(self, question: ask.FindMoves) -> None:
        try:
            found = await self.find_moves(question)
        except SolverLostError as error:
            log.warning("no moves were found", reason=str(error))
            return
        if found.moves:
            self.handle(ask.MakeMoves(0, moves_of(found)))

    def _carry_out(self, instruction: ask.Instruction) -> None:
        match instruction:
            case ask.Send(node=node, link=link, message=message):
                if self._link is None or not self._link.send(link, message):
                    self._later(ask.LinkLost(node, link))
            case ask.Solve():
                self._spawn(self._solve(instruction))
            case ask.FindMoves():
                self._spawn(self._make_moves(instruction))
            case ask.Answer():
                self._control.answered(instruction)
            case ask.Emit() | ask.Persist():
                raise AssertionError(f"{instruction} is the journal's")

    def _later(self, event: ask.Event) -> None:
        asyncio.get_running_loop().call_soon(self.handle, event)

    async def _solve(self, request: ask.Solve) -> None:
        try:
            plan = await self._solver.solve(
                request.cluster, request.apps, self._settings.solver(), self._settings.algorithm
            )
        except Exception as error:  # whatever a solver does, the rounds go on
            log.exception("a round failed")
            self.handle(ask.Planned(request.round, None, f"{type(error).__name__}: {error}"))
            return
        for note in plan.notes:
            log.info(note, round=request.round)
        *earlier, last = [replace(plan, apps=(app,)) for app in plan.apps] or [plan]
        for part in earlier:
            await self.turns.turn()
            self.handle(ask.Planned(request.round, part, more=True))
        await self.turns.turn()
        self.handle(ask.Planned(request.round, last))

    def _heard(self) -> None:
        if not self._listens:
            self._listens = True
            self.turns.put(partial(self._receive, time.monotonic()))

    def _receive(self, since: float) -> None:
        assert self._link is not None
        now = time.monotonic()
        end = now + max(TURN, SHARE * (now - since))
        for node, connection, message in self._link.received():
            if isinstance(message, LogChunk):
                self._control.log_chunk(message)
            else:
                self.handle(ask.Received(node, connection, message))
            if time.monotonic() > end:
                break
        self._listens = False
        self._link.look()

    async def _tick(self) -> None:
        while True:
            await self.turns.turn()
            self.handle(ask.Tick(time.time()))
            await asyncio.sleep(TICK)

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        host, _, port = self._settings.api.rpartition(":")
        turns = self.turns

        class Protocol(HttpToolsProtocol):
            def data_received(self, data: bytes) -> None:
                turns.first()
                super().data_received(data)

        config = uvicorn.Config(
            create_api(self._control, self._tokens),
            http=Protocol,
            host=host.strip("[]"),
            port=int(port),
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=IDLE_PATIENCE,
            timeout_graceful_shutdown=int(CLOSE_PATIENCE),
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve())
        try:
            while not server.started:
                if serving.done():
                    raise JournalError(f"no HTTP API can be served on {self._settings.api}")
                await asyncio.sleep(0.01)
            yield
        finally:
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)

    def _announce(self) -> None:
        if self._settings.connection is not None:
            connection = Connection(
                self._settings.api_url,
                self._admin,
                self._settings.cluster,
                self._jobs.address if self._jobs else "",
                str(self._settings.keys / "client.key") if self._jobs else "",
            )
            write_connection(self._settings.connection, connection)
        notify("READY=1")
        log.info("the master is up", epoch=self._journal.epoch, api=self._settings.api_url)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("the master stops because of a fault", exc_info=task.exception())
            self._stop(1)

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop(self, code: int) -> None:
        if self._code is not None and not self._code.done():
            self._code.set_result(code)


def _soon(function: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(function)


def _haste(event: ask.Event, instructions: list[ask.Instruction]) -> Haste:
    """All where it is about a task that waits: one of a request, or one that was given the room of
    another that has ended."""
    if isinstance(event, ask.Received):
        placed = any(isinstance(one, ask.Emit) and one.event == "placed" for one in instructions)
        return Haste.ALL if placed else Haste.NONE
    if not isinstance(event, ask.Request):
        return Haste.NONE
    return Haste.ALL if is_urgent(event) else Haste.SOME


class _Server(uvicorn.Server):
    """Leaves signals to the master."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # as in the base class
        yield
