"""Clusters of real daemons with a job service and a pool of executors."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import colchis.jobs
from colchis.cli.local import free_ports
from colchis.client.connection import read_connection
from colchis.errors import ColchisError
from colchis.jobs.client import Client
from tests.host.system.lab import Lab
from tests.support import DEADLINE


def pool(count: int) -> dict[str, Any]:
    """A spec of executors with a core each, every one on a node of its own."""
    return {
        "app": "pool",
        "kind": "service",
        "executors": {"count": count, "cores": 1, "memory": "256MiB", "tags": ["pool"]},
        "constraints": [{"constraint": "{pool, {pool, 0, 0}, node}", "hard": True}],
    }


def held(runs: Path, gate: Path, memory: int = 0) -> Callable[[Iterable[int]], Iterator[int]]:
    """Tasks that note their processes and work until a file exists, then double their records.

    Each holds so many bytes meanwhile.
    """

    def work(records: Iterable[int]) -> Iterator[int]:
        block = bytearray(b"x") * memory
        for record in records:
            with (runs / f"{record}").open("a") as note:
                note.write(f"{os.getpid()}\n")
            while not gate.exists():
                time.sleep(0.01)
                colchis.jobs.task.checkpoint()
            yield 2 * record + len(block) - memory

    return work


class JobLab(Lab):
    """A cluster whose master runs a job service."""

    def __init__(self, folder: Path, nodes: dict[str, str]) -> None:
        super().__init__(folder, nodes)
        (port,) = self._stack.enter_context(free_ports(1))
        self.settings["master"]["jobs"] = f"tcp://127.0.0.1:{port}"
        for node in self.nodes:
            self.settings[node]["cpus"] = 2

    def connect(self) -> Client:
        found = read_connection(self.connection)
        return colchis.jobs.connect(found.jobs, key=found.jobs_key, timeout=DEADLINE)

    def pool_runs(self) -> bool:
        try:
            found = self.containers("pool").values()
        except ColchisError:
            return False
        return {c["state"] for c in found} == {"running"} and all(c["pid"] for c in found)

    def states(self, job: str) -> Counter[str]:
        """Tasks of a job by their states; none while nobody answers."""
        try:
            with self.client() as master:
                return Counter(task["state"] for task in master.job_tasks(job))
        except ColchisError:
            return Counter()
