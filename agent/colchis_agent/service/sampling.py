"""Figures for heartbeats."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import psutil

from colchis.wire.messages import ExecutorSample, NodeSample, Pressure, Usage
from colchis_agent.cgroups import read_pressure
from colchis_agent.driver import ContainerRef, ProcessDriver, folder_name

STATUS_NAME = "status.json"
MOST_STATUS = 65_536


class Sampler:
    """Measures the host, or of a shared host what this agent's containers use of it."""

    def __init__(self, driver: ProcessDriver, root: Path, share: int | None) -> None:
        self._driver = driver
        self._root = root
        self._share = share
        self._last: tuple[float, float] | None = None
        psutil.cpu_percent(interval=None)

    def sample(
        self, refs: Iterable[ContainerRef]
    ) -> tuple[NodeSample, dict[str, Usage], tuple[ExecutorSample, ...]]:
        """Figures of now; a container that cannot be measured is left out."""
        usage: dict[str, Usage] = {}
        executors: list[ExecutorSample] = []
        for ref, measured in self._driver.usages(refs).items():
            usage[ref.container] = Usage(
                max(0.0, measured.cpu_seconds), max(0, measured.memory_bytes), measured.pids
            )
            status = self._status(ref)
            if status is not None:
                executors.append(status)
        return self._node(usage), usage, tuple(executors)

    def _node(self, usage: Mapping[str, Usage]) -> NodeSample:
        stalls = read_pressure()
        some = {name: stall.some.avg10 if stall else None for name, stall in stalls.items()}
        pressure = Pressure(some.get("cpu"), some.get("memory"), some.get("io"))
        memory = psutil.virtual_memory()
        if self._share is None:
            busy = psutil.cpu_percent(interval=None) / 100 * (psutil.cpu_count() or 1)
            used = memory.total - memory.available
            return NodeSample(max(0.0, busy), max(0, used), memory.total, pressure)
        seconds = sum(one.cpu_seconds for one in usage.values())
        now = time.monotonic()
        cpus = 0.0
        if self._last is not None and now > self._last[0]:
            cpus = max(0.0, seconds - self._last[1]) / (now - self._last[0])
        self._last = (now, seconds)
        return NodeSample(cpus, sum(one.memory for one in usage.values()), self._share, pressure)

    def _status(self, ref: ContainerRef) -> ExecutorSample | None:
        """What an executor wrote to its status file, if it is one and what it wrote is sound."""
        path = status_file(self._root, ref)
        try:
            with path.open("rb") as file:
                sample = msgspec.json.decode(file.read(MOST_STATUS), type=ExecutorSample)
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
            return None
        return msgspec.structs.replace(sample, container=ref.container)


def status_file(root: Path, ref: ContainerRef) -> Path:
    """Where a container that is an executor may write its figures, an ``ExecutorSample``."""
    return root / folder_name(ref) / "work" / STATUS_NAME
