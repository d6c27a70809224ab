"""A master of a few lines that speaks the real wire, and agents as processes of their own."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from colchis.wire.codec import FROM_AGENT, FROM_MASTER
from colchis.wire.curve import server_socket
from colchis.wire.frames import sender
from colchis.wire.keys import AllowList, KeyPair, generate, write_pair, write_public
from colchis.wire.messages import (
    Bye,
    Confirm,
    ContainerReport,
    Done,
    FromAgent,
    FromMaster,
    Heartbeat,
    Hello,
    LogChunk,
    ReadLog,
    Report,
    Resume,
    Start,
    Stop,
    Suspend,
    Welcome,
)
from colchis.wire.zap import ZapHandler
from tests.host.support import container_ports
from tests.support import DEADLINE, PAUSE, alive, calling_line, wait_meanwhile


class FakeMaster:
    """Welcomes every agent, confirms every report, and keeps all that it hears."""

    def __init__(self, folder: Path, *, epoch: int = 1) -> None:
        self.folder = folder
        self.epoch = epoch
        self.heard: list[FromAgent] = []
        self.routes: dict[str, bytes] = {}
        self.orders = 0
        self.port = 0
        self.confirming = True
        self._keys = self._pair("master")

    def _pair(self, name: str) -> KeyPair:
        pair = generate()
        write_pair(pair, self.folder / "keys", name)
        return pair

    async def __aenter__(self) -> "FakeMaster":
        self._ctx = zmq.asyncio.Context()
        self._zap = ZapHandler(self._ctx, {"agents": AllowList(self.folder / "allowed")})
        await self._zap.__aenter__()
        self._open()
        return self

    def _open(self) -> None:
        self._socket = server_socket(self._ctx, self._keys, "agents")
        try:
            if self.port:
                self._socket.bind(f"tcp://127.0.0.1:{self.port}")
            else:
                self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        except zmq.ZMQError:
            self._socket.close()
            raise
        self._task = asyncio.create_task(self._serve())

    async def away(self) -> None:
        """The master is gone."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close(linger=0)
        self.routes.clear()

    async def back(self, epoch: int) -> None:
        """It comes back, under another epoch."""
        self.epoch = epoch
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    self._open()
                    return
                except zmq.ZMQError:
                    await asyncio.sleep(0.05)

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._zap.__aexit__(None, None, None)
        self._ctx.destroy(linger=0)

    async def _serve(self) -> None:
        while True:
            frames = await self._socket.recv_multipart(copy=False)
            node, message = sender(frames), FROM_AGENT.decode(frames[-1].bytes)
            assert node is not None
            self.heard.append(message)
            self.routes[node] = frames[0].bytes
            if isinstance(message, Hello):
                assert message.node == node
                await self.say(node, Welcome(1, self.epoch, 0.1, "lab", "http://127.0.0.1:1"))
            elif isinstance(message, Report) and self.confirming:
                await self.say(node, Confirm(self.epoch, message.session, message.seq))

    async def say(self, node: str, message: FromMaster) -> None:
        with contextlib.suppress(zmq.ZMQError):
            await self._socket.send_multipart([self.routes[node], FROM_MASTER.encode(message)])

    async def raw(self, node: str, data: bytes) -> None:
        """Send what is no message."""
        await self._socket.send_multipart([self.routes[node], data])

    async def order(
        self, kind: type, container: str, *rest: Any, node: str = "n1", **more: Any
    ) -> str:
        """Give an order and wait for its answer; the error, empty if there was none."""
        self.orders += 1
        number = self.orders
        incarnation = more.pop("incarnation", 1)
        message = kind(self.epoch, number, container, incarnation, *rest, **more)
        await self.until(lambda: node in self.routes)
        await self.say(node, message)
        await self.until(lambda: number in self.done())
        return self.done()[number]

    async def start(self, container: str, command: list[str], **changes: Any) -> str:
        incarnation = changes.pop("incarnation", 1)
        node = changes.pop("node", "n1")
        plain = Start(1, 1, "x", 1, ["x"], {}, {"cpus": 500, "memory": 256 << 20}, "never")
        plain = msgspec.structs.replace(plain, **changes)
        return await self.order(
            Start,
            container,
            command,
            plain.env,
            plain.resources,
            plain.restart,
            plain.executor,
            plain.token,
            plain.jobs,
            incarnation=incarnation,
            node=node,
        )

    async def stop(self, container: str, grace: float = 30.0, **more: Any) -> str:
        return await self.order(Stop, container, grace, **more)

    async def suspend(self, container: str) -> str:
        return await self.order(Suspend, container)

    async def resume(self, container: str) -> str:
        return await self.order(Resume, container)

    async def log(self, container: str, offset: int = 0) -> LogChunk:
        self.orders += 1
        number = self.orders
        await self.say("n1", ReadLog(self.epoch, number, container, offset, 1 << 20))

        def answer() -> list[LogChunk]:
            return [m for m in self.heard if isinstance(m, LogChunk) and m.request == number]

        await self.until(lambda: bool(answer()))
        return answer()[0]

    async def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """As ``wait_for``, while the master goes on."""
        await wait_meanwhile(condition, what or calling_line())

    async def logged(self, container: str, text: bytes) -> bytes:
        """Wait until its output has this text; returns the output."""
        end = time.monotonic() + DEADLINE
        while text not in (data := (await self.log(container)).data):
            assert time.monotonic() < end, f"waited in vain for {text!r} in {data!r}"
            await asyncio.sleep(PAUSE)
        return data

    def done(self) -> dict[int, str]:
        return {m.order: m.error for m in self.heard if isinstance(m, Done)}

    def hellos(self) -> list[Hello]:
        return [m for m in self.heard if isinstance(m, Hello)]

    def byes(self) -> list[Bye]:
        return [m for m in self.heard if isinstance(m, Bye)]

    def beats(self) -> list[Heartbeat]:
        return [m for m in self.heard if isinstance(m, Heartbeat)]

    def reports(self, container: str) -> list[ContainerReport]:
        """Reports of changes, each number of each session once."""
        seen: dict[tuple[str, int], ContainerReport] = {}
        for m in self.heard:
            if isinstance(m, Report) and m.report.container == container:
                seen[m.session, m.seq] = m.report
        return list(seen.values())

    async def state(self, container: str, state: str) -> ContainerReport:
        """Wait until the last report says this state."""
        await self.until(
            lambda: bool(self.reports(container)) and self.reports(container)[-1].state == state
        )
        return self.reports(container)[-1]

    async def settled_cpu(self, container: str) -> float:
        """Its seconds of cpu, once two heartbeats say the same."""
        seconds = -1.0
        async with asyncio.timeout(DEADLINE):
            while (more := (await self.beat(container)).usage.cpu_seconds) != seconds:
                seconds = more
        return seconds

    async def beat(self, container: str) -> ContainerReport:
        """What the next heartbeat says of it."""
        count = len(self.beats())
        await self.until(lambda: len(self.beats()) > count + 1)
        return next(r for r in self.beats()[-1].containers if r.container == container)


