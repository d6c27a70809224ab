"""Scenario files: the documented one, its result, and every mistake with its place."""

import json
from pathlib import Path

import pytest

from colchis.errors import InputError
from colchis_master.tasks.policies import POLICIES
from colchis_master.tasks.simulate import read_scenario, simulate

DOCUMENTED = """\
policy: lma
executors: [{name: e0, node: n0, cores: 4, memory: 32GiB},
            {name: e1, node: n1, cores: 4, memory: 32GiB}]
heartbeats: [{at: 0, executor: e0, spilled: 5MiB, memory: 0.7, gc: 0.1}]
jobs:
  - {job: train, at: 0, priority: batch,
     stages: [{stage: s0, tasks: 12, duration: 10, memory: 1GiB}]}
  - {job: score, at: 3, priority: stream,
     stages: [{stage: s0, tasks: 4, duration: 1, prefer: [n1, n1, null, e0]},
              {stage: s1, tasks: 1, duration: 1, after: [s0]}]}
faults: [{at: 5, executor: e1, event: lost}]
options: {suspend_latency: 0.001, max_suspensions: 10, protect: 30, max_suspended_memory: 16GiB}
"""

WRONG = """\
policy: lmaa
executors:
  - {name: e0, cores: 0, memory: lots}
  - {name: e0, node: n1, cores: 2, colour: red}
heartbeats:
  - {at: -1, executor: e7, memory: 1.5, gc: much}
jobs:
  - job: a
    priority: soon
    stages:
      - {stage: s, tasks: 3, duration: [1, 2], after: [t]}
      - {stage: t, tasks: 0, duration: -2, after: [s, nowhere], prefer: n9}
  - {job: b, stages: []}
faults: [{executor: e0, event: los}]
options: {max_suspensions: 0, static_share: 1, unheard: 2}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(text)
    return path


def test_the_documented_scenario_runs(tmp_path: Path) -> None:
    result = simulate(read_scenario(write(tmp_path, DOCUMENTED))).to_contract()
    assert json.loads(json.dumps(result)) == result
    assert set(result) == {"events", "jobs", "totals"}
    assert [(job["job"], job["tasks"]) for job in result["jobs"]] == [("train", 12), ("score", 5)]
    times = [event["t"] for event in result["events"]]
    assert times == sorted(times)
    finished = [e["task"] for e in result["events"] if e["event"] == "finish"]
    assert len(finished) == len(set(finished)) == 17
    totals = result["totals"]
    assert totals["makespan"] == max(times)
    assert totals["suspensions"] == sum(e["event"] == "suspend" for e in result["events"])
    assert totals["busy_core_seconds"] == pytest.approx(125 + lost_work(result["events"]))


@pytest.mark.parametrize("jobs", ["", "jobs: []\n"])
def test_only_executors_are_needed(tmp_path: Path, jobs: str) -> None:
    text = "executors: [{name: e0, cores: 2}]\n" + jobs
    assert simulate(read_scenario(write(tmp_path, text))).to_contract() == {
        "events": [],
        "jobs": [],
        "totals": {"suspensions": 0, "kills": 0, "makespan": 0.0, "busy_core_seconds": 0.0},
    }


def lost_work(events: list[dict[str, object]]) -> float:
    """Seconds that attempts worked which were lost with their executor."""
    worked: dict[object, float] = {}
    since: dict[object, float] = {}
    lost = 0.0
    for event in events:
        task, at = event["task"], event["t"]
        assert isinstance(at, float)
        if event["event"] in ("launch", "resume"):
            since[task] = at
        elif task in since and event["event"] in ("suspended", "lost", "finish"):
            worked[task] = worked.get(task, 0.0) + at - since.pop(task)
        if event["event"] == "lost":
            lost += worked.pop(task, 0.0)
    return lost


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_finishes_it_and_repeats_itself(tmp_path: Path, policy: str) -> None:
    scenario = read_scenario(write(tmp_path, DOCUMENTED))
    first = simulate(scenario, policy, seed=3)
    assert first == simulate(scenario, policy, seed=3)
    assert all(job["finished"] is not None for job in first.jobs)


def test_an_unknown_policy_is_refused(tmp_path: Path) -> None:
    scenario = read_scenario(write(tmp_path, DOCUMENTED))
    with pytest.raises(InputError, match="no policy 'x'"):
        simulate(scenario, "x")


def test_every_mistake_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, WRONG)
    with pytest.raises(InputError) as caught:
        read_scenario(path)
    problems = caught.value.problems
    assert all(problem.file == str(path) for problem in problems)
    assert all(problem.line and problem.column for problem in problems)
    assert {(problem.line, problem.field) for problem in problems} == {
        (1, "policy"),
        (3, "executors[0].cores"),
        (3, "executors[0].memory"),
        (4, "executors[1].name"),
        (4, "executors[1].colour"),
        (6, "heartbeats[0].at"),
        (6, "heartbeats[0].executor"),
        (6, "heartbeats[0].memory"),
        (6, "heartbeats[0].gc"),
        (9, "jobs[0].priority"),
        (11, "jobs[0].stages[0].duration"),
        (11, "jobs[0].stages[0].after"),
        (12, "jobs[0].stages[1].tasks"),
        (12, "jobs[0].stages[1].duration"),
        (12, "jobs[0].stages[1].after"),
        (12, "jobs[0].stages[1].after[1]"),
        (12, "jobs[0].stages[1].prefer"),
        (13, "jobs[1].stages"),
        (14, "faults[0].event"),
        (15, "options.max_suspensions"),
        (15, "options.static_share"),
        (15, "options.unheard"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "executors: {",
        "jobs: 3\nexecutors: x",
        "a: 1\n---\nb: 2",
        "executors: []\njobs: []",
    ],
)
def test_what_is_no_scenario_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        read_scenario(write(tmp_path, text))


EMPTY = """\
policy: ""
executors: [{name: e0, cores: 1}]
heartbeats: [{executor: ""}]
jobs: [{job: j, stages: [{stage: s, tasks: 1, duration: 1, prefer: "", after: ""}]}]
faults: [{executor: "", event: ""}]
"""


def test_empty_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_scenario(write(tmp_path, EMPTY))
    assert sorted(problem.field for problem in caught.value.problems) == [
        "faults[0].event",
        "faults[0].executor",
        "heartbeats[0].executor",
        "jobs[0].stages[0].after",
        "jobs[0].stages[0].prefer",
        "policy",
    ]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_scenario(tmp_path / "none.yaml")


def test_a_job_that_cannot_finish_is_told_as_such(tmp_path: Path) -> None:
    text = """\
executors: [{name: e0, cores: 1}]
jobs: [{job: j, stages: [{stage: s, tasks: 1, duration: 5}]}]
faults: [{at: 1, executor: e0, event: lost}]
"""
    result = simulate(read_scenario(write(tmp_path, text)))
    assert result.jobs[0]["finished"] is None
    assert result.jobs[0]["latency"] is None


def test_an_executor_may_come_back(tmp_path: Path) -> None:
    text = """\
executors: [{name: e0, cores: 1}]
jobs: [{job: j, stages: [{stage: s, tasks: 1, duration: 5}]}]
faults: [{at: 1, executor: e0, event: lost}, {at: 2, executor: e0, event: joined}]
"""
    result = simulate(read_scenario(write(tmp_path, text)))
    assert result.jobs[0]["finished"] == 7.0
    assert result.totals["busy_core_seconds"] == 6.0
