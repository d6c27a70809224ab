"""A cluster of `colchis up`, whose nodes are given less cpu than their containers may ask for.

Containers of one node then compete for it as they would for a real machine's shared resources: the
cgroup of each node has a cpu limit of its own, above those of its containers.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from colchis.client.connection import Connection, read_connection
from colchis.client.http import Client, Unreachable
from colchis.errors import ColchisError

PATIENCE = 180.0
PERIOD_US = 100_000
CGROUPS = Path("/sys/fs/cgroup")


class LocalCluster:
    """What benchmarks do with it; ``name`` is the cluster's and its cgroup's."""

    def __init__(self, client: Client, connection: Connection, name: str, log: Path) -> None:
        self.client = client
        self.connection = connection
        self._name = name
        self._log = log

    def limit(self, node: str, cores: float | None) -> None:
        """Bound what all containers of a node use together. Raises ColchisError if it cannot be."""
        v1 = CGROUPS / "cpu" / "colchis" / self._name / node / "cpu.cfs_quota_us"
        v2 = CGROUPS / "colchis" / self._name / node / "cpu.max"
        quota = None if cores is None else round(cores * PERIOD_US)
        if v1.exists():
            v1.write_text(str(-1 if quota is None else quota))
        elif v2.exists():
            v2.write_text(f"{'max' if quota is None else quota} {PERIOD_US}")
        else:
            raise ColchisError(f"{node} has no cgroup with a cpu controller: run it as root")

    def run(self, spec: dict[str, Any], state: str = "running") -> dict[str, str]:
        """Submit an app and wait until it is so; the node of each container."""
        self.client.submit([spec])
        app = self.wait(spec["app"], lambda found: found["state"] == state)
        return {one["container"]: one["node"] for one in app["containers"]}

    def wait(self, app: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The app once it has got there. Raises ColchisError where it does not."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.client.app(app)
            if reached(found):
                return found
            if found["state"] in ("failed", "refused") or time.monotonic() > deadline:
                raise ColchisError(f"{app} is {found['state']}: {found.get('reasons')}")
            time.sleep(0.05)

    def stop(self, *apps: str) -> None:
        """End apps and wait until they are gone."""
        for app in apps:
            self.client.stop(app, 1.0)
        deadline = time.monotonic() + PATIENCE
        while {one["app"] for one in self.client.apps()} & set(apps):
            if time.monotonic() > deadline:
                raise ColchisError(f"{', '.join(apps)} did not end")
            time.sleep(0.05)

    def events(self, since: int) -> list[dict[str, Any]]:
        """All events numbered ``since`` or later."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.client.events(since)
            since = int(page["next"])
            found += page["events"]
            if not page["events"]:
                return found

    def next_event(self) -> int:
        """The number that the next event will have."""
        seen = self.events(0)
        return int(seen[-1]["seq"]) + 1 if seen else 0


@contextmanager
def up(folder: Path, name: str, agents: int, cpus: float, memory: str) -> Iterator[LocalCluster]:
    """`colchis up` on a folder until the block ends."""
    file, log = folder / "connection.json", folder / "up.log"
    command = [str(Path(sys.executable).with_name("colchis")), "up"]
    command += ["--agents", str(agents), "--cpus", f"{cpus:g}", "--memory", memory]
    command += ["--state", str(folder / "state"), "--connection", str(file), "--name", name]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        with Client(_connected(process, file, log, agents)) as client:
            yield LocalCluster(client, client.connection, name, log)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _connected(
    process: "subprocess.Popen[bytes]", file: Path, log: Path, agents: int
) -> Connection:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(Unreachable):
            if file.exists():
                connection = read_connection(file)
                with Client(connection) as client:
                    ready = [node for node in client.nodes() if node["state"] == "ready"]
                    if len(ready) == agents:
                        return connection
        time.sleep(0.1)
    raise ColchisError(f"the cluster did not come up:\n{log.read_text()[-2000:]}")
