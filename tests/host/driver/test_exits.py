"""How a container ended is told truly, and nothing of it is left."""

import signal
from pathlib import Path

import pytest

from colchis_agent.cgroups import Limits
from colchis_agent.driver import (
    ContainerRef,
    DriverError,
    Ended,
    Exit,
    ExitKind,
    Gone,
    LaunchSpec,
    Running,
)
from tests.host.driver.conftest import World
from tests.host.support import BURN, SLEEP, python
from tests.support import wait_for

MIB = 1 << 20


def launch(world: World, *command: str, limits: Limits | None = None) -> None:
    """Start a container of the world with a command."""
    world.driver.launch(LaunchSpec(world.ref, command, limits=limits or Limits()))


def ended(world: World, ref: ContainerRef | None = None) -> Exit:
    """Wait for the end of a container."""

    def look() -> Ended | None:
        state = world.driver.inspect(ref or world.ref)
        return state if isinstance(state, Ended) else None

    state = wait_for(look, "the end")
    assert state is not None
    return state.exit


@pytest.mark.parametrize("code", [0, 3, 137])
def test_exit_code(any_world: World, code: int) -> None:
    launch(any_world, "sh", "-c", f"exit {code}")
    end = ended(any_world)
    assert (end.kind, end.code, end.signal) == (ExitKind.EXITED, code, None)


def test_signal(any_world: World) -> None:
    launch(any_world, "sh", "-c", "kill -USR1 $$")
    end = ended(any_world)
    assert (end.kind, end.code, end.signal) == (ExitKind.SIGNALED, None, signal.SIGUSR1)


def test_out_of_memory_is_named(world: World) -> None:
    launch(world, *python(f"x = b'x' * {256 * MIB}"), limits=Limits(memory_bytes=32 * MIB))
    end = ended(world)
    assert (end.kind, end.signal, end.oom_kills) == (ExitKind.OOM, signal.SIGKILL, 1)


def test_out_of_memory_below_a_shell_is_named(world: World) -> None:
    greedy = " ".join(f"'{word}'" for word in python(f"x = bytes(1) * {256 * MIB}"))
    launch(world, "sh", "-c", f"{greedy}; exit $?", limits=Limits(memory_bytes=32 * MIB))
    end = ended(world)
    assert (end.kind, end.code) == (ExitKind.OOM, 137)


def test_sigkill_without_a_full_memory_is_no_oom(world: World) -> None:
    launch(world, "sh", "-c", "kill -KILL $$", limits=Limits(memory_bytes=64 * MIB))
    assert ended(world).kind is ExitKind.SIGNALED


@pytest.mark.parametrize("command", ["/does/not/exist", "/etc/passwd"])
def test_what_cannot_be_started_says_why(any_world: World, command: str) -> None:
    launch(any_world, command)
    state = any_world.driver.inspect(any_world.ref)
    assert isinstance(state, Ended)
    assert state.exit.kind is ExitKind.FAILED
    assert command in state.exit.message


def test_output_is_complete_at_the_end(any_world: World) -> None:
    launch(any_world, "sh", "-c", "echo out; echo err >&2; seq 1 20000")
    ended(any_world)
    expected = b"out\nerr\n" + b"".join(b"%d\n" % number for number in range(1, 20001))
    assert any_world.driver.read_logs(any_world.ref, 0, 10 * MIB) == (expected, len(expected))


def test_terminate_lets_it_finish(any_world: World) -> None:
    launch(
        any_world, "sh", "-c", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done"
    )
    wait_for(lambda: any_world.driver.read_logs(any_world.ref, 0, 100)[0] == b"up\n", "the trap")
    assert any_world.driver.terminate(any_world.ref)
    assert ended(any_world).code == 5
    assert any_world.driver.read_logs(any_world.ref, 3, 100)[0] == b"bye\n"
    assert not any_world.driver.terminate(any_world.ref)


def test_terminate_reaches_the_suspended(any_world: World) -> None:
    launch(any_world, *python(BURN))
    any_world.driver.suspend([any_world.ref])
    wait_for(lambda: any_world.driver.is_suspended(any_world.ref), "suspended")
    assert any_world.driver.terminate(any_world.ref)
    assert ended(any_world).signal == signal.SIGTERM


def test_kill_reaches_the_suspended(any_world: World) -> None:
    launch(any_world, *python(BURN))
    any_world.driver.suspend([any_world.ref])
    wait_for(lambda: any_world.driver.is_suspended(any_world.ref), "suspended")
    wait_for(lambda: any_world.driver.kill(any_world.ref), "an empty group")
    assert ended(any_world).signal == signal.SIGKILL


def test_what_the_main_process_leaves_behind_is_killed(any_world: World) -> None:
    launch(any_world, "sh", "-c", "setsid sleep 3600 & (setsid sleep 3601 &) ; echo $!; exit 4")
    assert ended(any_world).code == 4
    left = int(any_world.driver.read_logs(any_world.ref, 0, 100)[0])
    assert not Path(f"/proc/{left}").exists()
    assert any_world.tree.pids(any_world.driver.group(any_world.ref)) == ()


def test_a_fork_bomb_is_cleared_by_one_stop(world: World) -> None:
    bomb = "import os, time\nwhile True:\n try: os.fork()\n except OSError: time.sleep(0.05)"
    launch(world, *python(bomb), limits=Limits(pids=30, cpus=0.5))
    wait_for(lambda: world.driver.usages([world.ref])[world.ref].pids == 30, "a full group")
    wait_for(lambda: world.driver.kill(world.ref), "an empty group")
    assert ended(world).signal == signal.SIGKILL


def test_what_runs_cannot_be_discarded(any_world: World) -> None:
    launch(any_world, *python(SLEEP))
    with pytest.raises(DriverError, match="still runs"):
        any_world.driver.discard(any_world.ref)
    assert isinstance(any_world.driver.inspect(any_world.ref), Running)


def test_discarding_leaves_nothing(any_world: World) -> None:
    launch(any_world, "true")
    ended(any_world)
    any_world.driver.discard(any_world.ref)
    any_world.driver.discard(any_world.ref)
    assert any_world.driver.inspect(any_world.ref) == Gone()
    assert any_world.driver.adopt_all() == {}
    assert any_world.driver.kill(any_world.ref)
    assert any_world.driver.read_logs(any_world.ref, 0, 10) == (b"", 0)


def test_lives_of_one_container_are_apart(any_world: World) -> None:
    second = ContainerRef(any_world.ref.container, 2)
    launch(any_world, "sh", "-c", "exit 1")
    any_world.driver.launch(LaunchSpec(second, ("sh", "-c", "exit 2")))
    assert (ended(any_world).code, ended(any_world, second).code) == (1, 2)
    assert set(any_world.driver.adopt_all()) == {any_world.ref, second}


def test_an_empty_command_is_refused(any_world: World) -> None:
    with pytest.raises(DriverError, match="no command"):
        launch(any_world)
    assert any_world.driver.inspect(any_world.ref) == Gone()
