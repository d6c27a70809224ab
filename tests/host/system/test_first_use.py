"""The first use that README.md describes, its commands run as they are written there."""

import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.host.support import cgroups_named
from tests.support import DEADLINE, wait_for

README = Path(__file__).resolve().parents[3] / "README.md"


@dataclass
class Guide:
    """What the section says to do."""

    up: str
    spec: str
    commands: list[str]
    offline: list[str]


def guide() -> Guide:
    section = re.split(r"^## ", README.read_text(), flags=re.MULTILINE)
    text = next(part for part in section if part.startswith("A first use"))
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL)
    consoles = [
        re.findall(r"^\$ (.*)$", block, flags=re.MULTILINE)
        for kind, block in blocks
        if kind == "console"
    ]
    (up,) = [line for line in consoles[0] if line.startswith("colchis up")]
    (spec,) = [block for kind, block in blocks if kind == "yaml"]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return Guide(up.split("#")[0], spec, consoles[1], re.findall(r"`(colchis [^`]+)`", prose))


@dataclass
class Terminal:
    """A user's shell; the state folder is in the test's folder."""

    folder: Path
    name: str
    code: int = 0
    """With which ``colchis up`` is to end."""

    @property
    def environment(self) -> dict[str, str]:
        plain = {k: v for k, v in os.environ.items() if k != "COLCHIS_CONNECTION"}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**plain, "PATH": path, "XDG_STATE_HOME": str(self.folder / "state")}

    def start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str, code: int = 0) -> str:
        process = self.start(command)
        output, _ = process.communicate(timeout=DEADLINE * 2)
        assert process.returncode == code, (command, output)
        return output

    def traces(self) -> list[str]:
        """Processes that have this terminal's environment, and cgroups of its cluster."""
        found = cgroups_named(self.name)
        for path in Path("/proc").glob("[0-9]*"):
            try:
                known = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.folder).encode() in known:
                found.append(f"process {path.name}")
        return found


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A shell beside a running ``colchis up``, which is ended by Ctrl-C."""
    shell = Terminal(tmp_path, f"test-{uuid.uuid4().hex[:8]}")
    with (tmp_path / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [*shlex.split(guide().up), "--name", shell.name],
            cwd=tmp_path,
            env=shell.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "4 nodes are ready" in (tmp_path / "up.log").read_text(), "the nodes")
        yield shell
    finally:
        up.send_signal(signal.SIGINT)
        code = up.wait(DEADLINE * 2)
    assert code == shell.code, (tmp_path / "up.log").read_text()
    wait_for(lambda: not shell.traces(), "its last processes to end")
    assert not list(tmp_path.rglob("connection.json"))


def test_as_written(terminal: Terminal) -> None:
    steps = guide()
    (terminal.folder / "web.yaml").write_text(steps.spec)
    verbs = [re.split(r"\s+", step)[1] for step in steps.commands]
    assert verbs == ["plan", "run", "status", "explain", "suspend", "logs", "stop"]
    plan, run, status, explain, suspend, logs, stop = steps.commands

    assert "web/server/3" in terminal.run(plan)
    assert terminal.run(run).count("running") >= 4
    assert "web/server/0" in terminal.run(status)
    assert {"n1", "n2", "n3", "n4"} <= set(terminal.run(explain).split())
    assert "resume" in suspend
    assert "running" in terminal.run(suspend)
    follower = terminal.start(logs)
    url = terminal.run("colchis status web -o json | grep -m1 -o '\"port\": [0-9]*'")
    fetch = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{url.split()[1]}').read()"
    terminal.run(f'python -c "{fetch}"')
    assert follower.stdout is not None
    assert "GET / HTTP" in wait_for(follower.stdout.readline, "the request in the log")
    for command in steps.offline:
        terminal.run(command)
    assert [command.split()[1] for command in steps.offline] == ["snapshot", "plan"]
    terminal.run(stop)
    follower.communicate(timeout=DEADLINE)
    assert follower.returncode == 0
    assert "web" not in terminal.run("colchis status -o json | grep app || true")


def test_a_second_cluster_of_the_kind_is_refused(terminal: Terminal) -> None:
    again = f"{guide().up} --name {terminal.name}"
    assert "runs on" in terminal.run(again, code=1)
    other = f"{again} --state {terminal.folder}/other"
    assert f"named {terminal.name} runs" in terminal.run(other, code=1)
    third = f"{guide().up} --name {terminal.name}-b --state {terminal.folder}/other"
    assert "--connection" in terminal.run(third, code=1)
    assert "4 ready" in terminal.run("colchis status")


def test_a_dead_agent_ends_the_cluster_and_leaves_nothing(terminal: Terminal) -> None:
    (terminal.folder / "web.yaml").write_text(guide().spec)
    terminal.run("colchis run web.yaml")
    folder = terminal.folder / "state/colchis/local"
    (agent,) = [
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if f"{folder}/settings/n1.yaml".encode() in command_of(path)
    ]
    os.kill(agent, signal.SIGKILL)
    terminal.code = 1
    log = terminal.folder / "up.log"
    wait_for(lambda: "error: n1 ended with code -9" in log.read_text(), "it to be noticed")


def command_of(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
