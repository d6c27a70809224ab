"""`plan`, `explain`, `schema`, `simulate` on files: no master is there."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from colchis.cli.planning import ALGORITHMS
from colchis.specs.schema import SCHEMAS
from colchis_master import lra
from tests.unit.cli.command import colchis

PLAN_KEYS = ["algorithm", "mode", "optimal", "gap", "objective", "seconds", "apps"]
PLAN_KEYS += ["violations", "totals"]
TOTALS = ["containers", "placed", "subjects", "violating", "extent", "nodes_used"]
SCENARIO = """\
policy: lma
executors: [{name: e0, node: n0, cores: 2, memory: 4GiB}]
jobs:
  - {job: train, priority: batch, at: 0, stages: [{stage: s, tasks: 4, duration: 10, memory: 1GiB}]}
  - {job: score, at: 3, priority: stream, stages: [{stage: s0, tasks: 2, duration: 1}]}
"""
pytestmark = pytest.mark.usefixtures("files")


def plan(*arguments: object, code: int = 0) -> Any:
    done = colchis("plan", "--cluster", "cluster.yaml", *arguments, "-o", "json")
    assert (done.code, done.err) == (code, "")
    return done.json


def test_a_plan_name_for_name() -> None:
    found = plan("web.yaml")
    assert list(found)[: len(PLAN_KEYS)] == PLAN_KEYS
    assert list(found["totals"]) == TOTALS
    [app] = found["apps"]
    assert {key: app[key] for key in ("app", "placed", "reasons")} == {
        "app": "web",
        "placed": True,
        "reasons": [],
    }
    assert [sorted(c) for c in app["containers"]] == [["container", "node"]] * 3
    assert [c["container"] for c in app["containers"]] == ["web/w/0", "web/w/1", "web/w/2"]
    assert (found["algorithm"], found["mode"], found["optimal"]) == ("ilp", "ordered", True)
    assert found["totals"]["placed"] == 3
    assert isinstance(plan("huge.yaml", code=1)["totals"]["extent"], float)
    for violation in found["violations"]:
        assert sorted(violation) == ["app", "constraint", "container", "extent"]
    assert {v["constraint"] for v in found["violations"]} == {"apart"}


RACKS = """\
app: web
groups: {w: {count: 1, tags: [w], resources: {cpus: 1, memory: 1GiB}}}
constraints: ["{w, {w, 0, 0}, racks} | {w, {w, 0, 0}, node}", "{w, {w, 0, 3}, rack}"]
"""
NO_RACKS = "warning: {}: no node has a group of type 'racks'; known: cluster, node, rack\n"


def test_a_rule_over_a_node_group_that_no_node_has_is_told_of(files: Path) -> None:
    (files / "racks.yaml").write_text(RACKS)
    warning = NO_RACKS.format("web: {w, {w, 0, 0}, racks} | {w, {w, 0, 0}, node}")
    planned = colchis("plan", "--cluster", "cluster.yaml", "racks.yaml", "-o", "json")
    assert (planned.code, planned.err) == (0, warning)
    assert list(planned.json)[: len(PLAN_KEYS)] == PLAN_KEYS
    explained = colchis(
        *("explain", "--cluster", "cluster.yaml", "racks.yaml", "--container", "web/w/0"),
        *("-o", "json"),
    )
    assert (explained.code, explained.err) == (0, warning)
    assert explained.json["container"] == "web/w/0"
    with (files / "cluster.yaml").open("a") as cluster:
        cluster.write('constraints: [{name: far, constraint: "{x, {x, 0, 1}, zone}"}]\n')
    both = colchis("plan", "--cluster", "cluster.yaml", "racks.yaml", "--algorithm", "all")
    assert both.err == warning + NO_RACKS.format("far").replace("racks", "zone")
    (files / "empty.yaml").write_text("nodes: []\n")
    assert colchis("plan", "--cluster", "empty.yaml", "racks.yaml").err == ""


RUNNING = """\
nodes:
  - {name: n1, cpus: 8, memory: 16GiB}
  - {name: n2, cpus: 8, memory: 16GiB}
