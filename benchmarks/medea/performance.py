"""How fast applications run, by how their containers are placed, on a real local cluster.

    python -m benchmarks.medea.performance [--steps N] [--repeats N] [--out FOLDER]

`colchis up` with five nodes, whose cgroups have each less cpu than its containers may use: they
share it. The apps are those of examples/. Placements are forced by hard constraints.

* The TensorFlow-like app: four workers take a given number of steps each; its run time is from the
  first one's start to the last one's end, against the workers per node (1, 2, 4), on an idle
  cluster and with two of the nodes busy. What workers share is cpu, and there is no network between
  these nodes, so that on an idle cluster nothing is gained by collocating them.
* The HBase-like app: YCSB's workloads A and B, with the region servers apart and on one node.

Writes performance.json and performance.png.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.medea.local_cluster import LocalCluster, up
from benchmarks.report import median, show, write
from colchis.errors import ColchisError

mpl.use("agg")
from matplotlib import pyplot as plt

EXAMPLES = Path(__file__).parents[2] / "examples"
AGENTS = 5
OFFERED = 4.0
"""Cores that an agent says it has: more than it gets, as on every machine that shares more than
its cores."""

NODE_CPUS = 0.4
"""Cores that the containers of a node get together."""

EACH = 0.3
"""Cores that a worker or region server may use: alone on a node it is not held back."""

WORKERS = 4
CARDINALITIES = (1, 2, 4)
BUSY_EACH = 3
"""Containers that do nothing but compute, on each of two nodes, under high load."""

SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def group(
    count: int, tags: list[str], cpus: float, memory: str, command: list[str], restart: str
) -> dict[str, Any]:
    return {
        "count": count,
        "tags": tags,
        "resources": {"cpus": cpus, "memory": memory},
        "command": command,
        "env": {"PYTHONUNBUFFERED": "1", **SINGLE_THREADED},
        "restart": restart,
    }


def hard(*texts: str) -> list[dict[str, Any]]:
    return [{"constraint": text, "hard": True} for text in texts]


def busy() -> dict[str, Any]:
    """Containers that fill two nodes: as many on each."""
    command = ["python", "-c", "while True: pass"]
    others = BUSY_EACH - 1
    return {
        "app": "busy",
        "groups": {"b": group(2 * BUSY_EACH, ["busy"], EACH, "32MiB", command, "never")},
        "constraints": hard(f"{{busy, {{self/busy, {others}, {others}}}, node}}"),
    }


def servers() -> dict[str, Any]:
    """Parameter server and chief, together and on a node without others."""
    folder = EXAMPLES / "tensorflow"
    ps = ["python", str(folder / "parameter_server.py"), "--servers", "1"]
    chief = ["python", str(folder / "chief.py"), "--servers", "1"]
    return {
        "ps": group(1, ["ps"], 1.0, "128MiB", ps, "on-failure"),
        "chief": group(1, ["chief"], 0.3, "128MiB", chief, "on-failure"),
    }


def training(cardinality: int, steps: int) -> dict[str, Any]:
    """The TensorFlow-like app with so many workers on each node that has any."""
    script = str(EXAMPLES / "tensorflow" / "worker.py")
    command = ["python", script, "--servers", "1", "--steps", str(steps)]
    others = cardinality - 1
    return {
        "app": "tensorflow",
        "groups": {
            **servers(),
            "worker": group(WORKERS, ["worker"], EACH, "128MiB", command, "never"),
        },
        "constraints": [
            *hard(
                f"{{worker, {{self/worker, {others}, {others}}}, node}}",
                "{worker, {self/ps, 0, 0}, node}",
                "{ps, {busy, 0, 0}, node}",
                "{chief, {self/ps, 1, inf}, node}",
            ),
            "{worker, {busy, 0, 0}, node}",
        ],
    }


def train(cluster: LocalCluster, cardinality: int, steps: int) -> dict[str, Any]:
    """Run time in seconds, and where the workers were."""
    since = cluster.next_event()
    app = training(cardinality, steps)
    cluster.client.submit([app])
    placed = cluster.wait("tensorflow", lambda found: all(c["node"] for c in found["containers"]))
    homes = {one["container"]: one["node"] for one in placed["containers"]}
    share_cpus(cluster, free={homes["tensorflow/ps/0"]})
    workers = {name for name in homes if "/worker/" in name}

    def over(found: dict[str, Any]) -> bool:
        return all(c["exit"] for c in found["containers"] if c["container"] in workers)

    cluster.wait("tensorflow", over)
    events = [event for event in cluster.events(since) if event.get("container") in workers]
    began = min(e["time"] for e in events if e["text"].endswith("is running"))
    ended = [e for e in events if e["event"] == "ended"]
    wrong = [e["text"] for e in ended if "code 0" not in e["text"]]
    if wrong:
        raise ColchisError(f"workers failed: {'; '.join(wrong)}")
    cluster.stop("tensorflow")
    return {
        "seconds": max(e["time"] for e in ended) - began,
        "nodes": len({homes[name] for name in workers}),
    }


def share_cpus(cluster: LocalCluster, free: set[str]) -> None:
    """Limit each node, but for those that are to be ``free``."""
    for number in range(AGENTS):
        node = f"n{number + 1}"
        cluster.limit(node, None if node in free else NODE_CPUS)


def store(together: bool) -> dict[str, Any]:
    """The HBase-like app."""
    folder = EXAMPLES / "hbase"
    master = ["python", str(folder / "master.py"), "--regions", "12"]
    server = ["python", str(folder / "region_server.py")]
    rule = "{hb-rs, {self/hb-rs, 2, 2}, node}" if together else "{hb-rs, {self/hb-rs, 0, 0}, node}"
    return {
        "app": "hbase",
        "groups": {
            "master": group(1, ["hb-m"], EACH, "128MiB", master, "on-failure"),
            "region-server": group(3, ["hb-rs"], EACH, "128MiB", server, "on-failure"),
        },
        "constraints": hard(rule, "{hb-m, {self/hb-rs, 0, 0}, node}"),
    }


def serve(cluster: LocalCluster, together: bool, operations: int, folder: Path) -> dict[str, Any]:
    """What YCSB reports of the store."""
    cluster.run(store(together))
    share_cpus(cluster, free=set())
    token = folder / "token"
    token.touch(0o600)
    token.write_text(cluster.connection.token)
    ran = subprocess.run(
        [
            *(sys.executable, EXAMPLES / "hbase" / "ycsb.py", "--workloads", "AB", "-o", "json"),
            *("--api", cluster.connection.api, "--token-file", token, "--threads", "6"),
            *("--records", str(operations // 4), "--operations", str(operations)),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    report = json.loads(ran.stdout)
    cluster.stop("hbase")
    phases = report["workloads"]
    return {
        "seconds": sum(phase["operations"] / phase["throughput"] for phase in phases),
        "p99_ms": max(phase["latency_ms"]["p99"] for phase in phases),
    }


def repeated(times: int, once: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Medians of what several runs gave."""
    runs = [once() for _ in range(times)]
    return {key: median([run[key] for run in runs]) for key in runs[0]}


