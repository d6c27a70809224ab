"""A long run with many streams under the defaults: how long batch waits, how much is suspended.

One local executor with a slot per core. Several streams, each a micro-batch every half second, at
phases of their own; beside them a batch that always has more tasks than there are slots, each with
some memory of its own. Twenty times a second the job service is asked where each task stands. A
batch task's wait is the time it is suspended, or pending after its first launch, without a break;
the wait of a task not yet begun is the queue's affair and told apart.

    python -m benchmarks.neptune.starvation [--seconds S] [--streams N] [--out FOLDER]

Writes starvation.json and starvation.png to `results/`.
"""

import argparse
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl

import colchis.jobs
from benchmarks.report import median, percentile, show, write
from colchis.jobs.client import Client
from colchis_master.tasks.options import SERVICE

mpl.use("agg")
from matplotlib import pyplot as plt

EVERY = 0.5
STREAM_CPU = 0.02
"""Seconds of cpu of each of a micro-batch's tasks, one per slot."""

BATCH_CPU = 4.0
BATCH_MEMORY = 32 * 2**20
RECORD = 0.001
POLL = 0.05
WAITING = ("suspended", "suspending", "pending")
MIB = 2**20


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def batch_task(numbers: Iterator[int]) -> Iterator[int]:
    """Holds its memory and works record by record."""
    held = bytearray(os.urandom(MIB)) * (BATCH_MEMORY // MIB)
    for number in numbers:
        for _ in colchis.jobs.task.records(range(round(BATCH_CPU / RECORD))):
            burn(RECORD)
        yield number + len(held)


def stream_task(number: int) -> int:
    burn(STREAM_CPU)
    return number


@dataclass
class Waits:
    """What the samples showed so far. Seconds, bytes."""

    longest: dict[str, float] = field(default_factory=dict)
    """Per task that has begun, its longest wait."""
    suspensions: dict[str, int] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    """At each sample the longest wait that goes on."""
    _since: dict[str, float] = field(default_factory=dict)

    def sample(self, client: Client, batch: str, now: float) -> None:
        found = client.status(batch)
        going_on, memory = 0.0, 0
        for task in found.jobs[0].tasks if found.jobs else ():
            name = f"{task.stage}/{task.index}"
            if task.attempts and task.state in WAITING:
                wait = now - self._since.setdefault(name, now)
                self.longest[name] = max(self.longest.get(name, 0.0), wait)
                going_on = max(going_on, wait)
            elif task.attempts:
                self._since.pop(name, None)
                self.longest.setdefault(name, 0.0)
            self.suspensions[name] = task.suspensions
            memory += task.memory if task.state == "suspended" else 0
        self.times.append(now)
        self.waiting.append(going_on)
        self.memory.append(memory)


def run_stream(client: Client, stop: threading.Event, phase: float, into: list[float]) -> None:
    """Micro-batches until told to stop; their latencies, from when each was due."""
    due = time.monotonic() + phase
    job = client.job("stream", priority="stream")
    slots = client.slots()
    while not stop.wait(max(0.0, due - time.monotonic())):
        job.map(stream_task, range(slots), partitions=slots).result()
        now = time.monotonic()
        into.append(now - due)
        due = max(due + EVERY, now)


def measure(client: Client, seconds: float, streams: int, say: Callable[[str], None]) -> Any:
    """Run for so long; the samples, and the streams' latencies."""
    stop = threading.Event()
    latencies: list[float] = []
    waits = Waits()
    tasks = client.slots() * (2 + round(seconds / BATCH_CPU))
    stage = client.job("batch").records(range(tasks), partitions=tasks)
    batch = stage.apply(batch_task).submit()
    threads = [
        threading.Thread(
            target=run_stream, args=(client, stop, EVERY * number / streams, latencies)
        )
        for number in range(streams)
    ]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    try:
        while (now := time.monotonic() - began) < seconds:
            waits.sample(client, batch.job, now)  # type: ignore[attr-defined]  # a JobFuture
            if now // 60 > (waits.times[-2] if len(waits.times) > 1 else 0) // 60:
                say(f"{now:.0f} s: longest wait {max(waits.longest.values(), default=0):.1f} s")
            time.sleep(POLL)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        batch.cancel()
    return waits, latencies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    with colchis.jobs.connect("local", cores=os.cpu_count() or 1) as client:
        client.submit(abs, 1).result(60)
        waits, latencies = measure(
            client, arguments.seconds, arguments.streams, lambda text: print(text, flush=True)
        )
    begun = list(waits.longest.values())
    row = {
        "streams": arguments.streams,
        "seconds": arguments.seconds,
        "batch_tasks_begun": len(begun),
        "longest_wait_s": max(begun, default=0.0),
        "median_longest_wait_s": median(begun) if begun else None,
        "most_suspensions_of_a_task": max(waits.suspensions.values(), default=0),
        "most_suspended_mib": max(waits.memory, default=0) / MIB,
        "micro_batches": len(latencies),
        "stream_p50_ms": median(latencies) * 1e3 if latencies else None,
        "stream_p99_ms": percentile(latencies, 0.99) * 1e3 if latencies else None,
    }
    options = SERVICE
    bounds = {"max_wait_s": options.max_wait, "protect_s": options.protect}
    write("starvation", [row], arguments.out, bounds=bounds, waits=sorted(begun))
    show("Batch beside many streams, defaults", [row])
    draw(waits, options.max_wait, arguments.out / "starvation.png")


def draw(waits: Waits, bound: float, path: Path) -> None:
    """The longest wait that goes on, and the memory of suspended tasks, over time."""
    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(8, 5))
    above.plot(waits.times, waits.waiting, linewidth=0.8)
    if max(waits.waiting, default=0.0) > bound / 4:
        above.axhline(bound, linestyle=":", color="gray", label="max_wait")
        above.legend()
    above.set_ylabel("longest wait, s")
    below.plot(waits.times, [value / MIB for value in waits.memory], linewidth=0.8)
    below.set_ylabel("suspended, MiB")
    below.set_xlabel("seconds")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
