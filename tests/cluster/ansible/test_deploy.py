"""The life of a cluster on real hosts: each test takes up where the one before left off."""

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.ansible.conftest import Controller

Traces = dict[tuple[str, str], set[str]]
pytestmark = pytest.mark.timeout(1800)

# All that a host holds, apart from what comes and goes by itself.
_TRACES = """
import glob, json, os, subprocess
def walk(top):
    for folder, _, files in os.walk(top):
        yield folder
        yield from (os.path.join(folder, name) for name in files)
files = [f for top in ("/etc", "/opt", "/var/lib", "/srv", "/usr/local") for f in walk(top)]
units = subprocess.run(["systemctl", "list-unit-files", "--plain", "--no-legend"],
    capture_output=True, text=True).stdout
active = subprocess.run(["systemctl", "list-units", "--all", "--plain", "--no-legend"],
    capture_output=True, text=True).stdout
processes = []
for folder in glob.glob("/proc/[0-9]*"):
    try:
        line = open(folder + "/cmdline").read().split("\\0")
        processes.append(" ".join(line[:3]))
    except OSError:
        pass
print(json.dumps({
    "files": files,
    "units": [line.split()[0] for line in (units + active).splitlines() if line.split()],
    "cgroups": [f for f in glob.glob("/sys/fs/cgroup/**/", recursive=True)],
    "users": [line.split(":")[0] for line in open("/etc/passwd")],
    "processes": [p for p in processes if "colchis" in p],
}))
"""


def traces(controller: Controller) -> Traces:
    found: dict[str, Any] = {n: controller.lab.python(n, _TRACES) for n in controller.lab.names}
    own = ("user@", "user-", "session-", "run-user", "user-runtime-dir@")
    return {
        (host, kind): {
            entry
            for entry in entries
            if not any(word in entry for word in own) and not entry.endswith("-")
        }
        for host, listing in found.items()
        for kind, entries in listing.items()
    }


def added(before: Traces, after: Traces) -> Traces:
    """What was not there before, of places where there is anything."""
    return {place: after[place] - before[place] for place in after if after[place] - before[place]}


def containers(controller: Controller) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = controller.colchis("status", "store", "-o", "json")["containers"]
    return answer


@pytest.fixture(scope="module")
def before(controller: Controller) -> Traces:
    """What blank hosts hold."""
    return traces(controller)


@pytest.fixture(scope="module")
def store(controller: Controller, before: object) -> dict[str, Any]:
    """Deployed hosts with three containers; their processes."""
    controller.play("deploy")
    spec = Path(controller.folder / "examples" / "hbase" / "hbase.yaml").read_text()
    spec = spec.replace("${SPEC_DIR}", "/opt/colchis/examples/hbase")
    spec = spec.replace("app: hbase", "app: store").replace("count: 3", "count: 2")
    file = controller.folder / "store.yaml"
    file.write_text(spec)
    controller.colchis("run", file, "--timeout", "240")
    return controller.processes()


def test_check_mode_touches_nothing(controller: Controller, before: Traces) -> None:
    controller.play("deploy", "--check")
    assert added(before, traces(controller)) == {}
    assert not (controller.folder / "secrets").exists()


def test_blank_hosts_become_a_cluster_that_runs_apps(
    controller: Controller, store: dict[str, Any]
) -> None:
    nodes = {n["node"]: n for n in controller.colchis("node", "list", "-o", "json")["nodes"]}
    assert {name: node["state"] for name, node in nodes.items()} == {"a": "ready", "b": "ready"}
    assert nodes["a"]["groups"]["upgrade_domain"] == ["u1"]
    assert nodes["b"]["unenforced"] == []
    assert [c["state"] for c in containers(controller)] == ["running"] * 3
    assert {c["node"] for c in containers(controller)} == {"a", "b"}
    lines = [line for host in store.values() for _, line in host.values()]
    assert sum("region_server.py" in line for line in lines) >= 2
    assert controller.colchis("job", "list", "-o", "json") == {"jobs": []}


def test_a_second_run_changes_nothing(controller: Controller, store: dict[str, Any]) -> None:
    counts = controller.play("deploy")
    assert {host: count["changed"] for host, count in counts.items()} == {"a": 0, "b": 0}
    assert controller.processes() == store


def test_an_upgrade_leaves_every_process(controller: Controller, store: dict[str, Any]) -> None:
    version = controller.new_version()
    counts = controller.play("upgrade")
    assert counts["a"]["changed"] > 0
    assert counts["b"]["changed"] > 0
    for name in controller.lab.names:
        assert version in controller.lab.ssh(name, "/opt/colchis/venv/bin/colchis --version")
    assert controller.processes() == store
    assert [c["state"] for c in containers(controller)] == ["running"] * 3


def test_new_keys_leave_every_process(controller: Controller, store: dict[str, Any]) -> None:
    old = (controller.folder / "secrets" / "master.key").read_text()
    controller.play("rotate-keys")
    assert (controller.folder / "secrets" / "master.key").read_text() != old
    assert controller.processes() == store
    assert [c["state"] for c in containers(controller)] == ["running"] * 3


def test_a_cluster_is_removed_without_a_trace(
    controller: Controller, store: dict[str, Any], before: Traces
) -> None:
    controller.play("remove")
    assert added(before, traces(controller)) == {}
