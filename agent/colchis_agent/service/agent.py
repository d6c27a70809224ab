"""The agent: its core, run by sockets, files, threads and the clock."""

import asyncio
import secrets
import signal
import socket
import time
import zlib
from collections.abc import Callable, Coroutine
from contextlib import suppress

import structlog
import zmq.asyncio

from colchis import __version__
from colchis.notify import notify
from colchis.wire.keys import load_pair, load_public
from colchis.wire.messages import FromMaster, Start
from colchis_agent.cgroups import CgroupError, open_tree
from colchis_agent.core import AgentCore, NodeFacts
from colchis_agent.core import events as e
from colchis_agent.core.lifecycle import ALIVE
from colchis_agent.driver import ProcessDriver
from colchis_agent.driver.process import SHIM_GROUP
from colchis_agent.driver.shim import boot_id
from colchis_agent.service.drive import Drive
from colchis_agent.service.link import Link
from colchis_agent.service.output import Outputs
from colchis_agent.service.sampling import Sampler
from colchis_agent.service.settings import AgentSettings
from colchis_agent.service.specify import Specifier
from colchis_agent.service.state import State, StateError

STOP_GRACE = 5.0
STOP_PATIENCE = 60.0
LINGER_MS = 500
log = structlog.get_logger(__name__)


def run_agent(settings: AgentSettings) -> int:
    """Run an agent until it is told to stop (SIGTERM, SIGINT); returns an exit code.

    Raises InputError where a key cannot be used, StateError where another agent has its folder.
    """
    return asyncio.run(Agent(settings).run())


