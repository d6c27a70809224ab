"""An agent dies, and its fork server with it, while the containers that it was to start start."""

import signal
from pathlib import Path

from colchis.wire.messages import Start
from tests.host.agent.fake_master import AgentProcess, FakeMaster, gone
from tests.host.agent.test_agent_host import play
from tests.host.support import fork_servers
from tests.support import alive

LOTS = [[f"shop/lot{lot}/{number}" for number in range(12)] for lot in range(4)]
NAMES = [name for lot in LOTS for name in lot]


def running(master: FakeMaster) -> dict[str, int]:
    """Containers that run, with their pids, as the last heartbeat has them."""
    told = master.beats()[-1].containers
    return {one.container: one.pid for one in told if one.state == "running" and one.pid}


def test_deaths_of_the_agent_while_containers_start(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()

    async def order(master: FakeMaster, names: list[str]) -> None:
        for name in names:
            master.orders += 1
            mark = marks / name.replace("/", "-")
            command = ["sh", "-c", f"echo started >> {mark}; exec sleep 3600"]
            resources = {"cpus": 10, "memory": 8 << 20}
            await master.say(
                "n1", Start(1, master.orders, name, 1, command, {}, resources, "never")
            )

    async def scene(master: FakeMaster, agent: AgentProcess) -> None:
        for lot in LOTS:
            begun = len(list(marks.iterdir()))
            await order(master, lot)
            await master.until(lambda: len(list(marks.iterdir())) > begun)  # noqa: B023
            assert agent.process is not None
            servers = fork_servers(agent.process.pid)
            agent.end(signal.SIGKILL)
            for server in servers:
                await gone(server)
            greetings = len(master.hellos())
            agent.start()
            await master.until(lambda: len(master.hellos()) > greetings)  # noqa: B023
        await order(master, NAMES)
        await master.until(lambda: set(running(master)) == set(NAMES))
        pids = running(master)
        await master.until(lambda: len(list(marks.iterdir())) == len(NAMES))
        await master.until(lambda: {f.read_text() for f in marks.iterdir()} == {"started\n"})
        assert agent.process is not None
        servers = fork_servers(agent.process.pid)
        assert agent.end() == 0
        assert not any(alive(server) for server in servers)
        assert all(alive(pid) for pid in pids.values())

    play(tmp_path, scene)