containers:
  - {container: web/w/0, node: n1, tags: [w], resources: {cpus: 4, memory: 1GiB}}
  - {container: web/w/1, node: n2, tags: [w], resources: {cpus: 2, memory: 1GiB}}
  - {container: web/w/1000001, node: n1, tags: [w], resources: {cpus: 4, memory: 1GiB}}
  - {container: web/w/3, node: n2, tags: [w], resources: {cpus: 4, memory: 1GiB}}
  - {container: web/v/0, node: n2, tags: [w, x], resources: {cpus: 1, memory: 1GiB}}
apps:
  - {app: web, constraints: ["{x, {w, 0, 2}, node}"]}
"""


def test_what_would_change_in_an_app_of_the_snapshot(files: Path) -> None:
    (files / "running.yaml").write_text(RUNNING)
    found = json.loads(colchis("plan", "--cluster", "running.yaml", "web.yaml", "-o", "json").out)
    [change] = found["changes"]
    assert change == {
        "app": "web",
        "added": [{"container": "web/w/2", "node": "n2"}],
        "removed": [
            {"container": "web/w/3", "node": "n2"},
            {"container": "web/v/0", "node": "n2"},
        ],
        "changed": [{"container": "web/w/1", "node": "n2", "fields": ["resources"]}],
        "moved": [],
        "kept": 1,
        "rules_added": ["apart"],
        "rules_removed": ["{x, {w, 0, 2}, node}"],
    }
    assert {v["constraint"] for v in found["violations"]} == {"apart"}
    shown = colchis("plan", "--cluster", "running.yaml", "web.yaml").out
    assert "web runs already: 1 added, 2 removed, 1 changed, 0 moved, 1 kept" in shown
    compared = colchis("plan", "--cluster", "running.yaml", "web.yaml", "--algorithm", "all").out
    assert "web runs already: 1 added, 2 removed, 1 replaced, 1 kept" in compared
    assert "- rule {x, {w, 0, 2}, node}" in compared


FULL = """\
nodes: [{name: n1, cpus: 8, memory: 16GiB}]
containers:
  - {container: web/w/0, node: n1, tags: [w], resources: {cpus: 4, memory: 1GiB}}
