"""What users see: a standard executor, jobs of stages, streams."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

import colchis.jobs
from colchis.errors import ColchisError, InputError
from colchis.jobs.client import Client
from colchis.jobs.failures import TaskFailedError
from colchis.jobs.sources import Folder, Generator
from tests.host.executor.local import cluster, job_status, shows, start, states
from tests.support import alive, wait_for


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    with cluster(cores=2) as client:
        yield client


class Odd(ValueError):  # noqa: N818 - a name that says it in a test
    """An exception of the user's own."""


def test_submit_and_map_do_as_in_the_standard_library(shared: Client) -> None:
    assert shared.submit(divmod, 7, 2).result(60) == (3, 1)
    assert shared.submit(int, "ff", base=16).result(60) == 255
    assert list(shared.map(pow, [1, 2, 3], [2, 2, 2])) == [1, 4, 9]
    assert list(shared.map(abs, range(-10, 0), chunksize=3)) == list(range(10, 0, -1))
    assert list(shared.map(abs, [])) == []
    futures = [shared.submit(pow, 2, n) for n in range(20)]
    assert {f.result() for f in as_completed(futures, 60)} == {2**n for n in range(20)}


def test_exceptions_come_over_with_their_traceback(shared: Client) -> None:
    def fail() -> None:
        print("before it failed")
        raise Odd("seven")

    with pytest.raises(Odd, match="seven") as caught:
        shared.submit(fail).result(60)
    assert "in fail" in str(caught.value.__cause__)
    assert any("before it failed" in note for note in caught.value.__notes__)
    results = shared.map(lambda n: 1 // n, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_death_of_a_tasks_process_is_an_error_and_not_a_broken_pool(shared: Client) -> None:
    with pytest.raises(TaskFailedError, match="exit code 9") as caught:
        shared.submit(os._exit, 9).result(60)
    assert caught.value.failure.executor == "e0"
    assert shared.submit(abs, -1).result(60) == 1


def test_what_cannot_be_pickled_is_said_at_once(shared: Client) -> None:
    import threading

    with pytest.raises(TypeError, match="pickle"):
        shared.submit(print, threading.Lock())
    with pytest.raises(TypeError, match="pickle"):
        shared.submit(lambda: __import__("threading").Lock()).result(60)
    assert shared.submit(abs, -1).result(60) == 1


def test_too_long_a_message_is_refused_with_its_size(shared: Client) -> None:
    with pytest.raises(ColchisError, match=r"\d+ bytes; at most 67108864"):
        shared.submit(len, bytes(65 * 2**20))


def test_what_no_service_would_take_is_refused_at_once(shared: Client) -> None:
    """The service drops such a message: whoever sent it would wait for ever."""
    job = shared.job("fine")
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: shared.job(priority=-1), "priority -1: a whole number from 0 to 1000"),
        (lambda: shared.job(priority=1001), "priority 1001"),
        (lambda: shared.job(retries=-1), "retries -1: a whole number from 0 to 100"),
        (lambda: shared.job(retries=101), "retries 101"),
        (lambda: shared.job("\ud800" * 70_000), "a job's name is text of at most"),
        (lambda: job.records([1], memory=-1), "memory -1"),
        (lambda: job.records([1, 2], prefer=["n0", None]), "what a task prefers"),  # type: ignore[list-item]
        (lambda: job.records([1], partitions=0), "partitions 0: a whole number from 1"),
        (lambda: job.records([1]).shuffle(abs, partitions=65_537), "partitions 65537"),
        (lambda: shared.map(abs, range(1_000_001)), "partitions 1000001"),
        (lambda: colchis.jobs.connect("tcp://127.0.0.1:1", priority=-1), "priority -1"),
        (lambda: colchis.jobs.connect("tcp://127.0.0.1:1", retries=-1), "retries -1"),
    ]
    for attempt, told in refused:
        with pytest.raises(ValueError, match=told):
            attempt()
    with pytest.raises(TypeError, match=r"retries 1\.5: a whole number"):
        shared.job(retries=1.5)  # type: ignore[arg-type]
    most = shared.job(priority=1000, retries=100).records([-1], memory=2**62).map(abs)
    assert most.result(60) == [1]


def test_timeouts_and_cancelling(shared: Client, tmp_path: Path) -> None:
    future = start(shared, 2, tmp_path / "never", priority="batch")
    shows(shared, future, running=2)
    with pytest.raises(FutureTimeoutError):
        future.result(0.01)
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    assert shared.submit(abs, -1).result(60) == 1
    wait_for(lambda: not shared.status().jobs)


def test_job_cancelled_by_another_ends_its_future(shared: Client, tmp_path: Path) -> None:
    assert shared.local is not None
    future = start(shared, 1, tmp_path / "never", priority="batch")
    shows(shared, future, running=1)
    with colchis.jobs.connect(shared.local.address) as other:
        (job,) = other.status().jobs
        other.cancel(job.job)
    with pytest.raises(CancelledError):
        future.result(60)


def test_stages(shared: Client) -> None:
    job = shared.job("text")
    words = job.map(str.lower, ["a B", "b c", "", "B"], partitions=3).flat_map(str.split)
    counts = words.shuffle(lambda word: word, partitions=2).map(lambda kv: (kv[0], len(kv[1])))
    assert dict(counts.result(60)) == {"a": 1, "b": 3, "c": 1}
    assert job.reduce(lambda a, b: a + b, words.map(len), 100).result(60) == 105
    assert words.filter(lambda word: word > "a").result(60) == ["b", "b", "c", "b"]
    assert job.records([]).result(60) == []
    with pytest.raises(TypeError, match="reduce"):
        job.records([]).reduce(max).result(60)
    with pytest.raises(ColchisError, match="one value"):
        words.reduce(max).map(len)


