"""How long suspending and resuming take, on each rung of the ladder, and what suspendability costs.

One real executor whose every core is busy with batch tasks. Times are taken where the orders come
from: from sending the order to holding the acknowledgement. The cost per record is the iterator's,
in processor time, for records of 10 microseconds.

    python -m benchmarks.neptune.suspend [--rounds N] [--out FOLDER]

Writes suspend.json and suspend.png to `results/`.
"""

import argparse
import hashlib
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.report import median, percentile, show, write
from colchis.jobs.task import point, records
from colchis.jobs.urgency import wake_soon
from colchis.wire import tasks as wire
from tests.host.executor.bench import Bench, bench

mpl.use("agg")
from matplotlib import pyplot as plt

GRACE = 0.05
RECORD = 10e-6
SHARES = (0.5, 0.9, 0.99)


def spin(loops: int) -> int:
    """Work that takes as long as its loops."""
    total = 0
    for number in range(loops):
        total += number
    return total


def loops_for(seconds: float) -> int:
    """Loops of :func:`spin` that take so long, at best."""
    best = min(_timed(lambda: spin(10_000)) for _ in range(20))
    return max(1, round(10_000 * seconds / best))


def _timed(what: Callable[[], object]) -> float:
    began = time.thread_time()
    what()
    return time.thread_time() - began


def batch(loops: int) -> Callable[[Iterator[int]], int]:
    def work(items: Iterator[int]) -> int:
        done = 0
        for _ in items:
            total = 0
            for number in range(loops):
                total += number
            done += 1
        return done

    return work


def stuck(items: Iterator[int]) -> None:
    for _ in items:
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)


def measure(made: Bench, task: int, rounds: int, rung: str) -> tuple[list[float], list[float]]:
    """Seconds of each suspension (past the grace period, if frozen) and resumption."""
    suspending, resuming = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        ack = made.suspend(task)
        taken = time.perf_counter() - began
        if ack.rung == rung:
            suspending.append(taken - (GRACE if rung == "frozen" else 0.0))
        time.sleep(0.001)
        began = time.perf_counter()
        made.resume(task)
        resuming.append(time.perf_counter() - began)
        time.sleep(0.005)
    return suspending, resuming


def cost(rounds: int) -> dict[str, Any]:
    """What the flag test adds to a record, in nanoseconds and as a share."""
    shared = mmap.mmap(-1, 64)
    point.flag = memoryview(shared)[:4].cast("I")
    loops, number = loops_for(RECORD), 20_000
    items = list(range(number))

    def plain() -> None:
        for _ in items:
            spin(loops)

    def guarded() -> None:
        for _ in records(items):
            spin(loops)

    def empty() -> None:
        for _ in items:
            pass

    def empty_guarded() -> None:
        for _ in records(items):
            pass

    pairs = [(_timed(plain), _timed(guarded)) for _ in range(rounds)]
    bare = [(_timed(empty), _timed(empty_guarded)) for _ in range(rounds)]
    nanoseconds = median([(b - a) / number * 1e9 for a, b in bare])
    record = median([a / number for a, _ in pairs])
    return {
        "record_us": record * 1e6,
        "nanoseconds": nanoseconds,
        "share": nanoseconds * 1e-9 / record,
        "share_measured_whole": median([b / a - 1 for a, b in pairs]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    wake_soon()
    work = batch(loops_for(RECORD))
    rows: list[dict[str, Any]] = []
    series: dict[str, list[float]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        bench(Path(folder), cores=cores, grace=GRACE, heartbeat=1.0) as made,
    ):
        tasks = [made.launch(work, range(10**7)) for _ in range(cores)]
        time.sleep(1.0)
        for rung, rounds in (("cooperative", arguments.rounds), ("frozen", arguments.rounds // 5)):
            if rung == "frozen":
                made.send(wire.Cancel(tasks[0], 0.0))
                made.expect(wire.Cancelled)
                tasks[0] = made.launch(stuck, [0])
                time.sleep(0.5)
            for name, values in zip(
                (f"{rung}: suspend", f"{rung}: resume"),
                measure(made, tasks[0], max(1, rounds), rung),
                strict=True,
            ):
                series[name] = values
                row: dict[str, Any] = {"what": name, "times": len(values)}
                for share in SHARES:
                    row[f"p{share * 100:g}_ms"] = percentile(values, share) * 1e3
                row["max_ms"] = max(values) * 1e3
                rows.append(row)
        for task in tasks:
            made.send(wire.Cancel(task, 0.0))
    price = cost(15)
    write("suspend", rows, arguments.out, cost=price, grace_seconds=GRACE)
    show("Order to acknowledgement (frozen: past the grace period)", rows)
    show("Cost of suspendability per record", [price])
    draw(series, arguments.out / "suspend.png")


def draw(series: dict[str, list[float]], path: Path) -> None:
    """The share of orders acknowledged after so long."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, values in series.items():
        ranked = sorted(max(value, 1e-6) * 1e3 for value in values)
        axes.step(ranked, [(i + 1) / len(ranked) for i in range(len(ranked))], label=name)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of orders")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
