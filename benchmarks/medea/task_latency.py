"""Does the task path stay as quick while rounds of long-running apps are being solved?

    python -m benchmarks.medea.task_latency [--nodes N] [--seconds S] [--out FOLDER]

A real master, with its journal, its HTTP interface and its solver's process, and agents that speak
the wire protocol but run nothing. Batch containers are submitted at a steady rate all the time, at
times set beforehand (a request that has to wait for the one before counts its waiting). In turn
there are blocks of time without and with rounds: every ten seconds, the paper's interval (or every
``--period``), ten services of ten containers with rules within and across them are submitted, each
in its own request, and those of three rounds before are stopped.

Per batch container: `placed`, from the time its app was to be submitted to the master's event that
it is placed; `ordered`, to when its agent has the order to start it, which comes after the journal.

Writes task_latency.json and task_latency.png.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.medea.fake_agents import LASTS
from benchmarks.medea.service_load import make_services
from benchmarks.report import median, percentile, show, write
from colchis.cli.credentials import make_secrets
from colchis.cli.local import free_ports
from colchis.cli.output import to_yaml
from colchis.client.connection import read_connection
from colchis.client.http import Client, Unreachable
from colchis.errors import ColchisError
from colchis.jobs.urgency import wake_soon
from colchis.model.resources import Resources

mpl.use("agg")
from matplotlib import pyplot as plt

TARGET = 1.1
PATIENCE = 120.0
CAPACITY = Resources.of(32, "128GiB")
TASK = {"cpus": 0.5, "memory": "256MiB"}
LASTS_SECONDS = "0.5"
SETTLE = 2.0
"""Seconds at the begin of each block that do not count."""

KINDS = ("placed", "ordered")


@dataclass(frozen=True, slots=True)
class Plan:
    """``blocks`` pairs of ``seconds`` without and with rounds; ``rate`` batch apps a second.

    A round every ``period`` seconds. ``running`` rounds of ten services run beforehand and stay.
    """

    nodes: int = 200
    blocks: int = 3
    seconds: float = 42.0
    rate: float = 30.0
    period: float = 10.0
    running: int = 5
    algorithm: str = "ilp"
    gap: float = 0.01
    time_limit: float = 1.0
    seed: int = 1


@contextmanager
def cluster(folder: Path, plan: Plan) -> Iterator[tuple[Client, Path]]:
    """A master with its agents ready; the file will hold what they started, once all has ended."""
    with free_ports(2) as (agents_port, api_port):
        yield from _cluster(folder, plan, agents_port, api_port)


def _cluster(
    folder: Path, plan: Plan, agents_port: int, api_port: int
) -> Iterator[tuple[Client, Path]]:
    names = [f"n{i:04}" for i in range(plan.nodes)]
    keys = folder / "keys"
    make_secrets(keys, names)
    listen = f"tcp://127.0.0.1:{agents_port}"
    settings = folder / "master.yaml"
    settings.write_text(
        to_yaml(
            {
                "state": str(folder / "state"),
                "keys": str(keys),
                "listen": listen,
                "api": f"127.0.0.1:{api_port}",
                "connection": str(folder / "connection.json"),
                "algorithm": plan.algorithm,
                "gap": plan.gap,
                "time_limit": plan.time_limit,
            }
        )
    )
    agents, started = folder / "agents.json", folder / "started.json"
    given = {"master": listen, "keys": str(keys), "names": names}
    agents.write_text(json.dumps({**given, "capacity": dict(CAPACITY.by_name)}))
    with ExitStack() as stack:
        log = stack.enter_context((folder / "master.log").open("wb"))
        master = subprocess.Popen(
            [sys.executable, "-m", "colchis_master.service", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        stack.callback(_end, master)
        fakes = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.medea.fake_agents", str(agents), str(started)],
            stdin=subprocess.PIPE,
        )
        stack.callback(fakes.wait, PATIENCE)
        assert fakes.stdin is not None
        stack.callback(fakes.stdin.close)
        client = stack.enter_context(_ready(folder, master, plan.nodes))
        yield client, started


def _ready(folder: Path, master: "subprocess.Popen[bytes]", nodes: int) -> Client:
    deadline = time.monotonic() + PATIENCE
    file = folder / "connection.json"
    while time.monotonic() < deadline:
        if master.poll() is not None:
            break
        with suppress(Unreachable):
            if file.exists():
                client = Client(read_connection(file))
                if sum(node["state"] == "ready" for node in client.nodes()) == nodes:
                    return client
                client.close()
        time.sleep(0.1)
    raise ColchisError(
        f"the cluster did not come up:\n{(folder / 'master.log').read_text()[-2000:]}"
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Tasks:
    """Submits batch apps at given times and gathers what became of their containers."""

    def __init__(self, client: Client, rate: float, seed: int) -> None:
        self._client = client
        self._rate = rate
        self._rng = random.Random(seed)
        self._number = 0
        self.due: dict[str, tuple[float, int, bool]] = {}
        """By app: when it was to be submitted, in which block, and whether with rounds."""
        self.placed: dict[str, float] = {}
        self.rounds = [0, 0]
        self._seen = int(client.events(0, 1)["next"])

    def block(self, seconds: float, block: int, rounds: bool) -> None:
        """Submit for so long; what was within the first seconds is not counted."""
        began = time.time()
        due = began
        while due < began + seconds:
            time.sleep(max(0.0, due - time.time()))
            name = f"task{self._number}"
            self._number += 1
            if due >= began + SETTLE:
                self.due[name] = due, block, rounds
            self._client.submit([_task(name)])
            due += self._rng.uniform(0.5, 1.5) / self._rate
        self._gather(rounds, began + SETTLE)

    def _gather(self, rounds: bool, since: float) -> None:
        while True:
            page = self._client.events(self._seen, 1000)
            self._seen = int(page["next"])
            for event in page["events"]:
                if event["event"] == "placed":
                    self.placed[event["container"]] = event["time"]
                elif event["event"] == "round" and event["time"] >= since:
                    self.rounds[rounds] += 1
            if not page["events"]:
                return


def _task(name: str) -> dict[str, Any]:
    group = {"count": 1, "resources": TASK, "command": ["true"], "env": {LASTS: LASTS_SECONDS}}
    return {"app": name, "kind": "batch", "groups": {"t": group}}


def measure(plan: Plan, folder: Path) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """One row per mode and kind of latency, in milliseconds, and the latencies themselves."""
    with ExitStack() as stack:
        client, started = stack.enter_context(cluster(folder, plan))
        for number in range(plan.running):
            client.submit(make_services(f"old{number}", random.Random(number)))
        load = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.medea.service_load"),
                *(str(folder / "connection.json"), str(plan.period)),
            ],
            stdin=subprocess.PIPE,
            text=True,
        )
        stack.callback(load.wait, PATIENCE)
        assert load.stdin is not None
        stack.callback(load.stdin.close)
        _go_first()
        tasks = Tasks(client, plan.rate, plan.seed)
        for block in range(plan.blocks):
            for rounds in (False, True) if block % 2 else (True, False):
                print(f"  block {block + 1} {'with' if rounds else 'without'} rounds", flush=True)
                load.stdin.write("on\n" if rounds else "off\n")
                load.stdin.flush()
                tasks.block(plan.seconds, block, rounds)
    ordered = dict(json.loads(started.read_text()))
    return _rows(plan, tasks, {"placed": tasks.placed, "ordered": ordered})


def _go_first() -> None:
    """Whoever measures would have a machine of its own; waiting for a core here is no latency of
    the master's. Needs root; without it the figures have more of that in them."""
    wake_soon()
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


