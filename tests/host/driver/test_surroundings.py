"""What a container is given, and what it is kept from."""

import os
import signal
from pathlib import Path

from colchis_agent.cgroups import Limits, Usage
from colchis_agent.driver import Ended, LaunchSpec, Running
from tests.host.driver.conftest import World
from tests.host.support import SLEEP, python
from tests.support import wait_for

NOBODY = 65534


def output(world: World, spec: LaunchSpec) -> str:
    """Everything that a container prints until its end."""
    world.driver.launch(spec)
    wait_for(lambda: isinstance(world.driver.inspect(spec.ref), Ended), "the end")
    return world.driver.read_logs(spec.ref, 0, 1 << 20)[0].decode()


def test_it_runs_as_its_user_without_new_privileges(any_world: World) -> None:
    command = ("sh", "-c", "grep -E '^(Uid|Gid|Groups|NoNewPrivs)' /proc/self/status; pwd")
    text = output(any_world, LaunchSpec(any_world.ref, command, uid=NOBODY))
    facts = [line.split() for line in text.splitlines()]
    assert facts == [
        ["Uid:", *["65534"] * 4],
        ["Gid:", *["65534"] * 4],
        ["Groups:", "65534"],
        ["NoNewPrivs:", "1"],
        [str(any_world.folder() / "work")],
    ]


def test_it_sees_its_environment_and_no_more(any_world: World) -> None:
    os.environ["COLCHIS_AGENT_SECRET"] = "not for containers"
    spec = LaunchSpec(any_world.ref, ("env",), env={"TOKEN": "zwölf"})
    try:
        lines = output(any_world, spec).splitlines()
    finally:
        del os.environ["COLCHIS_AGENT_SECRET"]
    assert "TOKEN=zwölf" in lines
    assert {line.partition("=")[0] for line in lines} == {"PATH", "TOKEN"}


def test_secrets_are_in_no_argument_and_no_file_that_stays(any_world: World) -> None:
    secret = "swordfish-1234"
    any_world.driver.launch(
        LaunchSpec(any_world.ref, tuple(python(SLEEP)), env={"PASSWORD": secret})
    )
    state = any_world.driver.inspect(any_world.ref)
    assert isinstance(state, Running)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert secret.encode() not in process.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
    files = [path for path in any_world.folder().rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert secret.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_it_leads_a_session_and_reads_nothing(any_world: World) -> None:
    code = "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == '')"
    assert output(any_world, LaunchSpec(any_world.ref, tuple(python(code)))) == "True True\n"


def test_signals_have_their_usual_meaning(any_world: World) -> None:
    command = ("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    lines = output(any_world, LaunchSpec(any_world.ref, command)).splitlines()
    # What posix_spawn starts, and all below it, ignores signals that the C library keeps to itself.
    usable = sum(1 << number - 1 for number in signal.valid_signals())
    assert [int(line.split()[1], 16) & usable for line in lines] == [0, 0]


def test_it_inherits_no_descriptors(any_world: World) -> None:
    code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
    assert output(any_world, LaunchSpec(any_world.ref, tuple(python(code)))) == "[0, 1, 2]\n"


def test_its_processes_are_all_in_its_group_and_the_shim_is_not(any_world: World) -> None:
    any_world.driver.launch(LaunchSpec(any_world.ref, ("sh", "-c", "sleep 3600 & exec sleep 3600")))
    group = any_world.driver.group(any_world.ref)
    wait_for(lambda: len(any_world.tree.pids(group)) == 2, "both processes")
    state = any_world.driver.inspect(any_world.ref)
    assert isinstance(state, Running)
    assert state.pid in any_world.tree.pids(group)
    stat = Path(f"/proc/{state.pid}/stat").read_text()
    parent = int(stat.rpartition(")")[2].split()[1])
    assert parent not in any_world.tree.pids(group)


def test_limits_hold_from_the_start_and_change_while_it_runs(world: World) -> None:
    world.driver.launch(LaunchSpec(world.ref, tuple(python(SLEEP)), limits=Limits(pids=3)))
    folder = [file.parent for file in world.tree.procs_files(world.driver.group(world.ref))][-1]
    assert (folder / "pids.max").read_text() == "3\n"
    world.driver.set_limits(world.ref, Limits(pids=9))
    assert (folder / "pids.max").read_text() == "9\n"


def test_usage_outlives_the_processes_until_it_is_discarded(world: World) -> None:
    code = "import time\nwhile time.process_time() < 0.2: pass"
    output(world, LaunchSpec(world.ref, tuple(python(code))))
    # Some kernels count whole ticks only.
    assert world.driver.usages([world.ref])[world.ref].cpu_seconds > 0.1
    world.driver.discard(world.ref)
    assert world.driver.usages([world.ref])[world.ref] == Usage()


def test_logs_rotate_and_keep_their_offsets(any_world: World) -> None:
    lines = [f"line {number:05d}\n" for number in range(10_000)]
    code = "for n in range(10000): print(f'line {n:05d}')"
    spec = LaunchSpec(any_world.ref, tuple(python(code)), log_bytes=10_007, log_files=3)
    kept = output(any_world, spec)
    whole = "".join(lines)
    assert whole.endswith(kept)
    assert 20_014 < len(kept) <= 30_021
    offset = len(whole) - 500
    assert any_world.driver.read_logs(any_world.ref, offset, 100) == (
        whole[offset : offset + 100].encode(),
        offset + 100,
    )
    assert any_world.driver.read_logs(any_world.ref, len(whole), 100) == (b"", len(whole))
    assert len(list(any_world.folder().glob("log.*"))) == 3