"""


def test_on_a_snapshot_an_app_that_runs_is_scaled_up_wholly_or_not_at_all(files: Path) -> None:
    (files / "full.yaml").write_text(FULL)
    done = colchis("plan", "--cluster", "full.yaml", "web.yaml", "-o", "json")
    assert done.code == 1
    [app] = done.json["apps"]
    assert (app["placed"], app["containers"]) == (False, [])
    [change] = done.json["changes"]
    assert [one["node"] for one in change["added"]] == [None, None]
    assert (done.json["totals"]["containers"], done.json["totals"]["placed"]) == (2, 0)
    shown = colchis("plan", "--cluster", "full.yaml", "web.yaml")
    assert shown.code == 1
    assert "web is not placed:" in shown.out


def test_a_snapshot_without_the_app_changes_nothing() -> None:
    assert plan("web.yaml")["changes"] == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("mode", ["ordered", "weighted"])
def test_each_algorithm(algorithm: str, mode: str) -> None:
    found = plan("web.yaml", "--algorithm", algorithm, "--mode", mode, "--time-limit", "30")
    assert (found["algorithm"], found["mode"]) == (algorithm, mode)


def test_the_algorithms_offered_are_those_there_are() -> None:
    assert set(ALGORITHMS) == set(lra.ALGORITHMS)


def test_all_algorithms_compared() -> None:
    assert [p["algorithm"] for p in plan("web.yaml", "--algorithm", "all")["plans"]] == list(
        ALGORITHMS
    )
    shown = colchis("plan", "--cluster", "cluster.yaml", "web.yaml", "--algorithm", "all")
    assert shown.code == 0
    assert [line.split()[0] for line in shown.out.splitlines()] == ["ALGORITHM", *ALGORITHMS]


def test_what_cannot_be_placed_is_told_with_exit_code_1() -> None:
    done = colchis("plan", "--cluster", "cluster.yaml", "web.yaml", "huge.yaml", "-o", "json")
    assert done.code == 1
    placed = {app["app"]: app for app in done.json["apps"]}
    assert placed["web"]["placed"] and not placed["huge"]["placed"]
    assert placed["huge"]["containers"] == [] and placed["huge"]["reasons"]
    shown = colchis("plan", "--cluster", "cluster.yaml", "huge.yaml")
    assert shown.code == 1
    assert "huge is not placed:" in shown.out
    assert placed["huge"]["reasons"][0] in shown.out


@pytest.mark.parametrize("output", ["table", "yaml"])
def test_a_plan_for_people(output: str) -> None:
    done = colchis("plan", "--cluster", "cluster.yaml", "web.yaml", "-o", output)
    assert done.code == 0
    if output == "yaml":
        assert list(yaml.safe_load(done.out))[: len(PLAN_KEYS)] == PLAN_KEYS
    else:
        assert "web/w/2" in done.out and "3 of 3 containers placed" in done.out


@pytest.mark.parametrize("verb", [["plan"], ["run"]])
def test_three_mistakes_make_three_lines(verb: list[str], files: Path) -> None:
    done = colchis(
        *verb, *(["--cluster", "cluster.yaml"] if verb == ["plan"] else []), "wrong.yaml"
    )
    assert (done.code, done.out) == (2, "")
    lines = done.err.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        ["error", "wrong.yaml:2:7", "kind"],
        ["error", "wrong.yaml:5:5", "groups.w.cuont"],
        ["error", "wrong.yaml:6:34", "groups.w.resources.memory"],
    ]


def test_mistakes_of_all_files_are_told_together(files: Path) -> None:
    (files / "bad.yaml").write_text("nodes: 3\n")
    done = colchis("plan", "--cluster", "bad.yaml", "wrong.yaml", "gone.yaml")
    assert done.code == 2
    told = {line.split(":")[1].strip() for line in done.err.splitlines()}
    assert told == {"bad.yaml", "wrong.yaml", "gone.yaml"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "web.yaml", "--algorithm", "best"], "'best' is no algorithm"),
        (["plan", "web.yaml", "--mode", "odd"], "'odd' is no mode"),
        (["plan", "web.yaml", "--time-limit", "0"], "time-limit"),
        (["plan", "--cluster", "cluster.yaml", "web.yaml", "--time-limit", "inf"], "time-limit"),
        (["top", "--interval", "inf"], "interval"),
        (["constraint", "add", "{a, {a, 0, 0}, node}", "--weight", "inf"], "weight"),
        (["plan"], "specs"),
        (["plan", "web.yaml", "-o", "xml"], "xml"),
        (["explain", "--cluster", "cluster.yaml", "web.yaml"], "which container?"),
        (["explain", "web.yaml", "--container", "web/w/0"], "--cluster"),
        (["explain", "web"], "web"),
        (["explain", "--cluster", "cluster.yaml", "--container", "a/b/0"], "no"),
        (["schema", "nothing"], "'nothing' has no schema"),
        (["simulate", "gone.yaml"], "gone.yaml"),
        (["nonsense"], "nonsense"),
    ],
)
def test_bad_usage_is_exit_code_2(arguments: list[str], told: str) -> None:
    done = colchis(*arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert "Traceback" not in done.err


def test_explain_name_for_name() -> None:
    arguments = ["explain", "--cluster", "cluster.yaml", "web.yaml", "--container", "web/w/0"]
    done = colchis(*arguments, "-o", "json")
    assert (done.code, done.err) == (0, "")
    assert done.json["container"] == "web/w/0"
    nodes = {node["node"]: node for node in done.json["nodes"]}
    assert list(nodes) == ["n1", "n2", "n3"]
    assert (nodes["n1"]["fits"], nodes["n1"]["satisfied"]) == (False, False)
    assert (nodes["n2"]["fits"], nodes["n2"]["satisfied"]) == (True, True)
    assert len(nodes["n1"]["reasons"]) == 2 and nodes["n2"]["reasons"] == []
    shown = colchis(*arguments)
    assert shown.code == 0
    for reason in nodes["n1"]["reasons"]:
        assert reason in shown.out


def test_explain_says_where_rules_of_others_would_be_missed(files: Path) -> None:
    with (files / "cluster.yaml").open("a") as cluster:
        cluster.write('apps: [{app: old, constraints: ["{app:old, {app:web, 0, 0}, node}"]}]\n')
    arguments = ["explain", "--cluster", "cluster.yaml", "web.yaml", "--container", "web/w/0"]
    told = "rule {app:old, {app:web, 0, 0}, node} of others would be missed by more"
    *nodes, summary = [line for line in colchis(*arguments).out.splitlines() if told in line]
    assert len(nodes) == 1 and summary == f"1 node: {told}"


def test_explain_a_container_of_the_snapshot() -> None:
    done = colchis("explain", "--cluster", "cluster.yaml", "--container", "old/w/0", "-o", "json")
    assert done.code == 0
    assert all(node["fits"] for node in done.json["nodes"])


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_schemas(kind: str) -> None:
    done = colchis("schema", kind)
    assert done.code == 0
    Draft202012Validator.check_schema(done.json)


def test_simulate_name_for_name(files: Path) -> None:
    (files / "scenario.yaml").write_text(SCENARIO)
    done = colchis("simulate", "scenario.yaml", "-o", "json")
    assert (done.code, done.err) == (0, "")
    assert list(done.json) == ["events", "jobs", "totals"]
    assert set(done.json["totals"]) >= {"suspensions", "kills", "makespan", "busy_core_seconds"}
    assert done.json["totals"]["suspensions"] == 2
    keys = {"job", "submitted", "finished", "latency", "tasks", "suspensions", "kills"}
    assert all(set(job) >= keys for job in done.json["jobs"])
    assert all(set(event) >= {"t", "event"} for event in done.json["events"])
    killed = colchis("simulate", "scenario.yaml", "--policy", "kill", "-o", "json")
    assert killed.json["totals"]["kills"] == 2
    shown = colchis("simulate", "scenario.yaml", "--seed", "3")
    assert shown.code == 0
    assert "train/s/0" in shown.out and "LATENCY" in shown.out
    assert colchis("simulate", "scenario.yaml", "--policy", "none").code == 2


LOST = """\
executors: [{name: e0, cores: 1}]
jobs:
  - {job: ends, stages: [{stage: s, tasks: 1, duration: 2}]}
  - {job: stays, stages: [{stage: s, tasks: 3, duration: 2}]}
faults: [{at: 5, executor: e0, event: lost}]
"""


def test_a_job_that_never_finishes_is_told_with_exit_code_1(files: Path) -> None:
    (files / "lost.yaml").write_text(LOST)
    told = "stays never finishes: 2 of its 3 tasks are left\n"
    done = colchis("simulate", "lost.yaml", "-o", "json")
    assert (done.code, done.err) == (1, told)
    assert [job["finished"] for job in done.json["jobs"]] == [2.0, None]
    shown = colchis("simulate", "lost.yaml")
    assert (shown.code, shown.err) == (1, told)
    assert [line.split()[2] for line in shown.out.splitlines()[-2:]] == ["2.000", "never"]


def test_json_is_one_line_and_keeps_letters() -> None:
    done = colchis("schema", "app")
    assert json.loads(done.out)
    assert colchis("--version").out.startswith("colchis ")