class Agent:
    """One agent. Containers go on after ``run`` unless the settings say otherwise."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        keys = load_pair(settings.key)
        master_key = load_public(settings.master_key)
        self._state = State(settings.state)
        self._tree = open_tree(settings.cgroup_root, settings.state / "groups")
        driver = self._driver = ProcessDriver(self._state.containers, self._tree)
        self._events: asyncio.Queue[e.Event | StateError] = asyncio.Queue()
        self._address = settings.own_address()
        self._outputs = Outputs(driver, self._state.containers, self._state.remove_private)
        specifier = Specifier(settings, self._address, self._state).specify
        self._drive = Drive(driver, self._tree, self._outputs, specifier, self._tell, self._broken)
        share = settings.capacity()["memory"] if settings.shared else None
        self._sampler = Sampler(driver, self._state.containers, share)
        self._core = AgentCore(self._facts(), keep_ended=settings.keep_ended)
        self._ctx = zmq.asyncio.Context()
        self._link = Link(self._ctx, keys, master_key, settings.master, self._tell, self._receive)
        self._leaving: float | None = None
        self._next_port = zlib.crc32(settings.node.encode())

    def _facts(self) -> NodeFacts:
        settings = self._settings
        unenforced = self._tree.unenforced()
        if unenforced:
            log.warning("this host does not let us enforce", what=list(unenforced))
        return NodeFacts(
            node=settings.node,
            session=secrets.token_hex(16),
            boot_id=boot_id(),
            address=self._address,
            version=__version__,
            capacity=settings.capacity(),
            attributes={"hostname": socket.gethostname(), **settings.attributes},
            groups={name: list(sets) for name, sets in settings.groups.items()},
            unenforced=unenforced,
        )

    async def run(self) -> int:
        """Until told to stop; 1 where the state can no longer be kept."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        helpers: list[asyncio.Task[None]] = []
        try:
            records, master = self._state.load()
            for problem in self._state.problems:
                log.error("a part of the state is lost", problem=problem)
            lives = await self._drive.adopt()
            await self._handle(e.Adopted(records, lives, master.epoch, master.api))
            helpers = [
                asyncio.create_task(self._guarded(self._link.run)),
                asyncio.create_task(self._guarded(self._beat)),
            ]
            notify("READY=1")
            log.info("the agent is up", node=self._settings.node, containers=len(records))
            await self._loop()
            await self._handle(e.Leave(stop_containers=False))
        except StateError as error:
            log.error(
                "the state cannot be kept; the agent stops, containers go on", error=str(error)
            )
            return 1
        finally:
            notify("STOPPING=1")
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._link.close()
            await self._drive.close()
            self._driver.close()
            self._ctx.destroy(linger=LINGER_MS)
            self._close_tree()
            self._state.close()
        return 0

    async def _loop(self) -> None:
        while True:
            if self._leaving is not None:
                if not self._settings.stop_containers:
                    return
                if not self._core.alive or time.monotonic() > self._leaving:
                    await self._drive.drain()
                    return
            due = self._core.next_deadline()
            wait = 1.0 if self._leaving is not None else None
            if due is not None:
                left = max(0.0, due - time.monotonic())
                wait = left if wait is None else min(wait, left)
            try:
                event = await asyncio.wait_for(self._events.get(), wait)
            except TimeoutError:
                event = e.Tick()
            if isinstance(event, StateError):
                raise event
            await self._handle(event)

    async def _handle(self, event: e.Event) -> None:
        for instruction in self._core.handle(event, time.monotonic()):
            await self._obey(instruction)

    async def _obey(self, instruction: e.Instruction) -> None:
        if self._drive.obey(instruction):
            return
        match instruction:
            case e.Persist(record):
                await asyncio.to_thread(self._state.save_record, record)
            case e.PersistMaster(epoch, api):
                await asyncio.to_thread(self._state.save_master, epoch, api)
            case e.Forget(container):
                self._state.forget(container)
            case e.Send(message):
                await self._link.send(message)
            case e.ReadOutput():
                await self._link.send(await asyncio.to_thread(self._outputs.read, instruction))
            case e.Notice(level, text, fields):
                getattr(log, level)(text, **fields)

    def _tell(self, event: e.Event) -> None:
        self._events.put_nowait(event)

    def _receive(self, message: FromMaster) -> None:
        port = self._free_port() if isinstance(message, Start) else None
        self._tell(e.Received(message, port))

    def _stop(self) -> None:
        if self._leaving is None:
            self._leaving = time.monotonic() + STOP_PATIENCE
            self._tell(e.Leave(True, STOP_GRACE) if self._settings.stop_containers else e.Tick())

    async def _guarded(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        try:
            await work()
        except Exception as error:
            log.exception("a part of the agent has failed")
            self._broken(error)

    def _broken(self, error: BaseException) -> None:
        self._events.put_nowait(StateError(f"the agent is broken: {error}"))

    async def _beat(self) -> None:
        """Heartbeats go out whatever else is being done."""
        while True:
            due = time.monotonic() + self._core.heartbeat_interval
            if self._core.welcomed:
                refs = [
                    live.record.ref
                    for live in self._core.containers.live.values()
                    if live.record.phase in ALIVE
                ]
                node, usage, executors = await asyncio.to_thread(self._sampler.sample, refs)
                beat = e.Beat(node, usage, executors)
                for instruction in self._core.handle(beat, time.monotonic()):
                    if isinstance(instruction, e.Send):
                        await self._link.send(instruction.message)
            await asyncio.sleep(max(0.01, due - time.monotonic()))

    def _free_port(self) -> int | None:
        """A port that no container has and on which nobody listens.

        Each node begins at a place of its own, so that agents that share a host seldom meet.
        """
        first, last = self._settings.ports
        taken = self._core.ports
        for _ in range(last - first + 1):
            port = first + self._next_port % (last - first + 1)
            self._next_port += 1
            if port not in taken and _can_bind(port):
                return port
        log.error("no port is free", ports=list(self._settings.ports))
        return None

    def _close_tree(self) -> None:
        """Leave no cgroup behind where nothing runs."""
        with suppress(CgroupError, OSError):
            if set(self._tree.names()) <= {SHIM_GROUP}:
                self._tree.remove(SHIM_GROUP)
                self._tree.close()


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
