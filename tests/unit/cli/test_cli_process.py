"""The command as a process of its own: standard input, pipes, completion."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from colchis.specs import app_to_dict, read_apps
from tests.unit.api.fake_control import FakeControl
from tests.unit.cli.command import colchis
from tests.unit.cli.conftest import WEB, WRONG

COLCHIS = [sys.executable, "-m", "colchis"]


def run(*arguments: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COLCHIS, *arguments],
        input=given,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def complete(line: str) -> list[str]:
    """What bash would offer after ``line``."""
    words = line.split(" ")
    found = run(_COLCHIS_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert found.stderr == ""
    return found.stdout.split()


@pytest.mark.usefixtures("files")
def test_exit_codes() -> None:
    good = run("plan", "--cluster", "cluster.yaml", "-", "-o", "json", given=WEB)
    assert (good.returncode, good.stderr) == (0, "")
    bad = run("plan", "--cluster", "cluster.yaml", "-", given=WRONG)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert [line.split(":")[1].strip() for line in bad.stderr.splitlines()] == ["<stdin>"] * 3
    assert run("plan", "--cluster", "cluster.yaml", "huge.yaml").returncode == 1
    assert run("status").returncode == 2


def test_a_reader_that_goes_away(live: FakeControl) -> None:
    for number in range(5000):
        live.emit("tick", f"number {number}")
    shell = f"{sys.executable} -m colchis events -o yaml | head -n 1"
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout, done.stderr) == ("events:\n", "")


def test_help_names_the_command_itself() -> None:
    found = run("--help")
    assert found.returncode == 0
    assert found.stdout.startswith("Usage: colchis ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    found = run(_COLCHIS_COMPLETE=f"source_{shell}")
    assert found.returncode == 0
    assert "_COLCHIS_COMPLETE" in found.stdout


def test_completion_of_verbs_and_of_what_runs(live: FakeControl) -> None:
    assert {"status", "stop", "story"} <= set(complete("colchis st"))
    assert complete("colchis status w") == []
    assert colchis("run", "web.yaml").code == 0
    assert complete("colchis status w") == ["web"]
    assert complete("colchis logs web/w/") == ["web/w/0", "web/w/1", "web/w/2"]
    assert complete("colchis suspend web") == ["web", "web/w", "web/w/0", "web/w/1", "web/w/2"]
    assert complete("colchis node drain ") == ["n1", "n2"]
    assert complete("colchis job cancel t") == ["train"]


@pytest.mark.usefixtures("files")
def test_completion_without_a_master() -> None:
    assert complete("colchis status ") == []


def test_the_spec_sent_is_the_spec_read(live: FakeControl, files: Path) -> None:
    assert run("run", "-", "--no-wait", given=WEB).returncode == 0
    [sent] = live.specs.values()
    [read] = read_apps([files / "web.yaml"])
    assert app_to_dict(sent) == app_to_dict(read)
