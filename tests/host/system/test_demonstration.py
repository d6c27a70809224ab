"""``scripts/demo`` is judged by its report, and leaves nothing behind even when interrupted."""

import json
import os
import signal
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from colchis.semantics.checker import judge
from colchis.specs import parse_cluster
from tests.host.support import cgroups_named
from tests.support import DEADLINE, wait_for

SVG = "http://www.w3.org/2000/svg"
DEMO = Path(__file__).resolve().parents[3] / "scripts/demo"


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The demo with its temporary folder below ``folder``; its progress goes to a file there."""
    with (folder / "progress").open("wb") as progress:
        return subprocess.Popen(
            [str(DEMO), *arguments],
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=progress,
            start_new_session=True,
        )


def traces(folder: Path) -> list[str]:
    """Processes that know of the folder, cgroups of its clusters, and files in it."""
    found = [path.name for path in folder.glob("colchis-demo-*")]
    for path in Path("/proc").glob("[0-9]*"):
        try:
            known = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{folder}/colchis-demo-".encode() in known:
            found.append(f"process {path.name}")
    return found


def name_of(demo: subprocess.Popen[bytes], folder: Path) -> str:
    """The name of the temporary folder of a demo that is under way, and of its cgroup."""

    def named() -> list[str]:
        assert demo.poll() is None, (folder / "progress").read_text()
        return [path.name for path in folder.glob("colchis-demo-*")]

    return wait_for(named)[0]


def test_the_report(tmp_path: Path) -> None:
    picture = tmp_path / "timeline.svg"
    demo = start(tmp_path, "-o", "json", "--timeline", str(picture))
    name = name_of(demo, tmp_path)
    output, _ = demo.communicate(timeout=DEADLINE * 5)
    assert demo.returncode == 0, (tmp_path / "progress").read_text()
    report = json.loads(output)

    cluster = parse_cluster(json.dumps(report["snapshot"]))
    assert {str(c): node for c, node in cluster.placed.items()} == report["placements"]
    apps = [name.split("/")[0] for name in report["placements"]]
    assert (apps.count("hbase"), apps.count("tensorflow")) == (4, 6)
    verdict = judge(cluster)
    assert verdict.subjects == 10
    assert (verdict.hard, verdict.violating) == ((), len(report["violations"]))

    mixes = {row["workload"]: row for row in report["ycsb"]["workloads"]}
    assert sorted(mixes) == list("ABCDEF")
    for row in mixes.values():
        assert (row["operations"], row["missing"]) == (400, 0)
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p99"]

    training = report["training"]
    assert training["started"]["loss"] < training["started"]["initial_loss"]
    assert training["ended"]["step"] > training["resumed"]["step"] > 0
    assert training["ended"]["loss"] < training["started"]["loss"]
    assert report["suspended_cpu_seconds"] == 0

    rows = {row["policy"]: row for row in report["streams"]}
    assert list(rows) == ["alone", "fifo", "fair", "kill", "lma"]
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["max_ms"]
        assert row["batch_s"] > 0
    svg = ET.parse(picture).getroot()
    assert any("suspended" in (e.text or "") for e in svg.iter(f"{{{SVG}}}title"))

    assert report["clean"] is True
    assert traces(tmp_path) == []
    assert cgroups_named(name) == []


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    demo = start(tmp_path)
    name = name_of(demo, tmp_path)
    wait_for(lambda: b"YCSB" in (tmp_path / "progress").read_bytes(), "both apps to run")
    assert traces(tmp_path) != []
    assert cgroups_named(name) != []
    os.killpg(demo.pid, signal.SIGINT)
    demo.communicate(timeout=DEADLINE * 2)
    assert demo.returncode == 1, (tmp_path / "progress").read_text()
    assert "left behind" not in (tmp_path / "progress").read_text()
    assert traces(tmp_path) == []
    assert cgroups_named(name) == []
