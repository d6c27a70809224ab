"""Latency of a stream beside a batch that fills the cluster, under every policy, and Spark's.

One local cluster with a slot per core of this machine. The stream is a job of one task of 50 ms
per core, again and again with pauses between; the batch is more tasks than there are slots, all of
it in records of about 10 microseconds. First the stream runs alone. Then the batch begins and goes
on to the end, while windows of time with and without the stream alternate.

What the batch loses is told as the share of the slots' time, in seconds of processor time, since
the speed of a shared machine changes by more between two runs than what is to be seen: the time
that batch tasks got in windows without the stream, less what they and the stream's own functions
got in windows with it. Records that a killed task has to do again do not count. Beside it stands
what client, job service and executor themselves took for the stream on the same cores.

With pyspark importable (by this interpreter, or the one given), Spark in local mode does the same
work in the same run, under FIFO and FAIR.

    python -m benchmarks.neptune.latency [--rounds N] [--spark PYTHON] [--out FOLDER]

Writes latency.json and latency.png to `results/`.
"""

import argparse
import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil

import colchis.jobs
from benchmarks.neptune.suspend import loops_for
from benchmarks.report import median, percentile, show, write
from colchis.jobs.client import Client

mpl.use("agg")
from matplotlib import pyplot as plt

POLICIES = ("lma", "lb", "cl", "random", "kill", "fair", "fifo", "static")
RECORD = 10e-6
STREAM_SECONDS = 0.05
BATCH_SECONDS = 5.0
PAUSE = 0.45
WINDOW = 5.0
SETTLE = 0.2
"""Seconds between windows."""
FIFO_TASKS = 4
"""Batch tasks per slot where one stream job has to wait for all of them."""
STEP = 500
"""Records between notes of how far a batch task has come."""
OPTIONS = {"max_suspensions": 10**6}
"""Spark protects nobody from waiting either."""


class Work:
    """The same loops for everybody: calibrated once."""

    def __init__(self, cores: int, rounds: int) -> None:
        self.cores = cores
        self.rounds = rounds
        self.loops = loops_for(RECORD)
        self.stream_records = round(STREAM_SECONDS / RECORD)
        self.batch_records = round(BATCH_SECONDS / RECORD)
        self.jobs = round(rounds * WINDOW / (PAUSE + 1.5 * STREAM_SECONDS))
        # Half as much again as should be needed: machines are faster at times.
        seconds = 1.5 * 2 * rounds * (WINDOW + SETTLE) + 2 * BATCH_SECONDS
        self.batch_tasks = cores * round(seconds / BATCH_SECONDS)


def many(records: int) -> Callable[[int], range]:
    """Records made where they are worked on; from each can be told which task's it is."""
    return lambda task: range(task * records, (task + 1) * records)


def timed(loops: int) -> Callable[[Iterator[int]], list[float]]:
    """Work through the records; the seconds of processor time that it took."""

    def work(records: Iterator[int]) -> list[float]:
        began = time.thread_time()
        for _ in records:
            total = 0
            for number in range(loops):
                total += number
        return [time.thread_time() - began]

    return work