class AgentProcess:
    """An agent of this test, started and killed as often as it likes."""

    def __init__(self, master: FakeMaster, name: str = "n1", **settings: Any) -> None:
        self.name = name
        folder = master.folder
        pair = generate()
        write_pair(pair, folder / "keys", name)
        write_public(pair.public, folder / "allowed", name)
        self.state = folder / f"state-{name}"
        self.file = folder / f"{name}.yaml"
        self.cgroup = f"colchis-test-{uuid.uuid4().hex[:8]}-{name}"
        plain = {
            "node": name,
            "master": f"tcp://127.0.0.1:{master.port}",
            "master_key": str(folder / "keys" / "master.pub"),
            "key": str(folder / "keys" / f"{name}.key"),
            "state": str(self.state),
            "address": "127.0.0.1",
            "cgroup": self.cgroup,
            "cpus": 1,
            "memory": "1GiB",
            "ports": container_ports(0 if name == "n1" else 1),
        }
        self.file.write_text(json.dumps({**plain, **settings}))
        self.errors = folder / f"{name}.log"
        self.command = [sys.executable]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.errors.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, "-m", "colchis_agent.service", str(self.file)],
                stdout=log,
                stderr=log,
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def wait(self) -> int:
        """Wait for its end without a signal."""
        assert self.process is not None
        return self.process.wait(DEADLINE)

    def clean(self) -> None:
        """End the agent and all it runs, whatever state the test left."""
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)
        from colchis_agent.cgroups import open_tree

        plain = json.loads(self.file.read_text())
        tree = open_tree(plain["cgroup"], self.state / "groups")
        for name in tree.names():
            tree.kill_all(name)
            tree.remove(name)
        tree.close()


async def gone(pid: int) -> None:
    """Wait for the end of a process."""
    await wait_meanwhile(lambda: not alive(pid), f"the end of process {pid}")
