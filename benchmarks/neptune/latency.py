"""Latency of a stream beside a batch that fills the cluster, under every policy, and Spark's.

One local cluster with a core per core of this machine. The stream is a job of one task of 50 ms
per core, again and again with pauses between; the batch is more tasks than there are cores, all of
it in records of about 10 microseconds. First the stream runs alone, then beside the batch; the
batch runs alone as well. With pyspark importable (by this interpreter, or the one given), Spark in
local mode does the same work in the same run, under FIFO and FAIR.

    python -m benchmarks.neptune.latency [--jobs N] [--spark PYTHON] [--out FOLDER]

Writes latency.json and latency.png to `results/`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl

import colchis.jobs
from benchmarks.neptune.suspend import batch, loops_for
from benchmarks.report import median, percentile, show, write
from colchis.jobs.client import Client

mpl.use("agg")
from matplotlib import pyplot as plt

POLICIES = ("lma", "lb", "cl", "random", "kill", "fair", "fifo", "static")
RECORD = 10e-6
STREAM_SECONDS = 0.05
BATCH_SECONDS = 5.0
PAUSE = 0.45
OPTIONS = {"max_suspensions": 10**6}
"""Spark protects nobody from waiting either; what protection costs streams is its period."""


class Work:
    """The same loops for everybody: calibrated once."""

    def __init__(self, cores: int, jobs: int) -> None:
        self.cores = cores
        self.jobs = jobs
        self.loops = loops_for(RECORD)
        self.stream_records = round(STREAM_SECONDS / RECORD)
        self.batch_records = round(BATCH_SECONDS / RECORD)
        span = jobs * (PAUSE + 2 * STREAM_SECONDS)
        self.batch_tasks = cores * max(2, round(1.3 * span / BATCH_SECONDS))


def many(records: int) -> Any:
    """Records made where they are worked on: one number becomes that many."""
    return lambda _: range(records)


def stream(client: Client, work: Work, jobs: int) -> list[float]:
    """Latencies of so many stream jobs."""
    latencies = []
    job = client.job("stream", priority="stream")
    for _ in range(jobs):
        time.sleep(PAUSE)
        began = time.perf_counter()
        stage = job.records(range(work.cores), partitions=work.cores)
        stage.flat_map(many(work.stream_records)).apply(counted(work.loops)).result(600)
        latencies.append(time.perf_counter() - began)
    return latencies


def counted(loops: int) -> Any:
    run = batch(loops)
    return lambda records: [run(records)]


def start_batch(client: Client, work: Work) -> Any:
    stage = client.job("batch").records(range(work.batch_tasks), partitions=work.batch_tasks)
    return stage.flat_map(many(work.batch_records)).apply(counted(work.loops)).submit()


def one_policy(policy: str, work: Work) -> tuple[dict[str, Any], list[float]]:
    executors = 2 if policy == "static" else 1
    cores = max(1, work.cores // executors)
    with colchis.jobs.connect(
        "local", executors=executors, cores=cores, policy=policy, options=OPTIONS
    ) as client:
        client.submit(abs, 1).result(60)
        alone = stream(client, work, max(5, work.jobs // 3))
        began = time.perf_counter()
        future = start_batch(client, work)
        time.sleep(1.0)
        jobs = 2 if policy == "fifo" else work.jobs
        beside = stream(client, work, jobs)
        future.result(600)
        span = time.perf_counter() - began
        began = time.perf_counter()
        start_batch(client, work).result(600)
        undisturbed = time.perf_counter() - began
    # The stream's own share of the cores, as it takes alone.
    own = jobs * median(alone)
    return {
        "system": f"colchis {policy}",
        "alone_p50_ms": median(alone) * 1e3,
        "alone_p99_ms": percentile(alone, 0.99) * 1e3,
        "beside_p50_ms": median(beside) * 1e3,
        "beside_p99_ms": percentile(beside, 0.99) * 1e3,
        "batch_alone_s": undisturbed,
        "batch_beside_s": span,
        "batch_lost_beyond_stream": (span - own) / undisturbed - 1,
    }, beside


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
beside = stream(2 if mode == "FIFO" else given["jobs"])
thread.join()
print("RESULT" + json.dumps({"alone": alone, "beside": beside, "span": done[0]}))
sc.stop()
"""


def spark(python: str, mode: str, work: Work) -> tuple[dict[str, Any], list[float]] | None:
    """Spark's figures; None where it cannot be had."""
    given = {**vars(work), "pause": PAUSE, "jobs": max(3, work.jobs // 3)}
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
        "batch_alone_s": None,
        "batch_beside_s": found["span"],
        "batch_lost_beyond_stream": None,
    }, found["beside"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--spark", default=sys.executable, help="a Python that has pyspark")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    work = Work(os.cpu_count() or 1, arguments.jobs)
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
