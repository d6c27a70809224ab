"""What a decision of the task scheduler costs at 75 to 10,000 executors.

All executors are full of batch tasks and half of them hold suspended ones; then urgent jobs arrive,
displace, run and end, and batch tasks go on, one event at a time. What is timed is each call of
`handle` that decides something (returns instructions), alone, in seconds of this thread's processor
time, so that a busy machine does not count.

    python -m benchmarks.neptune.scale [--rounds N] [--policy NAME] [--out FOLDER]

Writes neptune-scale.json and neptune-scale.png to `results/`.
"""

import argparse
import gc
import random
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.report import median, percentile, show, write
from colchis_master.tasks import events as ev
from colchis_master.tasks.options import Options
from colchis_master.tasks.scheduler import TaskScheduler

mpl.use("agg")
from matplotlib import pyplot as plt

SIZES = (75, 100, 1000, 10_000)
BASE = 100
CORES = 4
GIB = 2**30


class Cluster:
    """Executors that answer at once, and a clock that ticks with every event."""

    def __init__(self, policy: str, executors: int) -> None:
        self.random = random.Random(1)
        self.scheduler = TaskScheduler(policy, Options(max_suspensions=10**6), random.Random(2))
        self.now = 0.0
        self.events = 0
        self.seconds: list[float] = []
        self.instructions = 0
        self.inbox: list[ev.Event] = []
        self.running: dict[str, int] = {}
        for index in range(executors):
            self.tell(ev.ExecutorJoined(self.id(), f"e{index}", f"n{index}", CORES, 64 * GIB))
        for index in range(executors):
            pulse = (self.random.random() * 2**24, self.random.random(), self.random.random() / 5)
            self.tell(ev.ExecutorPulse(self.id(), f"e{index}", *pulse))
        for job in range(20):
            count = executors * CORES // 20 + 10
            tasks = tuple(
                ev.TaskSpec(f"b{job}/{i}", self.random.randint(1, 8) * GIB // 8)
                for i in range(count)
            )
            self.tell(ev.StageSubmitted(self.id(), f"b{job}", "s", 2, tasks))
        self.streams = 0
        for _ in range(executors // 2):
            self.stream(1)
        self.settle()

    def id(self) -> str:
        self.events += 1
        return str(self.events)

    def tell(self, event: ev.Event) -> None:
        self.now += 0.001
        start = time.thread_time()
        orders = self.scheduler.handle(self.now, event)
        spent = time.thread_time() - start
        if orders:
            self.seconds.append(spent)
            self.instructions += len(orders)
        for order in orders:
            if isinstance(order, ev.Suspend):
                answer = (order.task, order.attempt, order.suspension)
                self.inbox.append(ev.Suspended(self.id(), *answer))
            elif isinstance(order, ev.Kill):
                self.inbox.append(ev.Killed(self.id(), order.task, order.attempt))
                self.running.pop(order.task, None)
            else:
                self.running[order.task] = order.attempt
        for order in orders:
            if isinstance(order, ev.Suspend):
                self.running.pop(order.task, None)

    def settle(self) -> None:
        while self.inbox:
            self.tell(self.inbox.pop(0))

    def stream(self, tasks: int) -> list[str]:
        self.streams += 1
        names = [f"s{self.streams}/{i}" for i in range(tasks)]
        specs = tuple(ev.TaskSpec(name, GIB // 8) for name in names)
        self.tell(ev.StageSubmitted(self.id(), f"s{self.streams}", "s", 1, specs))
        return names

    def round(self) -> None:
        """Two urgent jobs come, others end, batch tasks end, one executor reports."""
        names = [*self.stream(1), *self.stream(1)]
        self.settle()
        for name in names:
            self.tell(ev.TaskFinished(self.id(), name, self.running.pop(name)))
        index = self.random.randrange(len(self.scheduler.book.executors))
        pulse = (self.random.random() * 2**24, self.random.random(), 0.0)
        self.tell(ev.ExecutorPulse(self.id(), f"e{index}", *pulse))
        self.settle()


def measure(policy: str, executors: int, rounds: int) -> dict[str, Any]:
    """Costs of decisions in steady state."""
    cluster = Cluster(policy, executors)
    for _ in range(rounds // 10):
        cluster.round()
    cluster.seconds.clear()
    cluster.instructions = 0
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for _ in range(rounds):
        cluster.round()
    wall = time.perf_counter() - start
    gc.enable()
    cost = sorted(cluster.seconds)
    return {
        "executors": executors,
        "decisions": len(cost),
        "instructions": cluster.instructions,
        "decisions_per_second": len(cost) / sum(cost),
        "events_per_second_overall": len(cost) / wall,
        "median_us": median(cost) * 1e6,
        "p99_us": percentile(cost, 0.99) * 1e6,
    }


def draw(results: list[dict[str, Any]], policy: str, path: Path) -> None:
    """Cost of a decision over the number of executors."""
    sizes = [result["executors"] for result in results]
    figure, axes = plt.subplots(figsize=(6, 4))
    axes.plot(sizes, [result["median_us"] for result in results], "o-", label="median")
    axes.plot(sizes, [result["p99_us"] for result in results], "s--", label="99th percentile")
    axes.set(xscale="log", xlabel="executors", ylabel="µs per decision", ylim=(0, None))
    axes.set_title(f"task scheduler, policy {policy}")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--policy", default="lma", choices=["lma", "lb", "cl", "random", "kill"])
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    results = [measure(arguments.policy, size, arguments.rounds) for size in SIZES]
    base = next(result for result in results if result["executors"] == BASE)
    for result in results:
        result["cost_ratio"] = result["median_us"] / base["median_us"]
    show(f"decisions of the task scheduler, policy {arguments.policy}", results)
    write("neptune-scale", results, arguments.out, policy=arguments.policy, cores=CORES)
    draw(results, arguments.policy, arguments.out / "neptune-scale.png")


if __name__ == "__main__":
    main()
