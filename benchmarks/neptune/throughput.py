"""Tasks per second, and the latency of one task: here, in Dask distributed and in HyperQueue.

Every system has one worker with one slot per core, and runs tasks that do nothing, many at once and
then one after the other. Rounds of the systems alternate, so that a busy machine is busy for all.
``map`` gets all tasks in one call; ``submit`` is a call per task, all before the first result.
HyperQueue's tasks are programs, here ``true``, all of one job; its Python client looks for a job's
end no more than a few times per second.
The peers are those of this interpreter, or of the one given, where importable.

    python -m benchmarks.neptune.throughput [--tasks N] [--peers PYTHON] [--out FOLDER]

Writes throughput.json and throughput.png to `results/`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

import colchis.jobs
from benchmarks.report import median, percentile, show, write

mpl.use("agg")
from matplotlib import pyplot as plt

PEER = """
import json, sys, time
which, cores = sys.argv[1], int(sys.argv[2])
def serve(**what):
    print("READY", flush=True)
    for line in sys.stdin:
        kind, number = line.split()
        print(json.dumps(what[kind](int(number))), flush=True)
def some(n, what):
    end, taken = time.perf_counter() + 3, []
    while len(taken) < n and time.perf_counter() < end:
        taken.append(timed(what))
    return taken
def timed(what):
    began = time.perf_counter()
    what()
    return time.perf_counter() - began
def main():
    if which == "dask":
        from distributed import Client, LocalCluster
        with LocalCluster(n_workers=cores, threads_per_worker=1, dashboard_address=None) as cluster:
            with Client(cluster) as client:
                client.submit(abs, 1, pure=False).result()
                submit = lambda: client.submit(abs, 1, pure=False)
                serve(many=lambda n: timed(
                          lambda: client.gather(client.map(abs, range(n), pure=False))),
                      submit=lambda n: timed(
                          lambda: client.gather([submit() for _ in range(n)])),
                      one=lambda n: some(n, lambda: submit().result()))
    else:
        from hyperqueue import Job, LocalCluster
        from hyperqueue.cluster import WorkerConfig
        with LocalCluster() as cluster:
            cluster.start_worker(WorkerConfig(cores=cores))
            client = cluster.client()
            def run(n):
                job = Job()
                for _ in range(n):
                    job.program(["true"], stdout=None, stderr=None)
                client.wait_for_jobs([client.submit(job)])
            run(1)
            serve(many=lambda n: timed(lambda: run(n)),
                  one=lambda n: some(n, lambda: run(1)))
if __name__ == "__main__":
    main()
"""

System = tuple[Callable[[int], float], Callable[[int], list[float]]]


def timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


@contextmanager
def peer(python: str, which: str, cores: int, folder: Path) -> Iterator[dict[str, System]]:
    """Systems in a process of their own, told what to do over its standard input."""
    script = folder / "peer.py"
    script.write_text(PEER)
    with subprocess.Popen(
        [str(Path(python).absolute()), str(script), which, str(cores)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=folder,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in process.stdout:
            if line == "READY\n":
                break
        else:
            yield {}
            return

        def ask(kind: str, number: int) -> Any:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{kind} {number}\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        def asking(kind: str) -> Callable[[int], Any]:
            return lambda number: ask(kind, number)

        one = asking("one")
        if which == "dask":
            yield {"dask map": (asking("many"), one), "dask submit": (asking("submit"), one)}
        else:
            yield {which: (asking("many"), one)}
        process.stdin.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=sys.executable, help="a Python that has the peers")
    parser.add_argument("--out", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cores = os.cpu_count() or 1
    tasks = arguments.tasks
    systems: dict[str, System] = {}
    with ExitStack() as stack:
        client = stack.enter_context(colchis.jobs.connect("local", cores=cores))

        def submit_many(number: int) -> float:
            return timed(
                lambda: [f.result() for f in [client.submit(abs, 1) for _ in range(number)]]
            )

        def one(number: int) -> list[float]:
            return [timed(lambda: client.submit(abs, 1).result()) for _ in range(number)]

        systems["colchis map"] = (lambda n: timed(lambda: list(client.map(abs, range(n))))), one
        systems["colchis submit"] = submit_many, one
        for name in ("dask", "hyperqueue"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            found = stack.enter_context(peer(arguments.peers, name, cores, folder))
            systems |= found
            if not found:
                print(f"no {name}", file=sys.stderr)
        rates: dict[str, list[float]] = {name: [] for name in systems}
        latencies: dict[str, list[float]] = {name: [] for name in systems}
        for _ in range(arguments.rounds):
            for name, (many, single) in systems.items():
                rates[name].append(tasks / many(tasks))
                latencies[name] += single(60)
    rows = [
        {
            "system": name,
            "tasks_per_second": median(rates[name]),
            "one_task_p50_ms": median(latencies[name]) * 1e3,
            "one_task_p99_ms": percentile(latencies[name], 0.99) * 1e3,
        }
        for name in systems
    ]
    write("throughput", rows, arguments.out, tasks=tasks)
    show("Tasks that do nothing", rows)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    for axis, column in zip(axes, ("tasks_per_second", "one_task_p50_ms"), strict=True):
        axis.barh([row["system"] for row in rows], [row[column] for row in rows])
        axis.set_xlabel(column.replace("_", " "))
    figure.tight_layout()
    figure.savefig(arguments.out / "throughput.png", dpi=120)


if __name__ == "__main__":
    main()