def measure(
    steps: int, operations: int, repeats: int, folder: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows for the TensorFlow-like and the HBase-like app."""
    training_rows, store_rows = [], []
    with up(folder, f"bench{os.getpid()}", AGENTS, OFFERED, "2GiB") as cluster:
        for load in ("low", "high"):
            if load == "high":
                cluster.run(busy())
            for cardinality in CARDINALITIES:
                print(f"  TensorFlow-like, {load} load, {cardinality} workers a node", flush=True)
                found = repeated(repeats, partial(train, cluster, cardinality, steps))
                training_rows.append({"load": load, "workers_a_node": cardinality, **found})
        cluster.stop("busy")
        for together in (False, True):
            name = "together" if together else "apart"
            print(f"  HBase-like, region servers {name}", flush=True)
            found = repeated(repeats, partial(serve, cluster, together, operations, folder))
            store_rows.append({"region_servers": name, **found})
    return training_rows, store_rows


def plot(
    training_rows: Sequence[dict[str, Any]], store_rows: Sequence[dict[str, Any]], path: Path
) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
    for load in ("low", "high"):
        own = [row for row in training_rows if row["load"] == load]
        names = [str(row["workers_a_node"]) for row in own]
        left.plot(names, [row["seconds"] for row in own], marker="o", label=f"{load} load")
    left.set(xlabel="workers a node", ylabel="run time, seconds", title="TensorFlow-like", ylim=0)
    left.legend()
    right.bar([r["region_servers"] for r in store_rows], [r["seconds"] for r in store_rows])
    right.set(ylabel="run time, seconds", title="HBase-like, YCSB A and B")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def run(steps: int, operations: int, repeats: int, out: Path) -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory(prefix="colchis-bench-") as folder:
        training_rows, store_rows = measure(steps, operations, repeats, Path(folder))
    show("TensorFlow-like: run time by cardinality", training_rows)
    show("HBase-like: YCSB by placement", store_rows)
    path = write(
        "performance",
        training_rows,
        out,
        hbase=store_rows,
        node_cpus=NODE_CPUS,
        container_cpus=EACH,
        steps=steps,
        operations=operations,
        repeats=repeats,
    )
    plot(training_rows, store_rows, out / "performance.png")
    print(f"written: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.medea.performance")
    parser.add_argument("--steps", type=int, default=1500, help="of each worker")
    parser.add_argument("--operations", type=int, default=10_000, help="of each YCSB workload")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    run(options.steps, options.operations, options.repeats, options.out)


if __name__ == "__main__":
    main()
