"""Containers outlive their agent, whenever it dies, and run once."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

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
    NeverStarted,
    ProcessDriver,
    Running,
    shim,
)
from colchis_agent.driver.folder import Identity, StateFolder
from colchis_agent.driver.process import send
from colchis_agent.driver.shims import Shims
from tests.host.driver.conftest import World
from tests.host.support import SLEEP, python
from tests.support import wait_for


def in_doomed_agent(world: World, moment: str, spec: LaunchSpec) -> None:
    """Launch from a process that kills itself at the named moment, as an agent may be killed."""
    pid = os.fork()
    if pid == 0:
        deaths: dict[str, tuple[type, str, Callable[..., None]]] = {
            "group": (ProcessDriver, "_intent", _die),
            "intent": (Shims, "start", _die),
            "shim": (Shims, "start", _start_and_die),
            "asked": (Shims, "_answer", _ask_and_die),
        }
        try:
            if moment:
                kind, method, death = deaths[moment]
                with patch.object(kind, method, staticmethod(death)):
                    world.reopened().launch(spec)
            else:
                world.reopened().launch(spec)
        finally:
            _die()
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _start_and_die(folder: Path) -> None:
    subprocess.Popen([sys.executable, "-I", "-S", shim.__file__, str(folder)])
    _die()


def _ask_and_die(begin: Callable[[Path, int], None], folder: Path) -> None:
    begin(folder, os.pipe()[1])
    _die()


def counting(world: World, tally: Path) -> LaunchSpec:
    """A container that leaves one mark per start and goes on."""
    return LaunchSpec(world.ref, ("sh", "-c", f"echo started >> {tally}; exec sleep 3600"))


def marks(tally: Path) -> str:
    """What was left there; at first there is no file, then an empty one."""
    return tally.read_text() if tally.exists() else ""


def running(world: World) -> int | None:
    """Pid of the container's main process."""
    state = world.driver.inspect(world.ref)
    return state.pid if isinstance(state, Running) else None


def test_restarted_agents_find_the_same_process(any_world: World) -> None:
    in_doomed_agent(any_world, "", LaunchSpec(any_world.ref, tuple(python(SLEEP))))
    pid = wait_for(lambda: running(any_world), "the container")
    for _ in range(10):
        in_doomed_agent(any_world, "", LaunchSpec(any_world.ref, tuple(python(SLEEP))))
        assert any_world.reopened().adopt_all() == {any_world.ref: Running(pid)}
    assert any_world.driver.terminate(any_world.ref)
    wait_for(lambda: isinstance(any_world.driver.inspect(any_world.ref), Ended), "the end")


def test_the_true_end_is_kept_while_there_is_no_agent(any_world: World) -> None:
    in_doomed_agent(any_world, "", LaunchSpec(any_world.ref, ("sh", "-c", "sleep 0.2; exit 7")))
    wait_for(lambda: isinstance(any_world.reopened().inspect(any_world.ref), Ended), "the end")
    state = any_world.reopened().adopt_all()[any_world.ref]
    assert isinstance(state, Ended)
    assert (state.exit.kind, state.exit.code) == (ExitKind.EXITED, 7)


@pytest.mark.parametrize("moment", ["group", "intent", "shim", "asked", ""])
def test_death_during_launch_never_starts_it_twice(
    any_world: World, moment: str, tmp_path: Path
) -> None:
    tally = tmp_path / "tally"
    spec = counting(any_world, tally)
    in_doomed_agent(any_world, moment, spec)
    driver = any_world.reopened()
    assert any_world.ref in driver.adopt_all()
    driver.launch(spec)
    wait_for(lambda: running(any_world) and marks(tally), "the container")
    driver.launch(spec)
    assert marks(tally) == "started\n"
    assert not (any_world.folder() / "env.json").exists()


def test_an_interrupted_launch_can_be_given_up(any_world: World, tmp_path: Path) -> None:
    in_doomed_agent(any_world, "intent", counting(any_world, tmp_path / "tally"))
    driver = any_world.reopened()
    assert driver.adopt_all() == {any_world.ref: NeverStarted()}
    folder = any_world.folder()
    driver.discard(any_world.ref)
    # The shim that was on its way all the while finds nothing to start.
    late = subprocess.run(
        [sys.executable, "-I", "-S", shim.__file__, str(folder)], capture_output=True, check=False
    )
    assert b"intent.json" in late.stdout
    assert driver.inspect(any_world.ref) == Gone()
    assert not (tmp_path / "tally").exists()


def test_a_shim_that_starts_while_we_look_is_not_taken_for_lost(any_world: World) -> None:
    spec = LaunchSpec(any_world.ref, tuple(python(SLEEP)))
    in_doomed_agent(any_world, "intent", spec)

    def look_and_start(path: Path) -> bool:
        locked = shim.is_locked(path)
        any_world.driver._shims.start(any_world.folder())
        return locked

    with patch("colchis_agent.driver.folder.is_locked", look_and_start):
        state = any_world.reopened().inspect(any_world.ref)
    assert state == NeverStarted()
    assert running(any_world)


