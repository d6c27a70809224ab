"""The master's shell: everything that arrives goes through the core, one event after another.

What the core wants kept is on disk before anything that follows is sent or answered. A journal that
cannot be written ends the master; its agents and their containers go on without it.
"""

import asyncio
import contextlib
import socket as sockets
import time
from collections.abc import Callable, Sequence
from types import TracebackType

import structlog
import uvicorn
import zmq
import zmq.asyncio

from colchis.errors import ColchisError
from colchis.wire.codec import FROM_AGENT, FROM_MASTER, WireError
from colchis.wire.curve import sender, server_socket
from colchis.wire.keys import AllowList, load_pair
from colchis.wire.messages import FromMaster, LogChunk
from colchis.wire.zap import ZapHandler
from colchis_master.api.application import create_api
from colchis_master.api.tokens import Tokens, load_or_create
from colchis_master.core.core import MasterCore
from colchis_master.core.events import (
    Answer,
    Emit,
    Event,
    Instruction,
    LinkLost,
    Persist,
    Planned,
    Received,
    Send,
    Solve,
    Tick,
)
from colchis_master.core.settings import TICK
from colchis_master.journal.journal import Journal
from colchis_master.lra.process import SolverProcess
from colchis_master.service.control import MasterControl
from colchis_master.service.events import KEPT, EventLog
from colchis_master.service.jobs import Jobs
from colchis_master.service.settings import MasterSettings

log = structlog.get_logger(__name__)

DOMAIN = "agents"
"""The ZAP domain in which agents' keys are allowed."""

MOST_AT_ONCE = 1_000
"""Events taken in before what they led to is carried out."""


