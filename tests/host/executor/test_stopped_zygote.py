"""The zygote is stopped: the supervisor goes on without it, and can end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colchis.wire import tasks as wire
from tests.host.executor.bench import Bench, bench
from tests.support import DEADLINE, alive, wait_for

POOL = """
import os, select, signal, socket, sys
from pathlib import Path
from colchis_agent.executor.freezer import SignalFreezer
from colchis_agent.executor.pool import Pool
many = 40
pool = Pool(work=Path(sys.argv[1]), lines=many, freezer=SignalFreezer(), results=lambda: None)
pool.control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
os.kill(pool.zygote, signal.SIGSTOP)
handles = [pool.spawn(number) for number in range(many)]
assert pool.news() is None
print("ordered", flush=True)
if sys.argv[2] == "goes on":
    os.kill(pool.zygote, signal.SIGCONT)
    poller = select.poll()
    poller.register(pool.control, select.POLLIN)
    while not all(handle.pid for handle in handles):
        poller.poll()
        assert pool.news() is None
    print("forked", len({handle.pid for handle in handles}), flush=True)
pool.close()
print("closed", flush=True)
"""


@pytest.mark.parametrize(
    ("then", "said"), [("goes on", "ordered\nforked 40\nclosed\n"), ("stays", "ordered\nclosed\n")]
)
def test_forks_are_ordered_without_waiting(tmp_path: Path, then: str, said: str) -> None:
    command = [sys.executable, "-W", "error", "-c", POOL, str(tmp_path), then]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)


def test_executor_works_with_the_processes_it_has(tmp_path: Path) -> None:
    def meet(mine: str, other: str) -> int:
        (tmp_path / mine).touch()
        while not (tmp_path / other).exists():
            time.sleep(0.002)
        return os.getppid()

    with bench(tmp_path, cores=2, spares=0) as made:
        two = [made.call(meet, "a", "b"), made.call(meet, "b", "a")]
        (zygote,) = {made.result(one) for one in two}
        os.kill(zygote, signal.SIGSTOP)
        try:
            # Nobody reaps its process, so that it has a core until the zygote goes on.
            ended = made.call(os._exit, 3)
            assert made.result(made.call(pow, 2, 5)) == 32
            made.reports.clear()
            beat = made.expect(wire.Heartbeat)
            assert [one.attempt for one in beat.attempts] == [ended]
        finally:
            os.kill(zygote, signal.SIGCONT)
        assert "exit code 3" in made.failure(ended).failure.message
        assert made.result(made.call(pow, 2, 6)) == 64


LOOKS = """
import os, signal, sys, time
from pathlib import Path
from colchis_agent.executor.freezer import SignalFreezer
from colchis_agent.executor.pool import Pool, ZygoteGoneError
pool = Pool(work=Path(sys.argv[1]), lines=9, freezer=SignalFreezer(), results=list, patience=10.0,
            look=4.0)
def signalled(number, state):
    os.kill(pool.zygote, number)
    while (Path("/proc") / str(pool.zygote) / "stat").read_text().split()[2] not in state:
        time.sleep(0.001)
signalled(signal.SIGSTOP, "T")
pool.look_at_zygote(0.0)
pool.look_at_zygote(100.0)
print("not needed", flush=True)
pool.spawn(1)
for now in (101.0, 105.0, 109.0, 110.9):
    pool.look_at_zygote(now)
signalled(signal.SIGCONT, "RSD")
pool.look_at_zygote(112.0)
print("goes on", flush=True)
while not pool.handles[1].pid:
    pool.news()
signalled(signal.SIGSTOP, "T")
os.kill(pool.handles[1].pid, signal.SIGKILL)
while (Path("/proc") / str(pool.handles[1].pid) / "stat").read_text().split()[2] != "Z":
    time.sleep(0.001)
for now in (130.0, 134.0, 138.0, 139.9):
    pool.look_at_zygote(now)
print("waits", flush=True)
try:
    pool.look_at_zygote(140.0)
except ZygoteGoneError as error:
    print(error, flush=True)
pool.close()
"""


def run_script(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-c", script, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def test_zygote_that_is_needed_and_stays_stopped_is_given_up(tmp_path: Path) -> None:
    done = run_script(LOOKS, tmp_path)
    said = "not needed\ngoes on\nwaits\nthe zygote was stopped for 10 s\n"
    assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)


SUSPENDED = """
import os, signal, sys, time
from pathlib import Path
from colchis_agent.executor.freezer import SignalFreezer
from colchis_agent.executor.pool import Pool, ZygoteGoneError
pool = Pool(work=Path(sys.argv[1]), lines=9, freezer=SignalFreezer(), results=list, patience=10.0)
os.kill(pool.zygote, signal.SIGSTOP)
while (Path("/proc") / str(pool.zygote) / "stat").read_text().split()[2] != "T":
    time.sleep(0.001)
pool.spawn(1)
now = 5.0
pool.look_at_zygote(now)
for _ in range(9):
    now += 3600.0
    pool.look_at_zygote(now)
print("waits", flush=True)
try:
    pool.look_at_zygote(now + 1.0)
except ZygoteGoneError as error:
    print(error, flush=True)
pool.close()
"""


def test_time_in_which_the_supervisor_was_stopped_itself_does_not_count(tmp_path: Path) -> None:
    done = run_script(SUSPENDED, tmp_path)
    said = "waits\nthe zygote was stopped for 10 s\n"
    assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)


def test_executor_whose_zygote_stays_stopped_leaves_and_ends(tmp_path: Path) -> None:
    made = Bench(tmp_path, cores=1, spares=0, zygote_patience=0.1)
    try:
        zygote = made.result(made.call(os.getppid))
        os.kill(zygote, signal.SIGSTOP)
        made.call(os._exit, 3)
        made.expect(wire.Leave)
        assert made.process.wait(DEADLINE) == 1
        wait_for(lambda: not alive(zygote))
    finally:
        made.process.kill()
        made.disconnect()


def test_executor_ends_while_its_zygote_is_stopped(tmp_path: Path) -> None:
    with bench(tmp_path, cores=1) as made:
        zygote = made.result(made.call(os.getppid))
        os.kill(zygote, signal.SIGSTOP)
    wait_for(lambda: not alive(zygote))
