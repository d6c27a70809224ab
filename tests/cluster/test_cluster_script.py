"""The command that brings a cluster up on a developer's machine, and takes it down."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LABEL = "label=colchis.cluster=colchis-lab"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
STATE = CACHE / "colchis/cluster"
CONNECTION = STATE / "connection.json"
PATIENCE = 300.0
"""Seconds for each command; the script itself gives up sooner, and says why."""


def call(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


def left() -> list[str]:
    """What there is of the script's cluster."""
    found = call("docker", "ps", "--all", "--quiet", "--filter", LABEL).stdout.split()
    found += call("docker", "network", "ls", "--quiet", "--filter", LABEL).stdout.split()
    found += [str(STATE)] if STATE.exists() else []
    return found + [str(path) for path in Path("/sys/fs/cgroup").rglob("colchis-lab-n[0-9]*")]


@pytest.mark.usefixtures("image")
def test_a_cluster_goes_up_and_down() -> None:
    assert not left(), "a cluster is there already: scripts/cluster down takes it down"
    try:
        said = call("scripts/cluster", "up", 2)
        assert f"export COLCHIS_CONNECTION={CONNECTION}" in said.stdout
        node_list = (ROOT / ".venv/bin/colchis", "node", "list", "-o", "json")
        nodes = json.loads(call(*node_list, "--connection", CONNECTION).stdout)["nodes"]
        assert {node["node"]: node["state"] for node in nodes} == {"n1": "ready", "n2": "ready"}
        again = call("scripts/cluster", "up", 2, code=1)
        assert "it is up already" in again.stderr
        assert json.loads(call(*node_list, "--connection", CONNECTION).stdout)["nodes"]
    finally:
        call("scripts/cluster", "down")
    assert not left()
    call("scripts/cluster", "down")
