"""An agent process, real containers, and a small master that speaks the real wire."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from colchis.wire.keys import load_pair, write_public
from colchis.wire.messages import Exit
from tests.host.agent.fake_master import AgentProcess, FakeMaster, gone
from tests.support import alive

WEB = "shop/web/0"
LOOP = "import time\nprint('up', flush=True)\nwhile True: time.sleep(0.05)"
BUSY = "print('up', flush=True)\nwhile True: pass"
Scene = Callable[[FakeMaster, AgentProcess], Coroutine[Any, Any, None]]


def python(code: str) -> list[str]:
    return ["python", "-c", code]


@asynccontextmanager
async def node(folder: Path, **settings: Any) -> AsyncIterator[tuple[FakeMaster, AgentProcess]]:
    async with FakeMaster(folder) as master:
        agent = AgentProcess(master, **settings)
        try:
            agent.start()
            await master.until(lambda: bool(master.beats()))
            yield master, agent
        finally:
            agent.clean()


def play(folder: Path, scene: Scene, **settings: Any) -> None:
    async def run() -> None:
        async with node(folder, **settings) as (master, agent):
            await scene(master, agent)

    asyncio.run(run())


def test_start_suspend_resume_logs_stop(tmp_path: Path) -> None:
    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        assert await master.start(WEB, python(BUSY)) == ""
        await master.logged(WEB, b"up")
        assert (await master.beat(WEB)).usage.memory > 0
        assert await master.suspend(WEB) == ""
        assert (await master.state(WEB, "suspended")).pid is not None
        before = await master.settled_cpu(WEB)
        await master.beat(WEB)
        assert (await master.beat(WEB)).usage.cpu_seconds == before
        assert await master.resume(WEB) == ""
        used = before
        while used == before:
            used = (await master.beat(WEB)).usage.cpu_seconds
        assert await master.stop(WEB) == ""
        end = (await master.state(WEB, "ended")).exit
        assert end == Exit("stopped", signal=15)
        chunk = await master.log(WEB, offset=-3)
        assert (chunk.data, chunk.next_offset, chunk.ended) == (b"up\n", 3, True)
        assert agent.end() == 0
        await master.until(lambda: len(master.byes()) == 1)

    play(tmp_path, scene)


def test_a_suspended_container_is_stopped(tmp_path: Path) -> None:
    async def scene(master: FakeMaster, _: AgentProcess) -> None:
        ignoring = "import signal\nsignal.signal(15, signal.SIG_IGN)\n" + LOOP
        await master.start(WEB, python(ignoring))
        await master.logged(WEB, b"up")
        await master.suspend(WEB)
        assert await master.stop(WEB, 0.1) == ""
        assert (await master.state(WEB, "ended")).exit == Exit("stopped", signal=9)

    play(tmp_path, scene)


def test_containers_know_who_and_where_they_are(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "for n in ('CONTAINER','APP','GROUP','INDEX','HOST','NODE','API'):\n"
        " print(n, os.environ['COLCHIS_'+n])\n"
        "print('token', open(os.environ['COLCHIS_TOKEN_FILE']).read())\n"
        "print('own', os.environ['MINE'])\n"
        "import socket\n"
        "socket.create_server(('127.0.0.1', int(os.environ['COLCHIS_PORT'])))\n"
        "print('port', os.environ['COLCHIS_PORT'], flush=True)\n"
    )

    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        await master.start(WEB, python(code), env={"MINE": "1"}, token="secret")
        report = await master.state(WEB, "ended")
        assert report.exit == Exit("exited", code=0)
        lines = (await master.log(WEB)).data.decode().split("\n")
        assert lines == [
            f"CONTAINER {WEB}",
            "APP shop",
            "GROUP web",
            "INDEX 0",
            "HOST 127.0.0.1",
            "NODE n1",
            "API http://127.0.0.1:1",
            "token secret",
            "own 1",
            f"port {report.port}",
            "",
        ]
        modes = {f.stat().st_mode & 0o777 for f in (agent.state / "private").iterdir()}
        assert modes == {0o600}

    play(tmp_path, scene)


def test_ten_deaths_of_the_agent_leave_containers_alone(tmp_path: Path) -> None:
    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        names = [f"shop/web/{i}" for i in range(3)]
        for name in names:
            assert await master.start(name, python(LOOP)) == ""
        await master.suspend(names[2])
        await master.state(names[2], "suspended")
        pids = {name: (await master.beat(name)).pid for name in names}
        ports = {name: (await master.beat(name)).port for name in names}
        for _ in range(10):
            agent.end(signal.SIGKILL)
            count = len(master.hellos())
            agent.start()
            await master.until(lambda: len(master.hellos()) > count)  # noqa: B023
        hello = master.hellos()[-1]
        assert {r.container: r.pid for r in hello.containers} == pids
        assert {r.container: r.port for r in hello.containers} == ports
        assert {r.restarts for r in hello.containers} == {0}
        assert [r.state for r in hello.containers] == ["running", "running", "suspended"]
        await master.logged(names[0], b"up")
        for name in names:
            assert await master.stop(name) == ""
            pid = pids[name]
            assert pid is not None
            await gone(pid)

    play(tmp_path, scene)


def test_an_end_while_the_agent_was_away_is_told_once_and_truly(tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = (
        f"import os,time,sys\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\nsys.exit(7)"
    )

    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        await master.start(WEB, python(code))
        pid = (await master.beat(WEB)).pid
        assert pid is not None
        agent.end(signal.SIGKILL)
        go.touch()
        await gone(pid)
        agent.start()
        assert (await master.state(WEB, "ended")).exit == Exit("exited", code=7)
        for _ in range(2):
            count = len(master.beats())
            await master.until(lambda: len(master.beats()) > count + 3)  # noqa: B023
            agent.end(signal.SIGKILL)
            agent.start()
            count = len(master.beats())
            await master.until(lambda: len(master.beats()) > count)  # noqa: B023
        assert [r.state for r in master.reports(WEB)].count("ended") == 1
        assert not master.hellos()[-1].containers

    play(tmp_path, scene)


def test_failures_are_restarted_and_told(tmp_path: Path) -> None:
    code = "import os,sys\nprint('life', flush=True)\nsys.exit(3)"

    async def scene(master: FakeMaster, _: AgentProcess) -> None:
        await master.start(WEB, python(code), restart="on-failure")
        await master.until(lambda: any(r.restarts >= 2 for r in master.reports(WEB)))
        ends = {r.exit for r in master.reports(WEB) if r.state == "backing-off"}
        assert ends == {Exit("exited", code=3)}
        # The output of the last life is kept behind that of the one before it.
        await master.until(lambda: master.reports(WEB)[-1].state == "backing-off")
        chunk = await master.log(WEB)
        assert chunk.data == b"life\n"
        following = await master.log(WEB, chunk.next_offset)
        assert following.data == b"life\n"
        assert await master.stop(WEB) == ""
        last = (await master.state(WEB, "ended")).exit
        # It waits for its next life, or has just begun it.
        assert last in (Exit("stopped", code=3), Exit("stopped", signal=15))

    play(tmp_path, scene)


def test_a_command_that_does_not_exist_is_said(tmp_path: Path) -> None:
    async def scene(master: FakeMaster, _: AgentProcess) -> None:
        error = await master.start(WEB, ["/no/such/program"])
        assert "/no/such/program" in error
        report = await master.state(WEB, "ended")
        assert report.exit is not None
        assert report.exit.kind == "launch-failed"

    play(tmp_path, scene)


def test_without_the_master_containers_go_on_and_a_new_epoch_is_obeyed(tmp_path: Path) -> None:
    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        await master.start(WEB, python(LOOP))
        pid = (await master.beat(WEB)).pid
        assert pid is not None
        count = len(master.hellos())
        await master.away()
        await master.back(epoch=4)
        await master.until(lambda: len(master.hellos()) > count)
        assert (await master.beat(WEB)).pid == pid
        master.epoch = 3
        assert "epoch 3 is over" in await master.stop(WEB)
        assert alive(pid)
        agent.end(signal.SIGKILL)
        agent.start()
        await master.until(lambda: master.hellos()[-1].epoch == 4)

    play(tmp_path, scene)


def test_leaving_with_or_without_the_containers(tmp_path: Path) -> None:
    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        await master.start(WEB, python(LOOP))
        pid = (await master.beat(WEB)).pid
        assert pid is not None
        assert agent.end() == 0
        assert alive(pid)
        agent.file.write_text(agent.file.read_text().replace("{", '{"stop_containers": true, ', 1))
        agent.start()
        await master.until(lambda: len(master.hellos()) > 1)
        assert agent.end() == 0
        await gone(pid)
        assert (await master.state(WEB, "ended")).exit == Exit("stopped", signal=15)
        left = list(Path("/sys/fs/cgroup").glob(f"*/{agent.cgroup}*"))
        assert not left

    play(tmp_path, scene)


def test_a_second_agent_on_a_folder_is_refused(tmp_path: Path) -> None:
    async def scene(_: FakeMaster, agent: AgentProcess) -> None:
        first, agent.process = agent.process, None
        agent.start()
        assert agent.wait() == 1
        assert "another agent runs" in agent.errors.read_text()
        agent.process = first

    play(tmp_path, scene)


def test_when_the_state_cannot_be_kept_the_agent_stops_and_containers_go_on(
    tmp_path: Path,
) -> None:
    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        await master.start(WEB, python(LOOP))
        pid = (await master.beat(WEB)).pid
        assert pid is not None
        records = agent.state / "records"
        kept = records.rename(agent.state / "kept")
        records.touch()
        master.orders += 1
        from colchis.wire.messages import Suspend

        await master.say("n1", Suspend(1, master.orders, WEB, 1))
        assert await asyncio.to_thread(agent.wait) == 1
        assert "cannot be written" in agent.errors.read_text()
        assert alive(pid)
        records.unlink()
        kept.rename(records)
        agent.start()
        await master.until(lambda: len(master.hellos()) > 1)
        assert master.hellos()[-1].containers[0].pid == pid

    play(tmp_path, scene)


def test_damaged_records_are_set_aside_and_said(tmp_path: Path) -> None:
    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        await master.start(WEB, python(LOOP))
        await master.start("shop/db/0", python(LOOP))
        pid = (await master.beat(WEB)).pid
        assert pid is not None
        agent.end(signal.SIGKILL)
        [record] = (agent.state / "records").glob("shop+web*.json")
        data = bytearray(record.read_bytes())
        data[40] ^= 1
        record.write_bytes(bytes(data))
        agent.start()
        await master.until(lambda: len(master.hellos()) > 1)
        assert [r.container for r in master.hellos()[-1].containers] == ["shop/db/0"]
        assert "set aside" in agent.errors.read_text()
        await gone(pid)

    play(tmp_path, scene)


def test_two_agents_share_a_machine(tmp_path: Path) -> None:
    async def scene(master: FakeMaster, first: AgentProcess) -> None:
        second = AgentProcess(master, "n2", cpus=0.5)
        try:
            second.start()
            assert await master.start("a/a/0", python(LOOP), node="n1") == ""
            assert await master.start("a/a/1", python(LOOP), node="n2") == ""
            by_node = {hello.node: hello for hello in master.hellos()}
            assert by_node["n1"].capacity["cpus"] == 1000
            assert by_node["n2"].capacity["cpus"] == 500
            assert by_node["n2"].capacity["memory"] == 1 << 30
            assert second.end() == 0
            assert await master.stop("a/a/0") == ""
        finally:
            second.clean()

    play(tmp_path, scene)


@pytest.mark.parametrize("key", ["unknown", "wrong master"])
def test_wrong_keys_are_refused_and_said(tmp_path: Path, key: str) -> None:
    allowed = tmp_path / "allowed"

    async def run() -> None:
        async with FakeMaster(tmp_path) as master:
            agent = AgentProcess(master)
            if key == "unknown":
                (allowed / "n1.pub").unlink()
            else:
                (tmp_path / "keys" / "master.pub").write_bytes(
                    (tmp_path / "keys" / "n1.pub").read_bytes()
                )
            try:
                agent.start()
                await master.until(lambda: "refuses our key" in agent.errors.read_text())
                assert not master.heard
                if key == "unknown":
                    # Put on the list while master and agent run.
                    write_public(load_pair(tmp_path / "keys" / "n1.key").public, allowed, "n1")
                    await master.until(lambda: bool(master.beats()))
                assert agent.end() == 0
            finally:
                agent.clean()

    asyncio.run(run())
