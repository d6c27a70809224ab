"""`logs`, `events`, `story`, `snapshot`, `top`, and the verbs of nodes, rules and jobs."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from colchis.client.connection import Connection, write_connection
from colchis.specs import read_cluster
from tests.unit.api.fake_control import FakeControl
from tests.unit.api.serving import ADMIN, serve
from tests.unit.cli.command import colchis


@pytest.fixture
def web(live: FakeControl) -> FakeControl:
    assert colchis("run", "web.yaml").code == 0
    return live


def test_logs_of_one_container(web: FakeControl) -> None:
    web.output["web/w/0"] = ["one\ntwo\nthree"]
    assert colchis("logs", "web/w/0").out == "one\ntwo\nthree"
    assert colchis("logs", "web/w/0", "--tail", "2").out == "two\nthree"
    assert colchis("logs", "web/w/0", "-n", "0").out == ""
    assert colchis("logs", "web/w/0", "-n", "9").out == "one\ntwo\nthree"


def test_logs_longer_than_a_chunk(web: FakeControl) -> None:
    text = "".join(f"line {number}\n" for number in range(60_000))
    web.output["web/w/0"] = [text]
    assert colchis("logs", "web/w/0").out == text
    last = "".join(f"line {number}\n" for number in range(59_990, 60_000))
    assert colchis("logs", "web/w/0", "--tail", "10").out == last


def test_logs_of_several_are_told_apart_line_by_line(web: FakeControl) -> None:
    web.output |= {f"web/w/{index}": [f"a{index}\n\nb{index}"] for index in range(3)}
    expected = [line for i in range(3) for line in (f"a{i}", "", f"b{i}")]
    done = colchis("logs", "web/w")
    assert done.code == 0
    assert [line.split(": ", 1)[1] for line in done.out.splitlines()] == expected
    assert done.out.startswith("web/w/0: a0\n")


def test_logs_follow_until_the_container_ends(web: FakeControl) -> None:
    web.output["web/w/1"] = ["be", "gin\n", "", "middle\n", "end"]
    done = colchis("logs", "-f", "web/w/1")
    assert (done.code, done.out) == (0, "begin\nmiddle\nend")


def test_logs_follow_several_without_breaking_lines(web: FakeControl) -> None:
    web.output |= {f"web/w/{index}": ["", "fir", "st\nsec", "ond\n", "last"] for index in range(3)}
    done = colchis("logs", "-f", "web")
    assert done.code == 0
    expected = [f"web/w/{i}: {word}" for i in range(3) for word in ("first", "second", "last")]
    assert sorted(done.out.splitlines()) == sorted(expected)


def test_logs_that_cannot_be_had(web: FakeControl) -> None:
    assert colchis("logs", "web/w/7").err == "error: web/w/7 has no containers\n"
    assert colchis("logs", "-f", "gone/w/0").code == 1
    web.output["web/w/1"] = ["it\n"]
    done = colchis("logs", "web")
    assert (done.code, done.out) == (1, "web/w/1: it\n")
    assert done.err.splitlines() == [
        "error: there is no container web/w/0",
        "error: there is no container web/w/2",
    ]


def test_logs_follow_waits_for_what_is_not_there_yet(web: FakeControl) -> None:
    timer = threading.Timer(0.5, lambda: web.output.update({"web/w/0": ["late\n"]}))
    timer.start()
    done = colchis("logs", "-f", "web/w/0")
    timer.join()
    assert (done.code, done.out) == (0, "late\n")


def test_events(live: FakeControl) -> None:
    for number in range(1200):
        live.emit("tick", f"number {number}", node="n1")
    found = colchis("events", "-o", "json").json["events"]
    assert [event["seq"] for event in found] == list(range(1200))
    found = colchis("events", "--last", "2", "-o", "yaml").out
    assert [event["seq"] for event in yaml.safe_load(found)["events"]] == [1198, 1199]
    shown = colchis("events", "--since", "1199").out.splitlines()
    assert len(shown) == 2 and "number 1199" in shown[1]


@pytest.mark.parametrize("output", ["json", "table"])
def test_events_follow_until_the_master_is_lost(
    files: Path, control: FakeControl, output: str
) -> None:
    for number in range(5):
        control.emit("tick", f"number {number}")
    done: list[Any] = []
    with serve(control) as url:
        write_connection(files / "connection.json", Connection(url, ADMIN))
        seen = threading.Event()
        asked = control.events

        def events(since: int, limit: int) -> dict[str, Any]:
            if since > 5:
                seen.set()
            return asked(since, limit)

        control.events = events  # type: ignore[method-assign]  # the fake, watched
        verb = ["events", "-f", "--last", "2", "-o", output]
        thread = threading.Thread(target=lambda: done.append(colchis(*verb)))
        thread.start()
        control.emit("tock", "later", app="web")
        control.emit("tock", "last", app="web")
        assert seen.wait(60)
    thread.join(60)
    [ended] = done
    assert ended.code == 1
    assert "master at http" in ended.err
    lines = ended.out.splitlines()
    if output == "json":
        seqs = [json.loads(line)["seq"] for line in lines]
        assert seqs == list(range(seqs[0], 7))
    else:
        assert lines[-1].endswith("6  tock  web  last")


def test_story(live: FakeControl) -> None:
    assert colchis("story", "web/w/0", "-o", "json").json["story"][0]["text"]
    assert "web/w/0 came to be" in colchis("story", "web/w/0").out
    assert colchis("story", "nobody").code == 1


def test_a_snapshot_can_be_planned_on(live: FakeControl, files: Path) -> None:
    done = colchis("snapshot")
    assert done.code == 0
    (files / "now.yaml").write_text(done.out)
    cluster = read_cluster(files / "now.yaml")
    assert [node.name for node in cluster.nodes] == ["n1", "n2"]
    assert [str(container.id) for container in cluster.containers] == ["old/w/0"]
    assert len(cluster.rules) == 1
    assert yaml.safe_load(done.out) == colchis("snapshot", "-o", "json").json == live.snapshot()
    assert colchis("plan", "--cluster", "now.yaml", "web.yaml").code == 1
    found = colchis("explain", "--cluster", "now.yaml", "--container", "old/w/0", "-o", "json")
    assert [node["node"] for node in found.json["nodes"]] == ["n1", "n2"]


def test_top_once(web: FakeControl) -> None:
    shown = colchis("top", "--once")
    assert shown.code == 0
    assert "0.50" in shown.out and "web/w/0" in shown.out and "1.2 s" in shown.out
    found = colchis("top", "-o", "json").json
    assert sorted(found) == ["containers", "nodes"]


def test_plan_and_explain_live(live: FakeControl) -> None:
    done = colchis("plan", "web.yaml", "--mode", "weighted", "-o", "json")
    assert done.code == 0
    assert (done.json["mode"], done.json["apps"][0]["app"]) == ("weighted", "web")
    assert colchis("plan", "web.yaml", "--time-limit", "601").code == 2
    for arguments in (["web/w/0"], ["--container", "web/w/0"]):
        explained = colchis("explain", *arguments, "-o", "json")
        assert (explained.code, explained.json["container"]) == (0, "web/w/0")
    assert "too [near]" in colchis("explain", "web/w/0").out


def test_nodes(live: FakeControl) -> None:
    found = colchis("node", "list", "-o", "json").json["nodes"]
    assert [node["node"] for node in found] == ["n1", "n2"]
    assert colchis("node", "drain", "n1").code == 0
    assert live.drained == {"n1"}
    shown = colchis("node", "list").out
    assert "drained" in shown and "2.5/4" in shown and "rack=r1" in shown
    assert colchis("node", "undrain", "n1").code == 0
    assert live.drained == set()
    assert colchis("node", "drain", "n1", "--wait").err == "n1: drained\n"
    assert colchis("node", "drain", "n9").err == "error: there is no node n9\n"


def test_a_drain_that_is_not_done_says_what_stays(web: FakeControl) -> None:
    web.stay = {"n1"}
    late = colchis("node", "drain", "n1", "--wait", "--timeout", "0.3")
    assert late.code == 1
    assert late.err.splitlines() == [
        "error: n1 is not empty after 0.3 s",
        *(f"error: web/w/{index} is running" for index in range(3)),
    ]


def test_constraints(live: FakeControl) -> None:
    text = "{a, {b, 0, 1}, node}"
    added = colchis("constraint", "add", text, "--weight", "2.5", "--hard", "--expires", "2h")
    assert added.code == 0
    assert colchis("constraint", "add", text, "--name", "apart").code == 0
    found = colchis("constraint", "list", "-o", "json").json["constraints"]
    assert [(c["name"], c["weight"], c["hard"], c["expires_in"]) for c in found] == [
        (text, 2.5, True, 7200.0),
        ("apart", 1.0, False, None),
    ]
    assert "in 7200 s" in colchis("constraint", "list").out
    assert colchis("constraint", "remove", text).code == 0
    assert list(live.operator) == ["apart"]
    assert colchis("constraint", "remove", "gone").code == 1


def test_a_constraint_is_removed_by_its_text_as_it_was_written(live: FakeControl) -> None:
    text = "{ a,{self/b,0,∞},node }"
    canonical = "{a, {self/b, 0, inf}, node}"
    assert colchis("constraint", "add", text).err == f"{canonical}: in force\n"
    assert list(live.operator) == [canonical]
    assert colchis("constraint", "remove", text).err == f"{canonical}: removed\n"
    assert live.operator == {}


def test_a_wrong_constraint_is_told_where(live: FakeControl) -> None:
    done = colchis("constraint", "add", "{a, {b, 2, 1}, node}")
    assert done.code == 2
    assert "character 9" in done.err
    assert live.operator == {}


def test_jobs(live: FakeControl) -> None:
    assert colchis("job", "list", "-o", "json").json["jobs"][0]["job"] == "train"
    shown = colchis("job", "list").out.splitlines()
    assert shown[0].split() == ["JOB", "NAME", "STATE", "COUNTS"]
    assert shown[1].split() == ["train", "train", "running", "1", "running"]
    assert colchis("job", "status", "train", "-o", "json").json["state"] == "running"
    assert colchis("job", "tasks", "train").out.splitlines()[1].split()[0] == "s0"
    assert colchis("job", "cancel", "train").code == 0
    assert live.cancelled == {"train"}
    assert colchis("job", "status", "gone").err == "error: there is no job gone\n"