class MasterService:
    """One master, from ``__aenter__`` to ``__aexit__``; ``run`` works until ``stop``.

    ``api_url`` and ``agents_address`` are where it is reached, known once it is entered. Raises
    JournalError, InputError and OSError where it cannot begin.
    """

    def __init__(self, settings: MasterSettings) -> None:
        self.settings = settings
        self.dropped = 0
        """Messages that were none, or whose sender proved no identity."""
        self._stack = contextlib.AsyncExitStack()
        self._stopping = asyncio.Event()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._planning: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "MasterService":
        async with contextlib.AsyncExitStack() as stack:
            await self._begin(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _begin(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self.settings
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = load_pair(settings.keys / "master.key")
        tokens = Tokens(
            admin=load_or_create(settings.keys / "admin.token"),
            lookup=load_or_create(settings.keys / "lookup.token"),
        )
        self._journal = Journal(settings.state / "journal.db")
        stack.callback(self._journal.close)
        for damage in self._journal.contents.damaged:
            log.error("the journal was damaged", what=damage)
        web = _listen(settings.api)
        stack.callback(web.close)
        host, port = web.getsockname()[:2]
        self.api_url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104
        token = (settings.keys / "lookup.token").read_text().strip()
        self._core = MasterCore(
            self._journal.epoch,
            settings.core(api=self.api_url, token=token),
            spare_unknown=self._journal.spare_unknown,
        )
        records = list(self._journal.contents.records.values())
        for problem in self._core.restore(records, time.monotonic(), time.time()):
            log.error("a record was left out", why=problem)
        self._carry_out_records(self._core.state.take())
        self._events = EventLog(self._journal.next_event, self._journal.events(KEPT))
        context = zmq.asyncio.Context()
        stack.callback(context.destroy, linger=200)
        allowed = AllowList(settings.keys / "allowed")
        await stack.enter_async_context(ZapHandler(context, {DOMAIN: allowed}))
        self._socket = server_socket(context, keys, DOMAIN)
        self._socket.bind(settings.agents)
        stack.callback(self._socket.close, 200)
        self.agents_address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        jobs = await stack.enter_async_context(Jobs(settings))
        self._solver = SolverProcess(algorithm=settings.algorithm)
        stack.push_async_callback(self._solver.close)
        self.control = MasterControl(
            self._core, self._events, self.post, self._send_to_node, settings.lra, jobs
        )
        stack.push_async_callback(self.control.close)
        self._web = _Server(
            uvicorn.Config(
                create_api(self.control, tokens),
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        self._web_socket = web

    def post(self, event: Event) -> None:
        """Give the core an event."""
        self._queue.put_nowait(event)

    def stop(self) -> None:
        """End ``run``; containers go on."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until ``stop``. Raises JournalError where the journal cannot be written."""
        log.info(
            "the master serves",
            epoch=self._journal.epoch,
            agents=self.agents_address,
            api=self.api_url,
        )
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("core", self._work()),
                ("agents", self._receive()),
                ("ticks", self._tick()),
                ("api", self._web.serve(sockets=[self._web_socket])),
                ("stop", self._stopping.wait()),
            )
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._web.should_exit = True
            await asyncio.wait([tasks[3]], timeout=3)
            for task in (*tasks, *self._planning):
                task.cancel()
            await asyncio.gather(*tasks, *self._planning, return_exceptions=True)

    # --- the core -------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            events = [await self._queue.get()]
            while not self._queue.empty() and len(events) < MOST_AT_ONCE:
                events.append(self._queue.get_nowait())
            instructions: list[Instruction] = []
            for event in events:
                instructions += self._core.handle(time.monotonic(), event)
            await self._carry_out(instructions)

    async def _carry_out(self, instructions: Sequence[Instruction]) -> None:
        events = self._carry_out_records(instructions)
        for instruction in instructions:
            match instruction:
                case Send(node, link, message):
                    if not self._send(link, message):
                        self.post(LinkLost(node, link))
                case Answer():
                    self.control.answered(instruction)
                case Solve():
                    task = asyncio.create_task(self._solve(instruction), name="round")
                    self._planning.add(task)
                    task.add_done_callback(self._planning.discard)
        if events:
            await self._events.publish(events)

    def _carry_out_records(self, instructions: Sequence[Instruction]) -> list[dict[str, object]]:
        records = [one.record for one in instructions if isinstance(one, Persist)]
        emits = [one for one in instructions if isinstance(one, Emit)]
        events = self._events.number(emits, time.time()) if emits else []
        if records or events:
            self._journal.write(records, events)
        for emit in emits:
            log.info(emit.text, event=emit.event, id=emit.id)
        return events

    async def _solve(self, ask: Solve) -> None:
        try:
            plan = await self._solver.solve(ask.cluster, ask.apps, self.settings.lra)
            self.post(Planned(ask.round, plan))
        except Exception as error:  # the loop must go on whatever a solver does
            log.exception("a round failed")
            self.post(Planned(ask.round, None, f"{type(error).__name__}: {error}"))

    async def _tick(self) -> None:
        while True:
            self.post(Tick(time.time()))
            await asyncio.sleep(min(TICK, self.settings.interval))

    # --- agents ---------------------------------------------------------------------------------

    async def _receive(self) -> None:
        while True:
            frames = await self._socket.recv_multipart(copy=False)
            node = sender(frames)
            if node is None or len(frames) != 2:
                self.dropped += 1
                continue
            try:
                message = FROM_AGENT.decode(frames[1].bytes)
            except WireError as error:
                self.dropped += 1
                log.warning("a message was dropped", node=node, why=str(error))
                continue
            if isinstance(message, LogChunk):
                self.control.log_read(message)
            else:
                self.post(Received(node, frames[0].bytes.hex(), message))

    def _send(self, link: str, message: FromMaster) -> bool:
        try:
            data = FROM_MASTER.encode(message)
            # With NOBLOCK it is sent, or fails, before this returns.
            sent = self._socket.send_multipart([bytes.fromhex(link), data], zmq.NOBLOCK)
            if sent.done() and sent.exception() is not None:
                return False
            sent.add_done_callback(_ignore)
        except WireError as error:
            log.error("a message was not sent", why=str(error))
        except zmq.ZMQError:
            return False
        return True

    def _send_to_node(self, node: str, message: FromMaster) -> bool:
        entry = self._core.state.nodes.get(node)
        return entry is not None and bool(entry.link) and self._send(entry.link, message)


class _Server(uvicorn.Server):
    """Leaves signals to the master."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # as the base class has it
        yield


def _listen(address: str) -> sockets.socket:
    host, _, port = address.rpartition(":")
    return sockets.create_server((host, int(port)), backlog=512)


def _ignore(sent: "asyncio.Future[object]") -> None:
    if not sent.cancelled():
        sent.exception()


async def serve(
    settings: MasterSettings, ready: Callable[[MasterService], None] = lambda _: None
) -> None:
    """Run a master until this task is cancelled or it is stopped; ``ready`` once it is reached.

    Raises ColchisError with a message for the operator where it cannot begin or go on.
    """
    try:
        async with MasterService(settings) as service:
            ready(service)
            await service.run()
    except (OSError, zmq.ZMQError) as error:
        raise ColchisError(f"the master cannot run: {error}") from error
