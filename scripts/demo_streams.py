"""Streams and batch on shared executors: what a stream's latency is beside a batch.

Small and short: a stream of micro-batches beside a batch that fills both slots of an executor, once
for each policy. Every record costs a given time of cpu.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from statistics import median
from typing import Any

import colchis.jobs
from colchis.jobs.client import Client
from colchis.jobs.sources import Generator
from colchis.jobs.timeline import Stretch, stretches
from colchis.wire.jobs import Told

POLICIES = ("fifo", "fair", "kill", "lma")
CORES = 2
BATCH_TASKS = 4
BATCH_RECORDS = 600
BATCH_RECORD = 0.001
STREAM_RECORDS = 24
STREAM_RECORD = 0.004
RATE = 20.0
"""Records of the stream in a second."""

EVERY = 0.3
HEAD_START = 0.3
PATIENCE = 120.0


@dataclass(frozen=True)
class Burn:
    """Uses so many seconds of cpu for each record."""

    seconds: float

    def __call__(self, record: int) -> int:
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return record


def streams(say: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[Stretch]]:
    """Latencies alone and under each policy, and who had the slots when under the last, lma."""
    rows: list[dict[str, Any]] = []
    found: list[Stretch] = []
    for policy in POLICIES:
        say(f"... {policy}")
        with colchis.jobs.connect("local", cores=CORES, policy=policy) as client:
            list(client.map(abs, range(CORES)))
            if not rows:
                rows.append(_row("alone", _stream(client), _batch_alone(client)))
            latencies, batch, found = _together(client)
            rows.append(_row(policy, latencies, batch))
    return rows, found


def kind(task: str) -> str:
    """Of a task of these jobs: batch is one job, every micro-batch another."""
    return "batch" if task in _batch_tasks else "stream"


_batch_tasks: set[str] = set()


def _row(policy: str, latencies: list[float], batch: float) -> dict[str, Any]:
    return {
        "policy": policy,
        "p50_ms": round(1e3 * median(latencies), 1),
        "max_ms": round(1e3 * max(latencies), 1),
        "batch_s": round(batch, 2),
    }


def _stream(client: Client) -> list[float]:
    source = Generator(range(STREAM_RECORDS), RATE)
    with client.stream(source).map(Burn(STREAM_RECORD)).every(EVERY) as batches:
        return [batch.latency for batch in batches]


def _submit_batch(client: Client) -> Any:
    records = client.job("batch").records(range(BATCH_TASKS), partitions=BATCH_TASKS)
    return records.flat_map(_many).map(Burn(BATCH_RECORD)).reduce(max).submit()


def _many(number: int) -> Any:
    return repeat(number, BATCH_RECORDS)


def _batch_alone(client: Client) -> float:
    began = time.monotonic()
    _submit_batch(client).result(PATIENCE)
    return time.monotonic() - began


def _together(client: Client) -> tuple[list[float], float, list[Stretch]]:
    began = time.monotonic()
    batch = _submit_batch(client)
    ended: list[float] = []
    batch.add_done_callback(lambda _: ended.append(time.monotonic() - began))
    time.sleep(HEAD_START)
    latencies = _stream(client)
    batch.result(PATIENCE)
    told = client.history()
    mine = _since(told, batch.job)
    _batch_tasks.clear()
    _batch_tasks.update(one.task for one in mine if one.task.startswith(f"{batch.job}/"))
    return latencies, ended[0] if ended else time.monotonic() - began, stretches(mine)


def _since(told: list[Told], job: str) -> list[Told]:
    """What was decided from the job's first task on."""
    first = next(n for n, one in enumerate(told) if one.task.startswith(f"{job}/"))
    return told[first:]