def noting(loops: int, per_task: int, path: str) -> Callable[[Iterator[int]], list[int]]:
    """The same, with notes for :class:`Notes`."""

    def work(records: Iterator[int]) -> list[int]:
        with Path(path).open("r+b") as file:
            table = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        done = 0
        for record in records:
            total = 0
            for number in range(loops):
                total += number
            done += 1
            if done % STEP == 0:
                place = 2 * (record // per_task)
                table[place] += STEP
                table[place + 1] = done
        return [done]

    return work


class Notes:
    """How many records the batch's tasks have done: all, and those not thrown away since."""

    def __init__(self, folder: str, tasks: int) -> None:
        self.path = f"{folder}/notes"
        with Path(self.path).open("w+b") as file:
            file.truncate(16 * tasks)
            self._table = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    def read(self) -> tuple[int, int]:
        table = self._table.tolist()
        return sum(table[0::2]), sum(table[1::2])


@dataclass(frozen=True)
class Moment:
    """The clock, and seconds of processor time by who took them."""

    wall: float
    slots: float
    client: float
    service: float
    executors: float
    records: int
    useful: int

    @classmethod
    def now(cls, client: Client, notes: Notes) -> "Moment":
        local = client.local
        assert local is not None and local.service is not None
        slots = executors = 0.0
        for executor in local.executors.values():
            executors += spent(executor.pid)
            for zygote in psutil.Process(executor.pid).children():
                executors += spent(zygote.pid)
                ended = zygote.cpu_times()
                slots += ended.children_user + ended.children_system
                slots += sum(spent(slot.pid) for slot in zygote.children())
        return cls(
            time.perf_counter(),
            slots,
            spent(os.getpid()),
            spent(local.service.pid),
            executors,
            *notes.read(),
        )

    def __sub__(self, other: "Moment") -> "Moment":
        return Moment(
            *(a - b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )


def spent(pid: int) -> float:
    """Processor time of a process's threads, to the nanosecond (see proc_pid_schedstat)."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        try:
            total += int((thread / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def stream(
    client: Client, work: Work, jobs: int, seconds: float = float("inf")
) -> tuple[list[float], float]:
    """Latencies of up to so many stream jobs, and the processor time of their functions."""
    latencies: list[float] = []
    own = 0.0
    job = client.job("stream", priority="stream")
    end = time.perf_counter() + seconds
    while len(latencies) < jobs and time.perf_counter() + PAUSE < end:
        time.sleep(PAUSE)
        began = time.perf_counter()
        stage = job.records(range(work.cores), partitions=work.cores)
        parts = stage.flat_map(many(work.stream_records)).apply(timed(work.loops)).result(600)
        latencies.append(time.perf_counter() - began)
        own += sum(parts)
    time.sleep(max(0.0, min(end, time.perf_counter() + PAUSE) - time.perf_counter()))
    return latencies, own


def start_batch(client: Client, work: Work, tasks: int, notes: Notes) -> Any:
    stage = client.job("batch").records(range(tasks), partitions=tasks)
    run = noting(work.loops, work.batch_records, notes.path)
    return stage.flat_map(many(work.batch_records)).apply(run).submit()


def one_policy(policy: str, work: Work) -> tuple[dict[str, Any], list[float]]:
    executors = 2 if policy == "static" else 1
    cores = max(1, work.cores // executors)
    tasks = FIFO_TASKS * work.cores if policy == "fifo" else work.batch_tasks
    rounds: list[dict[str, float]] = []
    beside: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        colchis.jobs.connect(
            "local", executors=executors, cores=cores, policy=policy, options=OPTIONS
        ) as client,
    ):
        client.submit(abs, 1).result(60)
        notes = Notes(folder, tasks)
        alone, _ = stream(client, work, work.jobs)
        future = start_batch(client, work, tasks, notes)
        time.sleep(1.0)
        if policy == "fifo":
            beside, _ = stream(client, work, 1)
        else:
            for _ in range(work.rounds):
                latencies, shares = one_round(client, work, notes)
                beside += latencies
                rounds.append(shares)
        if policy != "fifo" and future.done():
            print("the batch ended before the measurement", file=sys.stderr)
            rounds.clear()
        future.cancel()
    return {
        "system": f"colchis {policy}",
        "alone_p50_ms": median(alone) * 1e3,
        "alone_p99_ms": percentile(alone, 0.99) * 1e3,
        "beside_p50_ms": median(beside) * 1e3,
        "beside_p99_ms": percentile(beside, 0.99) * 1e3,
        "jobs": len(beside),
        **{
            name: median([one[name] for one in rounds]) if rounds else None
            for name in ("lost", "client", "service", "executor", "records_lost")
        },
    }, beside


def one_round(client: Client, work: Work, notes: Notes) -> tuple[list[float], dict[str, float]]:
    """A window without and one with the stream; latencies, and shares of the slots' time.

    ``lost`` is what the batch lost beyond the stream's own; ``records_lost`` the same judged by
    the records done, which depends on how fast the machine was in either window.
    """
    before = Moment.now(client, notes)
    time.sleep(WINDOW)
    quiet = Moment.now(client, notes) - before
    time.sleep(SETTLE)
    before = Moment.now(client, notes)
    latencies, own = stream(client, work, 10**6, WINDOW)
    busy = Moment.now(client, notes) - before
    time.sleep(SETTLE)
    longer = busy.wall / quiet.wall
    could = quiet.slots * longer
    got = (busy.slots - own) * busy.useful / max(1, busy.records)
    return latencies, {
        "lost": 1 - (got + own) / could,
        "client": (busy.client - quiet.client * longer) / could,
        "service": (busy.service - quiet.service * longer) / could,
        "executor": (busy.executors - quiet.executors * longer) / could,
        "records_lost": 1 - busy.useful / (quiet.useful * longer) - own / could,
    }


SPARK = """
import json, sys, threading, time
from pyspark import SparkConf, SparkContext
mode, given = sys.argv[1], json.loads(sys.argv[2])
cores, loops = given["cores"], given["loops"]
conf = (SparkConf().setMaster(f"local[{cores}]").set("spark.scheduler.mode", mode)
        .set("spark.ui.enabled", "false").set("spark.log.level", "ERROR"))
sc = SparkContext(conf=conf)
def work(records):
    def run(_):
        for _ in range(records):
            total = 0
            for number in range(loops):
                total += number
        return [1]
    return run
def job(pool, tasks, records):
    sc.setLocalProperty("spark.scheduler.pool", pool)
    sc.parallelize(range(tasks), tasks).mapPartitions(work(records)).collect()
def stream(jobs):
    taken = []
    for _ in range(jobs):
        time.sleep(given["pause"])
        began = time.perf_counter()
        job("stream", cores, given["stream_records"])
        taken.append(time.perf_counter() - began)
    return taken
job("stream", cores, 10)
alone = stream(5)
began = time.perf_counter()
done = []
def run_batch():
    job("batch", given["batch_tasks"], given["batch_records"])
    done.append(time.perf_counter() - began)
thread = threading.Thread(target=run_batch)
thread.start()
time.sleep(1.0)
beside = stream(given["jobs"])
thread.join()
print("RESULT" + json.dumps({"alone": alone, "beside": beside, "span": done[0]}))
sc.stop()
"""


def spark(python: str, mode: str, work: Work) -> tuple[dict[str, Any], list[float]] | None:
    """Spark's figures; None where it cannot be had."""
    jobs = 1 if mode == "FIFO" else max(3, work.jobs // 8)
    tasks = work.cores * (FIFO_TASKS if mode == "FIFO" else round(1.3 * jobs))
    given = {**vars(work), "pause": PAUSE, "jobs": jobs, "batch_tasks": tasks}
    done = subprocess.run(
        [python, "-c", SPARK, mode, json.dumps(given)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYSPARK_PYTHON": python},
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        print(f"no Spark {mode}: {done.stderr[-300:]}", file=sys.stderr)
        return None
    found = json.loads(lines[0].removeprefix("RESULT"))
    return {
        "system": f"spark {mode}",
        "alone_p50_ms": median(found["alone"]) * 1e3,
        "alone_p99_ms": percentile(found["alone"], 0.99) * 1e3,
        "beside_p50_ms": median(found["beside"]) * 1e3,
        "beside_p99_ms": percentile(found["beside"], 0.99) * 1e3,
        "jobs": len(found["beside"]),
    }, found["beside"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="windows with and without stream")
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--spark", default=sys.executable, help="a Python that has pyspark")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    work = Work(os.cpu_count() or 1, arguments.rounds)
    rows, series = [], {}
    for policy in arguments.policies.split(","):
        row, beside = one_policy(policy, work)
        rows.append(row)
        series[row["system"]] = beside
        print(json.dumps(row), file=sys.stderr)
    for mode in ("FIFO", "FAIR"):
        found = spark(arguments.spark, mode, work)
        if found is not None:
            rows.append(found[0])
            series[found[0]["system"]] = found[1]
    write("latency", rows, arguments.out, work=vars(work))
    show("Stream latency beside a saturating batch", rows)
    draw(series, arguments.out / "latency.png")


def draw(series: dict[str, list[float]], path: Path) -> None:
    """One box per system."""
    figure, axes = plt.subplots(figsize=(8, 4))
    axes.boxplot(
        [[1e3 * value for value in values] for values in series.values()], orientation="horizontal"
    )
    axes.set_yticks(range(1, len(series) + 1), list(series))
    axes.set_xscale("log")
    axes.set_xlabel("stream latency beside batch, milliseconds")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
