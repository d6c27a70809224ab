"""A real executor: tasks in slot processes, suspended, resumed, cancelled and killed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from colchis.wire import tasks as wire
from colchis.wire.messages import ExecutorSample
from colchis.wire.work import Stored
from tests.host.executor.bench import Bench, bench, descendants
from tests.support import alive, wait_for

FOREVER = range(10**12)
"""More records than a task gets through before it is stopped."""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, cores=1) as made:
        yield made


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Bench]:
    """One that freezes no task for being slow to yield."""
    with bench(tmp_path, cores=1, grace=600.0) as made:
        yield made


def gated(folder: str) -> Any:
    """A task that says how far it has come, and goes no further than a file allows."""

    def work(records: Iterator[int]) -> list[int]:
        import pathlib
        import time

        done = []
        for record in records:
            done.append(record)
            pathlib.Path(folder, "at").write_text(str(record))
            while not pathlib.Path(folder, f"go-{record}").exists():
                time.sleep(0.005)
        return done

    return work


def reached(folder: Path, record: int) -> None:
    wait_for(lambda: (folder / "at").exists() and (folder / "at").read_text() == str(record))


def endless(records: Iterator[int]) -> int:
    return sum(1 for _ in records)


def stuck(folder: str) -> Any:
    """A task that stays in one C call until a file descriptor is written to, then returns."""

    def work(records: Iterator[int]) -> str:
        import ctypes
        import pathlib

        pathlib.Path(folder, "stuck").write_text("")
        libc = ctypes.PyDLL(None)  # keeps the interpreter lock
        while not pathlib.Path(folder, "free").exists():
            libc.usleep(20_000)
        return "freed"

    return work


def test_records_are_worked_through(one: Bench) -> None:
    doubled = one.launch(lambda records: [2 * r for r in records], [1, 2], [3])
    assert one.result(doubled) == [2, 4, 6]


def test_task_goes_on_where_it_yielded_and_another_runs_meanwhile(
    patient: Bench, tmp_path: Path
) -> None:
    task = patient.launch(gated(str(tmp_path)), [0, 1])
    reached(tmp_path, 0)
    patient.ask_to_suspend(task)
    (tmp_path / "go-0").touch()
    ack = patient.expect(wire.Suspended)
    assert ack.rung == "cooperative"
    assert patient.result(patient.call(pow, 2, 5)) == 32
    assert (tmp_path / "at").read_text() == "0"
    (tmp_path / "go-1").touch()
    patient.resume(task)
    assert patient.result(task) == [0, 1]


def test_yields_from_the_depth_of_users_calls(patient: Bench, tmp_path: Path) -> None:
    def deep(records: Iterator[int]) -> int:
        import functools

        def generate(depth: int) -> Iterator[int]:
            if depth:
                yield from generate(depth - 1)
                return
            (tmp_path / "begun").touch()
            for record in records:
                if record < 10**5:
                    yield record
                elif (tmp_path / "enough").exists():
                    return

        return functools.reduce(lambda a, b: max(a, b), sorted(map(abs, generate(50))))

    task = patient.launch(deep, FOREVER)
    wait_for((tmp_path / "begun").exists)
    assert patient.suspend(task).rung == "cooperative"
    for _ in range(2):
        patient.resume(task)
        patient.suspend(task)
    patient.resume(task)
    (tmp_path / "enough").touch()
    assert patient.result(task) == 10**5 - 1


def test_task_in_one_c_call_is_frozen(one: Bench, tmp_path: Path) -> None:
    task = one.launch(stuck(str(tmp_path)), [0])
    wait_for((tmp_path / "stuck").exists)
    assert one.suspend(task).rung == "frozen"
    assert one.result(one.call(pow, 2, 5)) == 32
    (tmp_path / "free").touch()
    assert not [r for r in one.settle(0.2) if isinstance(r, wire.Finished)]
    one.resume(task)
    assert one.result(task) == "freed"


def test_suspended_memory_is_measured(one: Bench, tmp_path: Path) -> None:
    def hoard(records: Iterator[int]) -> int:
        held = bytearray(os.urandom(1)) * (64 * 2**20)
        for _ in records:
            if not (tmp_path / "held").exists():
                (tmp_path / "held").touch()
        return len(held)

    task = one.launch(hoard, FOREVER)
    wait_for((tmp_path / "held").exists)
    ack = one.suspend(task)
    assert 60 * 2**20 < ack.memory < 200 * 2**20
    beat = one.expect(wire.Heartbeat, lambda b: any(a.phase == "suspended" for a in b.attempts))
    assert beat.attempts[0].memory == ack.memory
    one.send(wire.Cancel(task, 30.0))
    one.expect(wire.Cancelled)


def test_agent_finds_the_figures_in_the_file_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "status.json"
    monkeypatch.setenv("COLCHIS_STATUS_FILE", str(file))
    with bench(tmp_path, cores=1) as made:
        task = made.launch(endless, FOREVER)
        made.suspend(task)

        def shown() -> bool:
            if not file.exists():
                return False
            sample = msgspec.json.decode(file.read_bytes(), type=ExecutorSample)
            return (sample.container, sample.suspended, sample.running) == ("e0", 1, 0)

        wait_for(shown)


def test_progress_is_told(one: Bench, tmp_path: Path) -> None:
    task = one.launch(gated(str(tmp_path)), [0, 1, 2, 3])
    for record in (0, 1):
        reached(tmp_path, record)
        one.expect(wire.Heartbeat)
        (tmp_path / f"go-{record}").touch()
    reached(tmp_path, 2)
    beat = one.expect(wire.Heartbeat, lambda b: any(a.progress > 0 for a in b.attempts))
    assert 0.25 <= beat.attempts[0].progress <= 0.75
    one.send(wire.Cancel(task, 0.0))
    one.expect(wire.Cancelled)


def test_cancel_lets_a_task_clean_up(one: Bench, tmp_path: Path) -> None:
    def tidy(records: Iterator[int]) -> None:
        try:
            for _ in records:
                (tmp_path / "began").touch()
        finally:
            (tmp_path / "tidied").touch()

    for suspended in (False, True):
        task = one.launch(tidy, FOREVER)
        wait_for((tmp_path / "began").exists)
        if suspended:
            one.suspend(task)
        one.send(wire.Cancel(task, 30.0))
        assert one.expect(wire.Cancelled).attempt == task
        assert (tmp_path / "tidied").exists()
        (tmp_path / "tidied").unlink()
        (tmp_path / "began").unlink()


def test_kill_works_in_every_state(one: Bench, tmp_path: Path) -> None:
    running = one.launch(stuck(str(tmp_path)), [0])
    wait_for((tmp_path / "stuck").exists)
    waiting = one.launch(endless, range(10))
    one.send(wire.Cancel(waiting, 0.0))
    one.send(wire.Cancel(running, 0.0))
    assert {one.expect(wire.Cancelled).attempt for _ in range(2)} == {running, waiting}

    (tmp_path / "stuck").unlink()
    frozen = one.launch(stuck(str(tmp_path)), [0])
    wait_for((tmp_path / "stuck").exists)
    assert one.suspend(frozen).rung == "frozen"
    one.send(wire.Cancel(frozen, 0.0))
    assert one.expect(wire.Cancelled).attempt == frozen

    held, other = one.launch(endless, FOREVER), one.launch(endless, [1])
    one.suspend(other)
    one.send(wire.Cancel(other, 0.0))
    one.send(wire.Suspend(held))
    one.send(wire.Cancel(held, 0.0))
    assert {one.expect(wire.Cancelled).attempt for _ in range(2)} == {held, other}
    assert one.result(one.call(pow, 2, 5)) == 32


def segfault() -> None:
    import ctypes

    print("about to read address zero", flush=True)
    ctypes.string_at(0)


def recurse(depth: int = 0) -> int:
    return recurse(depth + 1) + 1


def exhaust() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, before[1]))
    try:
        bytearray(2**33)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("doing", "message"),
    [
        (lambda: 1 // 0, "ZeroDivisionError: "),
        (lambda: __import__("sys").exit(3), "SystemExit: 3"),
        (lambda: os._exit(4), "exit code 4"),
        (lambda: os.abort(), "SIGABRT"),
        (lambda: os.kill(os.getpid(), 9), "SIGKILL"),
        (segfault, "SIGSEGV"),
        (recurse, "RecursionError"),
        (exhaust, "MemoryError"),
    ],
    ids=["raise", "sys.exit", "os._exit", "abort", "kill", "segfault", "recursion", "memory"],
)
def test_whatever_a_task_does_the_executor_goes_on(one: Bench, doing: Any, message: str) -> None:
    failed = one.failure(one.call(doing))
    assert message in failed.failure.message
    assert (failed.failure.executor, failed.failure.node) == ("e0", "n0")
    if doing is segfault:
        assert "about to read address zero" in failed.failure.log
    assert one.result(one.call(pow, 2, 5)) == 32


def test_child_that_a_task_forked_does_not_speak_for_it(one: Bench) -> None:
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            raise SystemExit(0)
        return os.waitpid(pid, 0)[1]

    assert one.result(one.call(fork)) == 0


def test_what_forks_slots_has_one_thread(one: Bench) -> None:
    def threads() -> int:
        return len(list(Path(f"/proc/{os.getppid()}/task").iterdir()))

    assert one.result(one.call(threads)) == 1


def test_large_results_stay_and_are_served(one: Bench) -> None:
    task = one.launch(lambda records: [bytes(100_000)] * 2, [0], buckets=2)
    finished = one.expect(wire.Finished)
    assert finished.attempt == task
    first, second = finished.results
    assert isinstance(first, Stored) and isinstance(second, Stored)
    length = one.launch(lambda records: sum(records), first)
    assert one.result(length) == 0
    one.expect(wire.Heartbeat, lambda b: b.stored >= 200_000)
    one.reports.clear()
    one.send(wire.DropResults([first.key]))
    # They are dropped at leisure, since nobody is to ask for them.
    one.expect(wire.Heartbeat, lambda b: b.stored < 200_000)
    lost = one.launch(lambda records: sum(records), first)
    assert one.expect(wire.InputLost) == wire.InputLost(lost, first.key)


def test_memory_first_then_disk(tmp_path: Path) -> None:
    with bench(tmp_path, cores=1, store_memory=250_000) as made:
        kept = []
        for number in range(5):
            task = made.launch(lambda records: bytes(records) * 100_000, [number])
            kept.append(made.expect(wire.Finished, lambda r, t=task: r.attempt == t).results[0])  # type: ignore[misc]  # a default binds it
        beat = made.expect(wire.Heartbeat, lambda b: b.stored >= 500_000)
        assert beat.spilled > 0
        for number, result in enumerate(kept):
            again = made.launch(lambda records: max(records), result)
            assert made.result(again) == number


def test_orders_of_an_older_epoch_are_not_obeyed(one: Bench) -> None:
    one.send(wire.Welcome(3))
    assert one.result(one.call(pow, 2, 5)) == 32
    one.send(wire.Launch(3 << 40, wire_work(one)))
    # It would have had the only core before this one.
    assert one.result(one.call(pow, 2, 5)) == 32
    assert one.settle(0.2) == []


def test_a_new_service_is_told_what_there_is_and_says_what_is_to_stay(tmp_path: Path) -> None:
    with bench(tmp_path, cores=2, grace=600.0) as made:
        (tmp_path / "suspended").mkdir()
        (tmp_path / "running").mkdir()
        parked = made.launch(gated(str(tmp_path / "suspended")), [0, 1], task="parked")
        reached(tmp_path / "suspended", 0)
        made.ask_to_suspend(parked)
        (tmp_path / "suspended" / "go-0").touch()
        made.expect(wire.Suspended)
        done = made.launch(lambda records: list(records), [7], task="done")
        large = made.launch(lambda records: bytes(100_000), [0], task="large")
        assert made.result(done) == [7]
        (kept,) = made.expect(wire.Finished, lambda r: r.attempt == large).results
        running = made.launch(gated(str(tmp_path / "running")), [0], task="running")
        reached(tmp_path / "running", 0)
        nameless = made.launch(endless, FOREVER)

        made.send(wire.WhoAreYou(8))
        register = made.expect(wire.Register)
        assert register.incarnation == made.register.incarnation
        assert {one.task: (one.attempt, one.state) for one in register.carried} == {
            "parked": (parked, "suspended"),
            "running": (running, "running"),
        }
        assert {one.task: one.attempt for one in register.done} == {"done": done, "large": large}
        assert nameless in register.attempts

        made.send(wire.Welcome(8, kept=[parked, running, large]))
        assert made.expect(wire.Cancelled).attempt == nameless
        (tmp_path / "suspended" / "go-1").touch()
        (tmp_path / "running" / "go-0").touch()
        assert made.result(running) == [0]
        made.resume(parked)
        assert made.result(parked) == [0, 1]
        made.send(wire.Settled([running]))
        made.send(wire.WhoAreYou(8))
        register = made.expect(wire.Register)
        assert {one.task: one.attempt for one in register.done} == {
            "large": large,
            "parked": parked,
        }
        # What was kept of the earlier life is still to be had, too.
        made.epoch = 8
        size = made.launch(lambda records: sum(1 for _ in records), kept)
        assert made.result(size) == 100_000


def wire_work(one: Bench) -> Any:
    from colchis.wire.work import Work

    return Work("records", one.function(endless), [])


def test_tasks_that_kill_their_process_leave_nothing_behind(tmp_path: Path) -> None:
    with bench(tmp_path, cores=2) as made:
        pid = made.process.pid

        def crash(times: int) -> None:
            for _ in range(times // 20):
                tasks = [made.call(os._exit, 7) for _ in range(20)]
                for task in tasks:
                    assert "exit code 7" in made.failure(task).failure.message

        crash(60)
        assert made.result(made.call(pow, 2, 5)) == 32
        before = footprint(pid)
        crash(600)
        assert made.result(made.call(pow, 2, 5)) == 32
        # How many empty processes are at hand varies; one file left for each crash would be 600.
        wait_for(lambda: footprint(pid)[0] < before[0] + 60 and footprint(pid)[1] < before[1] + 60)
        assert footprint(pid)[2] < before[2] + 8 * 2**20


def footprint(pid: int) -> tuple[int, int, int]:
    """Open files, threads, resident bytes."""
    files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    threads = sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return files, threads, pages * os.sysconf("SC_PAGE_SIZE")


def test_everything_ends_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    made = Bench(tmp_path, cores=1)
    made.launch(endless, FOREVER)
    made.expect(wire.Heartbeat, lambda b: len(b.attempts) == 1)
    children = descendants(made.process.pid)
    assert len(children) >= 2
    made.process.kill()
    made.process.wait()
    wait_for(lambda: not any(alive(pid) for pid in children))
    made.process.returncode = 0
    made.close()


@pytest.mark.parametrize("content", ["", "{", '{"executor": 1}', '{"unknown": 1}'])
def test_bad_configuration_is_refused(tmp_path: Path, content: str) -> None:
    from colchis_agent.executor.__main__ import main

    file = tmp_path / "config.json"
    file.write_text(content)
    assert main([str(file)]) == 2
