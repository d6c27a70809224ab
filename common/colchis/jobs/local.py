"""A job service and executors on this machine, for one client, without any cluster.

All are children of a thread of their own that lives as long as they: the kernel ends them when it
ends, whatever ends the client. Their sockets are files in a folder that only the user may enter;
where the client was killed, the user's next local cluster removes it.
"""

import os
import subprocess
import sys
import threading
import time
from typing import Any

import msgspec

from colchis.errors import ColchisError
from colchis.jobs.client import Client
from colchis.jobs.scratch import Scratch

STOP_PATIENCE = 20.0


class LocalCluster:
    """Starts everything; ``close`` ends it. ``memory`` per executor, in bytes."""

    def __init__(
        self,
        *,
        executors: int = 1,
        cores: int = 2,
        memory: int = 2**30,
        policy: str = "lma",
        options: dict[str, Any] | None = None,
        executor_settings: dict[str, Any] | None = None,
        service_settings: dict[str, Any] | None = None,
    ) -> None:
        self._scratch = Scratch("colchis-local-")
        self.folder = self._scratch.folder
        self.address = f"unix://{self.folder}/clients"
        self.service_config = {
            "clients": self.address,
            "executors": f"unix://{self.folder}/executors",
            "policy": policy,
            "options": options or {},
            "tied": True,
            **(service_settings or {}),
        }
        self.executor_configs = [
            {
                "executor": f"e{number}",
                "node": f"n{number}",
                "cores": cores,
                "memory": memory,
                "service": self.service_config["executors"],
                "work": str(self.folder / f"e{number}"),
                "bind": f"ipc://{self.folder}/store{number}",
                "tied": True,
                **(executor_settings or {}),
            }
            for number in range(executors)
        ]
        self.service: subprocess.Popen[bytes] | None = None
        self.executors: dict[str, subprocess.Popen[bytes]] = {}
        self._orders: list[tuple[str, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closing = False
        """Whether nothing is started any more."""
        self._closed = False
        """Whether the thread is to end, and the kernel with it whatever it has started."""
        self._thread = threading.Thread(target=self._parent, name="colchis-local", daemon=True)
        self._thread.start()
        try:
            self.start_service()
            for config in self.executor_configs:
                self.start_executor(config)
        except BaseException:
            # Ctrl-C, too, leaves neither processes nor the folder.
            self.close()
            raise

    def start_service(self) -> None:
        """Start the job service, also again after it has ended."""
        self.service = self._start("colchis_master.jobs", "service", self.service_config)

    def start_executor(self, config: dict[str, Any]) -> None:
        """Start an executor, also again after it has ended."""
        name = config["executor"]
        self.executors[name] = self._start("colchis_agent.executor", name, config)

    def _start(self, module: str, name: str, config: dict[str, Any]) -> "subprocess.Popen[bytes]":
        file = self.folder / f"{name}.json"
        started: list[subprocess.Popen[bytes] | BaseException] = []
        with self._changed:
            if self._closing:
                raise ColchisError("the local cluster is closed")
            file.touch(mode=0o600)
            file.write_bytes(msgspec.json.encode(config))
            self._orders.append((name, {"module": module, "file": str(file), "into": started}))
            self._changed.notify_all()
            self._changed.wait_for(lambda: started)
        if isinstance(started[0], BaseException):
            raise ColchisError(f"cannot start {module}: {started[0]}")
        return started[0]

    def _parent(self) -> None:
        """The thread whose children all processes are."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._orders or self._closed)
                for name, order in self._orders:
                    try:
                        process = self._popen(name, order["module"], order["file"])
                        self._processes.append(process)
                        order["into"].append(process)
                    except Exception as error:
                        order["into"].append(error)
                self._orders.clear()
                self._changed.notify_all()

    def _popen(self, name: str, module: str, file: str) -> "subprocess.Popen[bytes]":
        # Executors find the modules that the client finds.
        path = os.pathsep.join(part for part in sys.path if part)
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )

    def logs(self) -> str:
        """What the processes wrote."""
        return "\n".join(
            f"--- {file.name}\n{file.read_text(errors='replace')}"
            for file in sorted(self.folder.glob("*.log"))
        )

    def close(self) -> None:
        """End everything and remove the folder."""
        with self._changed:
            self._closing = True
            self._orders.clear()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._scratch.remove()


def connect_local(
    *,
    executors: int,
    cores: int,
    priority: str | int,
    retries: int,
    timeout: float,
    settings: dict[str, Any],
) -> Client:
    """A client of a local cluster of its own; see ``colchis.jobs.connect``."""
    cluster = LocalCluster(executors=executors, cores=cores, **settings)
    client: Client | None = None
    try:
        client = Client(
            cluster.address,
            priority=priority,
            retries=retries,
            timeout=timeout,
            on_close=cluster.close,
        )
        client.local = cluster
        deadline = time.monotonic() + timeout
        while client.executors() < executors:
            dead = [name for name, one in cluster.executors.items() if one.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise ColchisError(f"executors did not start\n{cluster.logs()}")
            time.sleep(0.01)
    except BaseException:
        (client or cluster).close()
        raise
    return client
