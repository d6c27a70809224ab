"""A user's and an operator's day on one running cluster."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tests.host.system.lab import Lab, service
from tests.support import wait_for

HOG = "b = bytearray(512 * 2**20); b[::4096] = b'x' * len(b[::4096])"


DIARY = """
import os, signal, sys, time
def write(what):
    with open(sys.argv[1], "a") as diary:
        diary.write(f"{os.environ['COLCHIS_CONTAINER']} {what}\\n")
def end(*_):
    write("ends")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
write("runs")
while True: time.sleep(0.05)
"""
"""Writes down when it runs and when it ends."""


def nodes_of(lab: Lab, app: str) -> list[str]:
    return sorted(c["node"] for c in lab.containers(app).values())


def states_of(lab: Lab, app: str) -> set[str]:
    return {c["state"] for c in lab.containers(app).values()}


def rule(lab: Lab, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = lab.json("constraint", "list")["constraints"]
    return next(one for one in found if one["name"] == name)


def test_three_mistakes_are_three_errors_with_their_places(lab: Lab, tmp_path: Path) -> None:
    spec = tmp_path / "wrong.yaml"
    spec.write_text(
        "app: wrong\n"
        "kind: servce\n"
        "groups:\n"
        "  a: {count: -1, resources: {cpus: 1, memory: 1GiB}, command: [sleep, '1']}\n"
        "constraints:\n"
        '  - "{a, {a, 2, 1}, node}"\n'
    )
    done = lab.run("run", str(spec), code=2)
    places = [line.removeprefix("error: ").split(": ")[0] for line in done.stderr.splitlines()]
    assert places == [f"{spec}:2:7", f"{spec}:4:14", f"{spec}:6:14"], done.stderr
    assert lab.json("status")["apps"] == []


def test_out_of_memory_is_said(lab: Lab) -> None:
    hog = service("hog", command=["python", "-S", "-c", HOG], restart="never")
    lab.run("run", "-", "--no-wait", given={**hog, "kind": "batch"})
    wait_for(lambda: states_of(lab, "hog") == {"ended"}, "the end")
    found = lab.json("status", "hog")
    assert found["state"] == "failed"
    assert found["containers"][0]["exit"]["kind"] == "oom"
    assert "oom" in lab.run("status", "hog").stdout
    assert lab.node_states() == dict.fromkeys(lab.nodes, "ready")
    lab.stop("hog")


def test_failures_say_why_where_one_looks(lab: Lab) -> None:
    failing = service("fail", command=["sh", "-c", "echo oops >&2; exit 3"], restart="on-failure")
    lab.run("run", "-", "--timeout", "0", given=failing, code=1)
    wait_for(lambda: lab.containers("fail")["fail/a/0"]["restarts"] >= 1, "a restart")
    wait_for(lambda: "code 3" in lab.run("status", "fail").stdout, "the exit code")
    assert "oops" in lab.run("logs", "fail").stdout
    assert "backing-off, since it exited with code 3" in lab.run("story", "fail").stdout
    lab.stop("fail")


def test_usage_is_still_known_when_a_container_is_suspended(lab: Lab) -> None:
    lab.run("run", "-", given=service("web", command=["python", "-S", "-c", "while True: pass"]))

    def used() -> float:
        with lab.client() as master:
            return float(master.app("web")["containers"][0]["usage"]["cpu_seconds"])

    wait_for(lambda: used() > 0.2, "cpu to be used")
    lab.run("suspend", "--no-wait", "web")
    seen = []

    def suspended() -> bool:
        seen.append(used())
        return states_of(lab, "web") == {"suspended"}

    wait_for(suspended, "the suspension")
    seen.append(used())
    assert min(seen) > 0.2
    assert seen == sorted(seen)
    lab.run("resume", "web")
    wait_for(lambda: used() > seen[-1], "it to go on")
    lab.stop("web")


def test_what_can_never_fit_is_refused_at_once(lab: Lab) -> None:
    big = service("big", resources={"cpus": 64, "memory": "32MiB"})
    done = lab.run("run", "-", given=big, code=1)
    assert "big" in done.stdout
    assert "refused" in done.stdout
    assert "cpus" in done.stdout
    lab.stop("big")
    # Each would fit, but never all of them under this rule.
    hard = {"constraint": "{far, {far, 0, 0}, node}", "hard": True}
    lab.run("run", "-", given=service("far", 5, hard), code=1)
    found = lab.json("status", "far")
    assert found["state"] == "refused"
    assert "5 containers at once under its own hard rules" in found["reasons"][0]
    lab.stop("far")


def test_what_waits_says_for_what_and_is_placed_when_there_is_room(lab: Lab) -> None:
    lab.run("run", "-", given=service("full", 4, resources={"cpus": 0.8, "memory": "32MiB"}))
    waiting = service("late", 2, resources={"cpus": 0.5, "memory": "32MiB"})
    lab.run("run", "-", "--timeout", "0", given=waiting, code=1)
    wait_for(lambda: lab.json("status", "late")["reasons"], "reasons")
    found = lab.json("status", "late")
    assert found["state"] == "pending"
    assert "cpus" in " ".join(found["reasons"])
    assert found["reasons"][0] in lab.run("status", "late").stdout.replace("\n", " ")
    lab.stop("full")
    wait_for(lambda: states_of(lab, "late") == {"running"}, "room")
    lab.stop("late")


def test_up_and_down(lab: Lab) -> None:
    lab.run("run", "-", given=service("web", 2))
    two = lab.lives("web")
    again = lab.run("run", "-", given=service("web", 5), code=1)
    assert "there already" in again.stderr
    lab.run("run", "--update", "-", given=service("web", 5))
    five = lab.lives("web")
    assert len(five) == 5
    assert {name: five[name] for name in two} == two
    lab.run("run", "--update", "-", given=service("web", 1))
    wait_for(lambda: len(lab.containers("web")) == 1, "the others to end")
    assert lab.lives("web") == {"web/a/0": two["web/a/0"]}
    assert lab.copies("web") == 1
    lab.stop("web")


def test_a_drained_node_empties_and_fills_again(lab: Lab) -> None:
    apart = {"constraint": "{web, {web, 0, 1}, node}", "hard": True}
    lab.run("run", "-", given=service("web", 4, apart))
    node = nodes_of(lab, "web")[0]
    lab.run("node", "drain", node)
    wait_for(lambda: lab.node_states()[node] == "drained", "the node to be empty")
    wait_for(lambda: states_of(lab, "web") == {"running"}, "all to run elsewhere")
    assert node not in nodes_of(lab, "web")
    assert lab.json("status")["violations"] == 0
    assert lab.copies("web") == 4
    lab.run("node", "undrain", node)
    assert lab.node_states()[node] == "ready"
    lab.stop("web")


def test_a_successor_runs_before_its_predecessor_ends(lab: Lab, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.touch()

    def pages() -> Counter[tuple[str, str]]:
        lines = diary.read_text().splitlines()
        return Counter((name, what) for name, what in map(str.split, lines))

    def spec(note: str) -> dict[str, Any]:
        command = ["python", "-S", "-c", DIARY, str(diary), note]
        return service("heir", 3, "{heir, {heir, 0, 1}, node}", command=command)

    def is_written(runs: dict[str, int]) -> bool:
        return all(pages()[name, "runs"] == times for name, times in runs.items())

    def events(name: str) -> list[str]:
        """What happened to a container, each kind by its first words."""
        lines = lab.json("story", name)["story"]
        words = [line["text"].removeprefix(f"{name} ") for line in lines]
        kinds = ("is running", "has moved", "was stopped")
        return [kind for text in words for kind in kinds if text.startswith(kind)]

    lab.run("run", "-", given=spec("old"))
    first = lab.lives("heir")
    wait_for(lambda: is_written(dict.fromkeys(first, 1)), "all to have begun")
    lab.run("run", "--update", "-", "--no-wait", given=spec("new"))
    wait_for(lambda: lab.json("status", "heir")["state"] == "running", "all to be replaced")
    wait_for(lambda: lab.copies("heir") == 3, "the old ones to end")
    second = lab.lives("heir")
    assert all(second[name][3] != first[name][3] for name in first), "each is on another node"
    wait_for(lambda: is_written(dict.fromkeys(first, 2)), "all to have begun")
    assert all(pages()[name, "ends"] == 1 for name in first)
    replaced = ["is running", "has moved", "was stopped"]
    wait_for(lambda: all(events(name) == ["is running", *replaced] for name in first), "all to end")
    assert lab.json("status")["violations"] == 0
    node = nodes_of(lab, "heir")[0]
    moved = {name for name in second if second[name][3] == node}
    lab.run("node", "drain", node, "--wait")
    wait_for(lambda: is_written({name: 2 + (name in moved) for name in first}), "the others")
    assert all(pages()[name, "ends"] == 1 + (name in moved) for name in first)
    for name in moved:
        assert events(name) == ["is running", *replaced, *replaced]
    lab.run("node", "undrain", node)
    lab.stop("heir")


def test_what_has_no_room_elsewhere_is_stopped_first_and_said(lab: Lab) -> None:
    full = {"resources": {"cpus": 0.8, "memory": "32MiB"}}
    lab.run("run", "-", given=service("tight", 4, **full))
    before = lab.lives("tight")
    changed = service("tight", 4, **full, env={"NEW": "1"})
    lab.run("run", "--update", "-", "--no-wait", given=changed)
    wait_for(lambda: lab.json("status", "tight")["state"] == "running", "all to be replaced")
    after = lab.lives("tight")
    assert all(after[name][0] > before[name][0] for name in before)
    assert lab.copies("tight") == 4
    said = [
        line
        for line in lab.run("events").stdout.splitlines()
        if "tight/" in line and "no other node has" in line
    ]
    assert len(said) == 4
    lab.stop("tight")


def test_the_operators_rules_come_go_and_expire(lab: Lab) -> None:
    together = {"constraint": "{web, {web, 1, inf}, node}", "hard": True}
    lab.run("run", "-", given=service("web", 2, together))
    lab.run("constraint", "add", "{web, {web, 0, 0}, node}", "--name", "apart")
    assert rule(lab, "apart")["violating"] == 2
    assert lab.json("status")["violations"] == 2
    assert "apart" in lab.run("constraint", "list").stdout
    lab.run("constraint", "add", "{web, {web, 0, 0}, rack}", "--name", "short", "--expires", "2s")
    with lab.client() as master:
        wait_for(
            lambda: "short" not in {one["name"] for one in master.constraints()},
            "the rule to expire",
        )
    assert "short" in lab.run("events").stdout
    lab.run("constraint", "remove", "apart")
    assert lab.json("status")["violations"] == 0
    assert "apart" in lab.run("constraint", "remove", "apart", code=1).stderr
    # A rule in force bears on later placements of others' apps too.
    lab.run("constraint", "add", "{late, {web, 0, 0}, rack}", "--name", "strict", "--hard")
    lab.run("run", "-", given=service("late", 2))
    racks = {lab.nodes[node] for node in nodes_of(lab, "late")}
    assert racks.isdisjoint({lab.nodes[node] for node in nodes_of(lab, "web")})
    lab.run("constraint", "remove", "strict")
    lab.stop("web", "late")


def test_a_crowd_of_short_batches_runs_to_its_end(lab: Lab) -> None:
    tiny = {"resources": {"cpus": 0.05, "memory": "8MiB"}, "command": ["true"]}
    apps = [{**service(f"tiny-{n}", 20, **tiny), "kind": "batch"} for n in range(10)]
    with lab.client() as master:
        master.submit(apps)
        wait_for(lambda: {app["state"] for app in master.apps()} == {"ended"}, "all to have ended")
        ends = [c["exit"] for app in master.apps() for c in app["containers"]]
        assert len(ends) == 200
        assert {(end["kind"], end["code"]) for end in ends} == {("exited", 0)}
        for app in apps:
            master.stop(str(app["app"]), 1)
        wait_for(lambda: not master.apps(), "the apps to be gone")
    free = {json.dumps(node["free"]) for node in lab.json("node", "list")["nodes"]}
    assert len(free) == 1
