"""Runs the examples as processes that find each other through a small stand-in for the master."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from colchis.cli.local import free_ports

EXAMPLES = Path(__file__).parents[3] / "examples"
TOKEN = "read-only"


class FakeMaster:
    """Answers the endpoint lookup over HTTP and starts containers as plain processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN + "\n")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self._ports = ExitStack()
        master = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                app = self.path.removeprefix("/v1/apps/").removesuffix("/endpoints")
                allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
                mine = [e for c, e in master.endpoints.copy().items() if c.startswith(f"{app}/")]
                body = json.dumps({"endpoints": mine}).encode()
                self.send_response(200 if allowed else 401)
                self.end_headers()
                self.wfile.write(body if allowed else b"{}")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (likewise)
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.block_on_close = False
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.api = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self, container: str, script: str, *arguments: str) -> None:
        """Start a container; after ``kill`` also again, on another port."""
        app, group, index = container.split("/")
        [port] = self._ports.enter_context(free_ports(1))
        environment = {
            **os.environ,
            "COLCHIS_CONTAINER": container,
            "COLCHIS_APP": app,
            "COLCHIS_GROUP": group,
            "COLCHIS_INDEX": index,
            "COLCHIS_HOST": "127.0.0.1",
            "COLCHIS_PORT": str(port),
            "COLCHIS_API": self.api,
            "COLCHIS_TOKEN_FILE": str(self.token_file),
        }
        with (self.folder / container.replace("/", "-")).open("ab") as log:
            self.processes[container] = subprocess.Popen(
                [sys.executable, str(EXAMPLES / app / script), *arguments],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.endpoints[container] = {
            "container": container,
            "host": "127.0.0.1",
            "port": port,
            "state": "running",
        }

    def output(self, container: str) -> str:
        return (self.folder / container.replace("/", "-")).read_text()

    def kill(self, container: str) -> None:
        """End a container the hard way; the lookup forgets it."""
        self.endpoints.pop(container, None)
        process = self.processes.pop(container)
        process.kill()
        process.wait()

    def freeze(self, container: str) -> None:
        self.processes[container].send_signal(signal.SIGSTOP)
        self.endpoints[container]["state"] = "suspended"

    def thaw(self, container: str) -> None:
        self.processes[container].send_signal(signal.SIGCONT)
        self.endpoints[container]["state"] = "running"

    def client(self, app: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a client from outside the application to its end."""
        access = ["--api", self.api, "--token-file", str(self.token_file)]
        return subprocess.run(
            [sys.executable, str(EXAMPLES / app / script), *access, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def close(self) -> None:
        for container in list(self.processes):
            self.kill(container)
        self._ports.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def fake_master(folder: Path) -> Iterator[FakeMaster]:
    master = FakeMaster(folder)
    try:
        yield master
    finally:
        master.close()
