"""What an agent enforces, what it says it cannot, and what it makes of nonsense."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.host.agent.fake_master import AgentProcess, FakeMaster

WEB = "shop/web/0"


def test_out_of_memory_is_named_and_the_agent_lives(tmp_path: Path) -> None:
    greedy = "x = []\nwhile True: x.append(bytearray(1 << 20))"

    async def run() -> None:
        async with FakeMaster(tmp_path) as master:
            agent = AgentProcess(master)
            try:
                agent.start()
                await master.until(lambda: bool(master.beats()))
                if "memory" in master.hellos()[0].unenforced:
                    return
                resources = {"cpus": 500, "memory": 64 << 20}
                await master.start(WEB, ["python", "-c", greedy], resources=resources)
                end = (await master.state(WEB, "ended")).exit
                assert end is not None
                assert end.kind == "oom"
                assert agent.end() == 0
            finally:
                agent.clean()

    asyncio.run(run())


def test_nonsense_from_the_master_is_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        async with FakeMaster(tmp_path) as master:
            agent = AgentProcess(master)
            try:
                agent.start()
                await master.until(lambda: bool(master.beats()))
                for noise in (b"", b"\xc1", bytes(range(256)), b"\x81\xa4type\xa5start"):
                    await master.raw("n1", noise)
                await master.start(WEB, ["true"])
                await master.state(WEB, "ended")
                assert "malformed" in agent.errors.read_text()
            finally:
                agent.clean()

    asyncio.run(run())


def test_a_host_without_cgroups_is_used_and_said_so(tmp_path: Path) -> None:
    """The agent runs where no cgroups are mounted."""
    hidden = 'umount -R /sys/fs/cgroup && exec "$@"'

    async def run() -> None:
        async with FakeMaster(tmp_path) as master:
            agent = AgentProcess(master)
            agent.command = ["unshare", "-m", "sh", "-c", hidden, "sh", sys.executable]
            try:
                agent.start()
                await master.until(lambda: bool(master.beats()))
                hello = master.hellos()[0]
                assert set(hello.unenforced) == {"cpus", "memory", "pids", "freezer"}
                assert "does not let us enforce" in agent.errors.read_text()
                code = "print('up', flush=True)\nwhile True: pass"
                assert await master.start(WEB, ["python", "-c", code]) == ""
                await master.logged(WEB, b"up")
                assert await master.suspend(WEB) == ""
                before = await master.settled_cpu(WEB)
                await master.beat(WEB)
                assert (await master.beat(WEB)).usage.cpu_seconds == before
                assert await master.resume(WEB) == ""
                assert await master.stop(WEB) == ""
                assert agent.end() == 0
            finally:
                agent.clean()

    asyncio.run(run())


@pytest.mark.parametrize("restart", ["always", "never"])
def test_an_app_that_leaves_children_behind_leaves_none(tmp_path: Path, restart: str) -> None:
    code = "import subprocess,sys\nsubprocess.Popen(['sleep','1000'],start_new_session=True)\n"

    async def run() -> None:
        async with FakeMaster(tmp_path) as master:
            agent = AgentProcess(master)
            try:
                agent.start()
                await master.until(lambda: bool(master.beats()))
                await master.start(WEB, ["python", "-c", code], restart=restart)
                await master.until(lambda: any(r.exit is not None for r in master.reports(WEB)))
                assert await master.stop(WEB) == ""
                groups = f"*/{agent.cgroup}/shop*"
                await master.until(lambda: not list(Path("/sys/fs/cgroup").glob(groups)))
            finally:
                agent.clean()

    asyncio.run(run())
