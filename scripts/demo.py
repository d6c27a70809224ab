"""The main job on one machine: a master and four agents, two apps, suspended and resumed.

Then a stream beside a batch on shared executors, under several policies.

What can be is done through the `colchis` command, as its user would. Progress goes to standard
error; standard output holds the report, with ``-o json`` as one JSON object.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from demo_streams import kind, streams

from colchis.client.connection import read_connection
from colchis.client.http import Client
from colchis.errors import ColchisError
from colchis.jobs.timeline import as_svg, as_text

ROOT = Path(__file__).resolve().parent.parent
COLCHIS = [sys.executable, "-m", "colchis"]
PATIENCE = 90.0
"""Seconds after which something that was waited for is taken to have failed."""

STOP_PATIENCE = 300.0
"""Seconds that `colchis up` has to end all; it gives up sooner by itself."""

SUSPENDED = 3.0
"""Seconds for which the training containers are kept off their cores."""


class DemoError(Exception):
    """The demonstration did not go as it should."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument(
        "--timeline", type=Path, metavar="FILE", help="write a picture of tasks per slot (SVG)"
    )
    arguments = parser.parse_args()
    quiet = arguments.output == "json"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="colchis-demo-"))
    demo = Demo(folder, quiet=quiet)
    report: dict[str, Any] = {}
    try:
        report = demo.run()
        report["streams"] = demo.streams(arguments.timeline)
    except (DemoError, ColchisError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        demo.print_daemon_logs()
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        demo.stop_cluster()
        left = demo.leftovers()
        shutil.rmtree(folder, ignore_errors=True)
    report["clean"] = not left and not folder.exists()
    for thing in left:
        print(f"demo: left behind: {thing}", file=sys.stderr)
    if quiet:
        print(json.dumps(report))
    elif report["clean"]:
        print("\nNothing is left: no process, no cgroup, no file.")
    return 0 if report["clean"] and "streams" in report else 1


class Demo:
    """One run in ``folder``; unless ``quiet``, what the command prints is shown."""

    def __init__(self, folder: Path, *, quiet: bool) -> None:
        self._folder = folder
        self._quiet = quiet
        self._name = folder.name
        self._connection = folder / "connection.json"
        self._up: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, "COLCHIS_CONNECTION": str(self._connection)}

    def run(self) -> dict[str, Any]:
        self._say("A master and four agents in two racks, all on this machine")
        self._start_cluster()
        self._show("node", "list")
        self._say("An HBase-like and a TensorFlow-like app, placed together by the ILP")
        specs = [ROOT / f"examples/{app}/{app}.yaml" for app in ("hbase", "tensorflow")]
        self._show("run", *map(str, specs), "--timeout", str(PATIENCE))
        self._show("constraint", "list")
        snapshot = self._json("snapshot")
        placements = self._placements()
        with Client(read_connection(self._connection)) as master:
            violations = master.violations()
        self._say("YCSB's core workloads A to F against the region servers")
        ycsb = self._ycsb()
        self._say("Training goes on beside it")
        self._until("a training step", lambda: self._training()["step"] > 0)
        started = self._training()
        self._show("top", "--once")
        self._say(f"Suspending the training containers for {SUSPENDED:.0f} s")
        suspended = self._suspend_training()
        self._say("Resumed: the loss goes on down")
        resumed = self._training()
        self._until("further steps", lambda: self._training()["step"] > resumed["step"] + 20)
        ended = self._training()
        self._print(
            f"step {started['step']}: loss {started['loss']:.4f}; "
            f"suspended: {suspended:.3f} s of cpu in {SUSPENDED:.0f} s; "
            f"step {ended['step']}: loss {ended['loss']:.4f}"
        )
        self._show("events")
        self._say("Stopping both")
        self._show("stop", "tensorflow", "hbase", "--grace", "3")
        return {
            "placements": placements,
            "snapshot": snapshot,
            "violations": violations,
            "ycsb": ycsb,
            "training": {"started": started, "resumed": resumed, "ended": ended},
            "suspended_cpu_seconds": suspended,
        }

    def streams(self, picture: Path | None) -> list[dict[str, Any]]:
        """A row per policy; the picture goes to the file, where one is named."""
        self._say("A stream alone, then beside a batch that fills the executor, by policy")
        # What they leave is looked for as everything else is.
        tempfile.tempdir = str(self._folder)
        rows, found = streams(self._say)
        self._print(f"{'':8}{'stream p50':>12}{'longest':>12}{'batch':>10}")
        for row in rows:
            self._print(
                f"{row['policy']:8}{row['p50_ms']:9.1f} ms{row['max_ms']:9.1f} ms"
                f"{row['batch_s']:8.2f} s"
            )
        self._print("\n".join(["Slots under lma:", *as_text(found, kind)]))
        if picture is not None:
            picture.write_text(as_svg(found, kind, "A stream beside a batch under lma"))
            self._say(f"The picture is in {picture}")
        return rows

    def stop_cluster(self) -> None:
        """End the daemons in good order, or by force where that takes far too long."""
        if self._up is None:
            return
        self._up.send_signal(signal.SIGINT)
        try:
            self._up.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._up.pid, signal.SIGKILL)
            self._up.wait()

    def leftovers(self) -> list[str]:
        """Processes that name the folder, cgroups that carry its name.

        What was killed has a while to die.
        """
        deadline = time.monotonic() + PATIENCE
        while left := [*self._processes(), *self._cgroups()]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return left

    def print_daemon_logs(self) -> None:
        for log in sorted(self._folder.rglob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-30:]
            print(f"--- {log.name}", *lines, sep="\n", file=sys.stderr)

    def _start_cluster(self) -> None:
        with (self._folder / "up.log").open("wb") as log:
            shape = ["--agents", "4", "--racks", "2", "--cpus", "2", "--memory", "1GiB"]
            self._up = subprocess.Popen(
                [*COLCHIS, "up", "--state", str(self._folder), "--name", self._name, *shape],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._until("four nodes to be ready", self._nodes_are_ready)

    def _nodes_are_ready(self) -> bool:
        assert self._up is not None
        if self._up.poll() is not None:
            raise DemoError(f"`colchis up` ended with code {self._up.returncode}")
        if not self._connection.exists():
            return False
        found = subprocess.run(
            [*COLCHIS, "node", "list", "-o", "json"],
            env=self._environment,
            capture_output=True,
            check=False,
        )
        if found.returncode:
            return False
        nodes = json.loads(found.stdout)["nodes"]
        return [node["state"] for node in nodes] == ["ready"] * 4

    def _placements(self) -> dict[str, str]:
        return {
            container["container"]: container["node"]
            for app in self._json("status")["apps"]
            for container in app["containers"]
        }

    def _ycsb(self) -> Any:
        out = self._program("examples/hbase/ycsb.py", "--records", "500", "--operations", "400")
        if not self._quiet:
            for row in out["workloads"]:
                self._print(json.dumps(row))
        return out

    def _training(self) -> Any:
        return self._program("examples/tensorflow/watch.py")

    def _suspend_training(self) -> float:
        """Seconds of cpu that the training used while it was suspended."""
        self._command("suspend", "tensorflow")
        self._await_measurement()
        before = self._training_cpu()
        time.sleep(SUSPENDED)
        self._await_measurement()
        after = self._training_cpu()
        self._command("resume", "tensorflow")
        return round(after - before, 6)

    def _await_measurement(self) -> None:
        """Wait until every node has sent what it measured from now on.

        That is in its second heartbeat, since the first may be on its way by now.
        """
        for _ in range(2):
            began = time.monotonic()

            def heard(began: float = began) -> bool:
                elapsed = time.monotonic() - began
                nodes = self._json("node", "list")["nodes"]
                return all(node["heartbeat_age"] < elapsed for node in nodes)

            self._until("heartbeats", heard)

    def _training_cpu(self) -> float:
        containers = self._json("status", "tensorflow")["containers"]
        if any(container["state"] != "suspended" for container in containers):
            raise DemoError("a container of the training is not suspended")
        return float(sum(container["usage"]["cpu_seconds"] for container in containers))

    def _program(self, script: str, *arguments: str) -> Any:
        connection = json.loads(self._connection.read_bytes())
        token = self._folder / "demo.token"
        token.touch(0o600)
        token.write_text(connection["token"])
        given = ["--api", connection["api"], "--token-file", str(token), "-o", "json"]
        return json.loads(self._call([sys.executable, str(ROOT / script), *given, *arguments]))

    def _json(self, *arguments: str) -> Any:
        return json.loads(self._command(*arguments, "-o", "json"))

    def _command(self, *arguments: str) -> bytes:
        return self._call([*COLCHIS, *arguments])

    def _call(self, command: list[str]) -> bytes:
        done = subprocess.run(
            command, env=self._environment, capture_output=True, check=False, timeout=PATIENCE * 2
        )
        if done.returncode:
            output = (done.stdout + done.stderr).decode(errors="replace")
            raise DemoError(f"{' '.join(command[1:])} ended with {done.returncode}:\n{output}")
        return done.stdout

    def _show(self, *arguments: str) -> None:
        self._print(f"$ colchis {' '.join(arguments)}")
        self._print(self._command(*arguments).decode().rstrip())

    def _until(self, what: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(f"waited {PATIENCE:.0f} s for {what}")
            time.sleep(0.2)

    def _say(self, text: str) -> None:
        print(f"== {text}", file=sys.stderr, flush=True)

    def _print(self, text: str) -> None:
        if not self._quiet and text:
            print(text, flush=True)

    def _processes(self) -> Iterator[str]:
        for path in Path("/proc").glob("[0-9]*"):
            if path.name == str(os.getpid()):
                continue
            try:
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (path / "environ").read_bytes()
            except OSError:
                continue
            if self._name in command or f"{self._name}/".encode() in environment:
                yield f"process {path.name}: {command}"

    def _cgroups(self) -> Iterator[str]:
        # Others may remove theirs meanwhile, which ``walk`` does not mind.
        for path, _, _ in os.walk("/sys/fs/cgroup"):
            if self._name in Path(path).name:
                yield f"cgroup {path}"


if __name__ == "__main__":
    sys.exit(main())
