"""Shims are forked from a process of their agent's, and nobody could tell by how they behave."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from colchis_agent.driver import ContainerRef, DriverError, LaunchSpec, NeverStarted, Running
from colchis_agent.driver.folder import StateFolder
from tests.host.driver.conftest import World
from tests.host.driver.test_surviving import in_doomed_agent
from tests.host.support import SLEEP, fork_servers, python
from tests.support import alive, wait_for

TOLD = ("PPid", "Uid", "Gid", "Groups", "Umask", "Threads", "SigBlk", "SigIgn", "CapEff")


def sleeper(name: str) -> LaunchSpec:
    """A container that goes on."""
    return LaunchSpec(ContainerRef(name), tuple(python(SLEEP)))


def shim_of(world: World, spec: LaunchSpec) -> int:
    """The shim's pid, once it is at its work and the container runs."""
    assert isinstance(world.driver.inspect(spec.ref), Running)
    record = StateFolder(world.folder(spec.ref)).shim()
    assert record
    wait_for(lambda: caught(record.shim.pid) & 1 << signal.SIGTERM - 1, "the shim at work")
    return record.shim.pid


def status(pid: int) -> dict[str, str]:
    """Fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def caught(pid: int) -> int:
    """The signals that a process handles, as bits."""
    return int(status(pid)["SigCgt"], 16)


def surroundings(pid: int, folder: Path) -> dict[str, object]:
    """All that a shim may have from whoever started it."""
    proc = Path(f"/proc/{pid}")
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    names = [str(file.readlink()) for file in (proc / "fd").iterdir()]
    told = status(pid)
    return {
        "leads its group and session": (int(fields[2]) == pid, int(fields[3]) == pid),
        "nice": fields[16],
        "files": sorted(n.partition(":")[0].replace(str(folder), "") for n in names),
        "environment": (proc / "environ").read_bytes(),
        "cwd": str((proc / "cwd").readlink()),
        "cgroup": (proc / "cgroup").read_text(),
        "oom": (proc / "oom_score_adj").read_text(),
        "limits": (proc / "limits").read_text(),
        **{name: told[name] for name in TOLD},
    }


def kill_fork_servers() -> None:
    """Those of this process."""
    for pid in fork_servers(os.getpid()):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), "the fork server's end")  # noqa: B023


def is_forked(pid: int) -> bool:
    """Whether a shim was forked, rather than started by a command of its own."""
    return b"--serve" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def one_forked_and_one_not(world: World, specs: tuple[LaunchSpec, LaunchSpec]) -> list[int]:
    """Launch two containers; their shims, the second started by a command of its own."""
    world.driver.launch(specs[0])
    kill_fork_servers()
    world.driver.launch(specs[1])
    shims = [shim_of(world, spec) for spec in specs]
    assert [is_forked(shim) for shim in shims] == [True, False]
    return shims


def test_a_forked_shim_is_like_one_with_a_command_of_its_own(any_world: World) -> None:
    specs = sleeper("a/forked/0"), sleeper("a/executed/0")
    pids = one_forked_and_one_not(any_world, specs)
    forked, executed = (
        surroundings(pid, any_world.folder(spec.ref)) for pid, spec in zip(pids, specs, strict=True)
    )
    assert forked == executed
    assert forked["leads its group and session"] == (True, True)
    assert forked["environment"] == b""
    assert forked["Threads"] == "1"
    assert "socket" not in str(forked["files"])
    assert ("_shims" in str(forked["cgroup"])) == (any_world.tree.kind != "none")


def test_shims_are_told_apart_by_their_names(any_world: World) -> None:
    specs = sleeper("a/forked/0"), sleeper("long/executed/12")
    shims = one_forked_and_one_not(any_world, specs)
    assert [status(shim)["Name"] for shim in shims] == ["shim a/forked/0", "shim xecuted/12"]
    for spec in specs:
        record = StateFolder(any_world.folder(spec.ref)).shim()
        assert record and record.child
        assert "shim" not in status(record.child.pid)["Name"]


def test_a_fork_server_that_died_is_done_without_and_started_again(any_world: World) -> None:
    specs = [sleeper(f"a/b/{number}") for number in range(3)]
    any_world.driver.launch(specs[0])
    first = shim_of(any_world, specs[0])
    kill_fork_servers()
    for spec in specs[1:]:
        any_world.driver.launch(spec)
    assert [is_forked(shim_of(any_world, spec)) for spec in specs] == [True, False, True]
    assert shim_of(any_world, specs[0]) == first
    assert len(fork_servers(os.getpid())) == 1


def test_fork_servers_that_die_while_containers_start(any_world: World, tmp_path: Path) -> None:
    names = [f"a/b/{number}" for number in range(16)]

    def start(name: str) -> None:
        tally = tmp_path / name.replace("/", "-")
        script = f"echo started >> {tally}; exec sleep 3600"
        any_world.driver.launch(LaunchSpec(ContainerRef(name), ("sh", "-c", script)))

    with ThreadPoolExecutor(4) as threads:
        starts = [threads.submit(start, name) for name in names]
        while not all(one.done() for one in starts):
            for pid in fork_servers(os.getpid()):
                # It may be dying of the last one.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for one in starts:
            one.result()
    states = any_world.reopened().adopt_all()
    assert all(isinstance(states[ContainerRef(name)], Running) for name in names)
    wait_for(lambda: len(list(tmp_path.iterdir())) == len(names), "all containers")
    wait_for(
        lambda: {file.read_text() for file in tmp_path.iterdir()} == {"started\n"}, "their marks"
    )


def test_a_fork_server_that_does_not_answer_is_replaced(any_world: World) -> None:
    specs = [sleeper(f"a/b/{number}") for number in range(2)]
    any_world.driver.launch(specs[0])
    [stopped] = fork_servers(os.getpid())
    os.kill(stopped, signal.SIGSTOP)
    with (
        patch("colchis_agent.driver.shims.START_SECONDS", 0.5),
        pytest.raises(DriverError, match="no answer"),
    ):
        any_world.driver.launch(specs[1])
    assert not alive(stopped)
    any_world.driver.launch(specs[1])
    assert is_forked(shim_of(any_world, specs[1]))


def test_the_fork_server_ends_with_its_agent_and_containers_go_on(
    any_world: World, tmp_path: Path
) -> None:
    spec, note = sleeper("a/b/0"), tmp_path / "server"
    agent = os.fork()
    if agent == 0:
        try:
            any_world.reopened().launch(spec)
            note.write_text(str(fork_servers(os.getpid())[0]))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(agent, 0)
    server = int(note.read_text())
    wait_for(lambda: not alive(server), "the fork server's end")
    assert alive(shim_of(any_world, spec))
    assert isinstance(any_world.reopened().adopt_all()[spec.ref], Running)


def test_a_shim_starts_though_its_agent_is_dead_before_it_answers(any_world: World) -> None:
    spec = sleeper("a/b/0")
    in_doomed_agent(any_world, "asked", spec)

    def is_running() -> bool:
        return any_world.driver.inspect(spec.ref) not in (NeverStarted(), Running(None))

    wait_for(is_running, "the container")
    assert is_forked(shim_of(any_world, spec))
    assert isinstance(any_world.driver.inspect(spec.ref), Running)


def test_closing_ends_the_fork_server_and_no_container(any_world: World) -> None:
    spec = sleeper("a/b/0")
    any_world.driver.launch(spec)
    assert len(fork_servers(os.getpid())) == 1
    any_world.driver.close()
    assert fork_servers(os.getpid()) == []
    assert alive(shim_of(any_world, spec))


def test_the_fork_server_is_in_no_containers_group(any_world: World) -> None:
    spec = sleeper("a/b/0")
    any_world.driver.launch(spec)
    [server] = fork_servers(os.getpid())
    assert server not in any_world.tree.pids(any_world.driver.group(spec.ref))
    assert any_world.driver.group(spec.ref) not in Path(f"/proc/{server}/cgroup").read_text()