def test_large_results_reach_the_client_and_the_next_stage(shared: Client) -> None:
    stage = shared.job("large").map(lambda n: bytes([n]) * 200_000, range(4), partitions=4)
    assert [len(data) for data in stage.result(60)] == [200_000] * 4
    keyed = stage.shuffle(lambda data: data[0] % 2, partitions=2)
    assert sorted(k for k, _ in keyed.result(60)) == [0, 1]
    wait_for(lambda: not shared.status().jobs)


def test_task_suspended_again_and_again_gives_the_right_answer_at_once(tmp_path: Path) -> None:
    """Whenever the task waits at a gate a stream comes, and the task has to step aside."""
    gate = 50_000

    def total(records: Iterator[int]) -> Iterator[int]:
        (tmp_path / "begun").write_text((tmp_path / "begun").read_text() + "x")
        total = 0
        for record in records:
            total += record
            if record % gate == 0:
                (tmp_path / f"at-{record}").touch()
                while not (tmp_path / f"go-{record}").exists():
                    time.sleep(0.005)
        yield total

    (tmp_path / "begun").touch()
    settings = {"grace": 600.0}
    with cluster(cores=1, options={"finish_within": 0.0}, executor_settings=settings) as client:
        low = client.job("low").records(range(4 * gate), partitions=1).apply(total).submit()
        for number in range(4):
            wait_for((tmp_path / f"at-{number * gate}").exists)
            assert job_status(client, low).suspensions == number
            high = client.job("high", priority="stream").records([1], partitions=1).submit()
            wait_for(lambda: states(client, low) == {"suspending": 1})
            (tmp_path / f"go-{number * gate}").touch()
            assert high.result(60) == [1]
        assert low.result(60) == [sum(range(4 * gate))]
    assert (tmp_path / "begun").read_text() == "x"


def test_stream_over_a_generator(shared: Client) -> None:
    stream = shared.stream(Generator(range(100), most=30)).map(lambda n: n * n).filter(bool)
    with stream.every(0.02) as batches:
        done = list(batches)
    assert [n for batch in done for n in batch.result] == [n * n for n in range(1, 100)]
    assert [batch.number for batch in done] == list(range(len(done)))
    assert sum(batch.records for batch in done) == 100
    assert all(batch.latency > 0 for batch in done)


def test_stream_over_a_folder(shared: Client, tmp_path: Path) -> None:
    with shared.stream(Folder(tmp_path, "*.txt")).map(Path.read_text).every(0.02) as batches:
        came = iter(batches)
        for text in ("one", "two"):
            (tmp_path / f".{text}").write_text(text)
            (tmp_path / f".{text}").rename(tmp_path / f"{text}.txt")
            assert next(came).result == [text]


def test_streams_task_error_reaches_who_iterates(shared: Client) -> None:
    stream = shared.stream(Generator([1, 0]), retries=0).map(lambda n: 1 // n)
    with stream.every(0.02) as batches, pytest.raises(ZeroDivisionError):
        list(batches)


def test_stream_takes_a_slot_from_a_batch_that_fills_the_cluster(
    shared: Client, tmp_path: Path
) -> None:
    low = start(shared, 4, tmp_path / "low", priority="batch")
    shows(shared, low, running=2, pending=2)
    with shared.stream(Generator(range(10), most=5)).map(abs).every(0.02) as batches:
        assert [n for batch in batches for n in batch.result] == list(range(10))
    assert states(shared, low)["pending"] == 2
    (tmp_path / "low").touch()
    assert low.result(60) == [0, 1, 2, 3]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_script_that_ends_leaves_nothing_running(tmp_path: Path, how: signal.Signals) -> None:
    script = textwrap.dedent(
        f"""
        import colchis.jobs, os, pathlib, time
        def endless():
            pathlib.Path({str(tmp_path)!r}, "pid").write_text(str(os.getpid()))
            while True:
                pass
        with colchis.jobs.connect("local", cores=1) as cluster:
            cluster.submit(endless).result()
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    wait_for(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
    pid = int((tmp_path / "pid").read_text())
    assert alive(pid)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    wait_for(lambda: not alive(pid))


def test_nothing_can_be_submitted_after_shutdown() -> None:
    client = colchis.jobs.connect("local", cores=1)
    future = client.submit(time.sleep, 0.1)
    client.shutdown()
    assert future.result() is None
    with pytest.raises(RuntimeError, match="after shutdown"):
        client.submit(abs, 1)


def test_wrong_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COLCHIS_JOBS", raising=False)
    monkeypatch.setenv("COLCHIS_CONNECTION", str(tmp_path / "none.json"))
    with pytest.raises(InputError, match="COLCHIS_"):
        colchis.jobs.connect()
    with pytest.raises(ColchisError, match="no job service answers"):
        colchis.jobs.connect(f"ipc://{tmp_path}/nobody", timeout=0.1)
    with pytest.raises(InputError, match="only for local clusters: policy"):
        colchis.jobs.connect("tcp://127.0.0.1:1", policy="lma")
    with pytest.raises(ValueError, match="stream, batch or a number"):
        colchis.jobs.connect("tcp://127.0.0.1:1", priority="urgent")
