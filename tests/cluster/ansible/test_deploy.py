"""The life of a cluster on real hosts: each test takes up where the one before left off."""

import json
import re
from collections import Counter
from pathlib import Path, PurePath
from typing import Any

import pytest

from tests.cluster.ansible.conftest import BIN, Controller
from tests.cluster.ansible.guests import PROJECT

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


def containers(controller: Controller, app: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = controller.colchis("status", app, "-o", "json")["containers"]
    return answer


def running(controller: Controller, app: str) -> bool:
    return {c["state"] for c in containers(controller, app)} == {"running"}


def programs(processes: dict[str, Any], host: str) -> Counter[str]:
    """How often each script of an example runs on a host, as the host's kernel says."""
    words = [word for _, line in processes[host].values() for word in line.split()]
    return Counter(
        PurePath(word).name for word in words if "/examples/" in word and word.endswith(".py")
    )


@pytest.fixture(scope="module")
def before(controller: Controller) -> Traces:
    """What blank hosts hold."""
    return traces(controller)


@pytest.fixture(scope="module")
def apps(controller: Controller) -> dict[str, Any]:
    """Both example apps and an executor on what was deployed; their processes."""
    hbase = controller.spec("hbase", {"count: 3": "count: 2"})
    tensorflow = controller.spec("tensorflow", {"count: 3": "count: 2"})
    controller.colchis("run", hbase, tensorflow, pool(controller), "--timeout", "300")
    return controller.processes()


def pool(controller: Controller) -> Path:
    file = controller.folder / "pool.yaml"
    file.write_text(
        "app: pool\nkind: batch\nexecutors: {count: 1, cores: 1, memory: 256MiB, tags: [pool]}\n"
    )
    return file


def counts_words(controller: Controller) -> bool:
    """Whether a job on the cluster counts rightly in a file that the hosts have."""
    file = Path("/usr/lib/os-release")
    script = PROJECT / "examples" / "wordcount" / "wordcount.py"
    lines = controller.outside(BIN / "python", script, "--cluster", "--top", "5", file).splitlines()
    words = re.findall(
        "[a-z']+", (controller.lab.folder / "b" / file.relative_to("/")).read_text().lower()
    )
    assert len(lines) == 5
    return all(int(line.split()[0]) == words.count(line.split()[1]) for line in lines)


def replaced(controller: Controller, before: dict[str, Any]) -> list[str]:
    """What of the processes of containers began or ended since."""
    after = controller.processes()
    return [
        f"{sign} {host} {pid} {found}"
        for sign, one, other in (("-", before, after), ("+", after, before))
        for host in one
        for pid, found in one[host].items()
        if other[host].get(pid) != found
    ]


def test_check_mode_touches_nothing(controller: Controller, before: Traces) -> None:
    controller.inventory("a", "b")
    controller.play("deploy", "--check")
    assert added(before, traces(controller)) == {}
    assert not (controller.folder / "secrets").exists()


def test_a_blank_host_becomes_a_cluster_and_another_joins_it(controller: Controller) -> None:
    controller.inventory("a")
    controller.play("deploy")
    nodes = controller.colchis("node", "list", "-o", "json")["nodes"]
    assert [(n["node"], n["state"]) for n in nodes] == [("a", "ready")]
    controller.inventory("a", "b")
    controller.play("deploy")
    nodes = {n["node"]: n for n in controller.colchis("node", "list", "-o", "json")["nodes"]}
    assert {name: node["state"] for name, node in nodes.items()} == {"a": "ready", "b": "ready"}
    assert nodes["a"]["groups"]["upgrade_domain"] == ["u1"]
    assert nodes["b"]["unenforced"] == []


def test_example_apps_run_within_their_rules(controller: Controller, apps: dict[str, Any]) -> None:
    assert running(controller, "hbase")
    assert running(controller, "tensorflow")
    on = {host: programs(apps, host) for host in ("a", "b")}
    assert on["a"] + on["b"] == Counter(
        {
            "master.py": 1,
            "region_server.py": 2,
            "parameter_server.py": 2,
            "worker.py": 2,
            "chief.py": 1,
        }
    )
    for found in on.values():
        assert not (found["master.py"] and found["region_server.py"])
        assert found["parameter_server.py"] == 1
    connection = json.loads((controller.folder / "secrets" / "connection.json").read_text())
    ycsb = controller.outside(
        *(BIN / "python", PROJECT / "examples" / "hbase" / "ycsb.py", "-o", "json"),
        *("--api", connection["api"]),
        *("--token-file", controller.folder / "secrets" / "admin.token"),
        *("--records", "20", "--operations", "20"),
    )
    print(ycsb)
    assert len(json.loads(ycsb)["workloads"]) == 6


def test_a_job_runs_on_an_executor(controller: Controller, apps: dict[str, Any]) -> None:
    assert counts_words(controller)


def test_a_second_run_changes_nothing(controller: Controller, apps: dict[str, Any]) -> None:
    counts = controller.play("deploy")
    assert {host: count["changed"] for host, count in counts.items()} == {"a": 0, "b": 0}
    assert replaced(controller, apps) == [], controller.outside(BIN / "colchis", "events")


def test_an_upgrade_leaves_every_process(controller: Controller, apps: dict[str, Any]) -> None:
    version = controller.new_version()
    counts = controller.play("upgrade")
    assert counts["a"]["changed"] > 0
    assert counts["b"]["changed"] > 0
    for name in controller.lab.names:
        assert version in controller.lab.ssh(name, "/opt/colchis/venv/bin/colchis --version")
    assert replaced(controller, apps) == [], controller.outside(BIN / "colchis", "events")
    assert running(controller, "hbase")


def test_new_keys_leave_every_process(controller: Controller, apps: dict[str, Any]) -> None:
    secrets = [controller.folder / "secrets" / name for name in ("master.key", "client.key")]
    old = [secret.read_text() for secret in secrets]
    controller.play("rotate-keys", "-e", "jobs=true")
    assert not set(old) & {secret.read_text() for secret in secrets}
    assert replaced(controller, apps) == [], controller.outside(BIN / "colchis", "events")
    assert running(controller, "tensorflow")
    controller.colchis("stop", "pool")
    controller.colchis("run", pool(controller), "--timeout", "300")
    assert counts_words(controller)


def test_a_node_is_emptied_and_removed(
    controller: Controller, apps: dict[str, Any], before: Traces
) -> None:
    # Two nodes are fewer than these need by their hard rules once one of them is gone.
    controller.colchis("stop", "hbase", "tensorflow", "pool")
    service = controller.folder / "service.yaml"
    service.write_text(
        "app: service\ngroups:\n  g: {count: 2, resources: {cpus: 0.1, memory: 16MiB}, "
        'tags: [s], command: [sleep, "100000"]}\n'
        'constraints: ["{s, {s, 0, 0}, node}"]\n'
    )
    controller.colchis("run", service, "--timeout", "300")
    assert {c["node"] for c in containers(controller, "service")} == {"a", "b"}
    controller.play("remove-node", "-e", "node=b", "-e", "drain_timeout=300")
    controller.inventory("a")
    assert {c["node"] for c in containers(controller, "service")} == {"a"}
    assert running(controller, "service")
    assert {
        place: new for place, new in added(before, traces(controller)).items() if place[0] == "b"
    } == {}


def test_a_cluster_is_removed_without_a_trace(controller: Controller, before: Traces) -> None:
    controller.play("remove")
    assert added(before, traces(controller)) == {}