def _rows(
    plan: Plan, tasks: Tasks, reached: dict[str, dict[str, float]]
) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    rows = []
    series: dict[str, list[float]] = {}
    for kind in KINDS:
        for rounds in (False, True):
            blocks: list[list[float]] = [[] for _ in range(plan.blocks)]
            lost = 0
            for app, (due, block, during) in tasks.due.items():
                if during is rounds:
                    at = reached[kind].get(f"{app}/t/0")
                    lost += at is None
                    blocks[block] += [] if at is None else [1000 * (at - due)]
            found = [one for block in blocks for one in block]
            name = f"{kind}, {'with' if rounds else 'without'} rounds"
            series[name] = found
            rows.append(
                {
                    "latency": kind,
                    "rounds": tasks.rounds[rounds],
                    "with_rounds": rounds,
                    "tasks": len(found),
                    "lost": lost,
                    "p50_ms": median(found),
                    "p95_ms": percentile(found, 0.95),
                    "p99_ms": percentile(found, 0.99),
                    "max_ms": max(found),
                    "p99_block_median_ms": median([percentile(b, 0.99) for b in blocks]),
                }
            )
    return rows, series


def plot(series: dict[str, list[float]], path: Path) -> None:
    """Share of tasks that took longer, against the time."""
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name, values in series.items():
        ranked = sorted(values)
        axes.step(ranked, [1 - i / len(ranked) for i in range(len(ranked))], label=name)
    axes.axhline(0.01, color="grey", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="milliseconds", ylabel="share of tasks above")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(plan: Plan, out: Path) -> dict[str, float]:
    """Measure, print, write; p99 with rounds by that without, for each kind of latency.

    Of either the median over the blocks: what the disk or the machine's other users do to one block
    counts for neither.
    """
    with tempfile.TemporaryDirectory(prefix="colchis-bench-") as folder:
        rows, series = measure(plan, Path(folder))
    show(f"latency of batch containers, {plan.nodes} nodes", rows)
    ratios = {}
    for kind in KINDS:
        without, beside = (row["p99_block_median_ms"] for row in rows if row["latency"] == kind)
        ratios[kind] = beside / without
    met = all(ratio <= TARGET for ratio in ratios.values())
    path = write(
        "task_latency", rows, out, plan=asdict(plan), p99_ratio=ratios, target=TARGET, met=met
    )
    plot(series, out / "task_latency.png")
    print(f"p99 with rounds by p99 without: {ratios}; written: {path}")
    return ratios


def main() -> None:
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.medea.task_latency")
    parser.add_argument("--nodes", type=int, default=usual.nodes)
    parser.add_argument("--blocks", type=int, default=usual.blocks, help="pairs of blocks")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="of each block")
    parser.add_argument("--rate", type=float, default=usual.rate, help="batch apps a second")
    parser.add_argument("--period", type=float, default=usual.period, help="between rounds")
    parser.add_argument("--algorithm", default=usual.algorithm)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    plan = Plan(
        options.nodes,
        options.blocks,
        options.seconds,
        options.rate,
        options.period,
        algorithm=options.algorithm,
    )
    run(plan, options.out)


if __name__ == "__main__":
    main()