def test_many_launches_at_once_start_it_once(any_world: World, tmp_path: Path) -> None:
    tally = tmp_path / "tally"
    spec = counting(any_world, tally)
    drivers = [any_world.reopened() for _ in range(6)]
    threads = [threading.Thread(target=driver.launch, args=(spec,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: marks(tally), "the container")
    assert marks(tally) == "started\n"


def test_a_killed_shim_takes_the_container_along(any_world: World) -> None:
    any_world.driver.launch(LaunchSpec(any_world.ref, tuple(python(SLEEP))))
    pid = running(any_world)
    record = StateFolder(any_world.folder()).shim()
    assert pid and record
    assert send(record.shim, signal.SIGKILL)
    wait_for(lambda: running(any_world) is None, "the shim's end")
    wait_for(lambda: any_world.driver.kill(any_world.ref), "an empty group")
    state = any_world.driver.inspect(any_world.ref)
    assert state == Ended(Exit(ExitKind.LOST, message="its supervisor was killed"))


def test_signals_to_a_shim_at_its_containers_end_do_not_hide_how_it_ended(world: World) -> None:
    script = "trap '' TERM; echo up; sleep 0.2; exit 3"
    world.driver.launch(LaunchSpec(world.ref, ("sh", "-c", script)))
    wait_for(lambda: world.driver.read_logs(world.ref, 0, 10)[0], "the container")
    record = StateFolder(world.folder()).shim()
    assert record
    while send(record.shim, signal.SIGTERM):
        pass
    state = world.driver.inspect(world.ref)
    assert isinstance(state, Ended)
    assert (state.exit.kind, state.exit.code) == (ExitKind.EXITED, 3)


def _forged(world: World, pid: int, start: int, boot: str) -> None:
    """Make the records of an ended container name another process."""
    stranger = {"pid": pid, "start": start, "boot": boot}
    shim.write_json(world.folder() / "shim.json", {"shim": stranger, "child": stranger})


def test_a_stranger_with_the_same_pid_is_never_touched(any_world: World) -> None:
    stranger = subprocess.Popen(python(SLEEP))
    start = shim.start_time(stranger.pid)
    assert start is not None
    boot = shim.boot_id()
    for forged in (
        Identity(stranger.pid, start - 1, boot),
        Identity(stranger.pid, start, "another-boot"),
    ):
        assert not forged.alive()
        assert not send(forged, signal.SIGKILL)
    any_world.driver.launch(LaunchSpec(any_world.ref, ("true",)))
    wait_for(lambda: isinstance(any_world.driver.inspect(any_world.ref), Ended), "the end")
    (any_world.folder() / "exit.json").unlink()
    _forged(any_world, stranger.pid, start - 1, boot)
    assert any_world.driver.exit_descriptor(any_world.ref) is None
    assert not any_world.driver.terminate(any_world.ref)
    assert any_world.driver.kill(any_world.ref)
    any_world.driver.discard(any_world.ref)
    assert stranger.poll() is None
    assert send(Identity(stranger.pid, start, boot), signal.SIGKILL)
    assert stranger.wait() == -signal.SIGKILL


def test_after_a_reboot_it_is_lost_and_nobody_is_signalled(any_world: World) -> None:
    any_world.driver.launch(LaunchSpec(any_world.ref, ("true",)))
    wait_for(lambda: isinstance(any_world.driver.inspect(any_world.ref), Ended), "the end")
    (any_world.folder() / "exit.json").unlink()
    own_start = shim.start_time(os.getpid())
    assert own_start is not None
    _forged(any_world, os.getpid(), own_start, "an-earlier-boot")

    def settled() -> bool:
        return isinstance(any_world.driver.inspect(any_world.ref), Ended)

    wait_for(settled, "the shim to let go")
    state = any_world.driver.inspect(any_world.ref)
    assert state == Ended(Exit(ExitKind.LOST, message="the host was restarted"))
    assert not any_world.driver.terminate(any_world.ref)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"kind": "nonsense"}', b"\x00\xff"])
def test_a_damaged_record_is_said_clearly(any_world: World, damage: bytes) -> None:
    any_world.driver.launch(LaunchSpec(any_world.ref, ("true",)))
    wait_for(lambda: isinstance(any_world.driver.inspect(any_world.ref), Ended), "the end")
    (any_world.folder() / "exit.json").write_bytes(damage)
    state = any_world.driver.adopt_all()[any_world.ref]
    assert isinstance(state, Ended)
    assert state.exit.kind is ExitKind.LOST
    assert "exit.json: unreadable" in state.exit.message


def test_the_end_wakes_an_event_loop(any_world: World) -> None:
    any_world.driver.launch(LaunchSpec(any_world.ref, tuple(python(SLEEP))))
    descriptor = any_world.driver.exit_descriptor(any_world.ref)
    assert descriptor is not None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(0) == []
    any_world.driver.kill(any_world.ref)
    assert poll.poll(60_000)
    os.close(descriptor)
    assert isinstance(any_world.driver.inspect(any_world.ref), Ended)


def test_a_full_disk_stops_the_launch_and_spares_what_runs(world: World, tmp_path: Path) -> None:
    world.driver.launch(LaunchSpec(world.ref, tuple(python(SLEEP))))
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", full], check=True)
    try:
        (full / "filler").write_bytes(b"x" * 4096 * 3)
        cramped = ProcessDriver(full, world.tree)
        other = ContainerRef("app/cramped/0")
        with pytest.raises(DriverError, match=r"cannot launch app/cramped/0#0: .*No space"):
            cramped.launch(LaunchSpec(other, ("true",), env={"PAD": "x" * 20000}, limits=Limits()))
        assert running(world)
        world.tree.remove(cramped.group(other))
    finally:
        subprocess.run(["umount", full], check=True)
