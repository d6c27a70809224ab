"""The JSON schemas accept what the readers accept, and refuse what is wrong by itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from colchis.errors import InputError
from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster
from colchis.specs import app_to_dict, cluster_to_dict, parse_apps
from colchis.specs.schema import SCHEMAS, schema
from tests.unit.model.model_strategies import apps, clusters
from tests.unit.specs.test_spec_apps import HBASE
from tests.unit.specs.test_spec_clusters import SNAPSHOT

EXAMPLES = Path(__file__).parents[3] / "examples"
SCENARIO = """\
policy: lma
executors: [{name: e0, node: n0, cores: 4, memory: 32GiB}, {name: e1, node: n1, cores: 4, memory: 32GiB}]
heartbeats: [{at: 0, executor: e0, spilled: 5MiB, memory: 0.7, gc: 0.1}]
jobs:
  - {job: train, at: 0, priority: batch, stages: [{stage: s0, tasks: 12, duration: 10, memory: 1GiB}]}
  - {job: score, at: 3, priority: stream, stages: [{stage: s0, tasks: 4, duration: 1, prefer: [n1, n1, null, e0]}, {stage: s1, tasks: 1, duration: 1, after: [s0]}]}
faults: [{at: 5, executor: e1, event: lost}]
options: {suspend_latency: 0.001, max_suspensions: 10, protect: 30, max_suspended_memory: 16GiB}
"""  # noqa: E501 - the scenario as the documentation has it
VALIDATORS = {kind: Draft202012Validator(schema(kind)) for kind in SCHEMAS}


def accepts(kind: str, text: str) -> bool:
    return VALIDATORS[kind].is_valid(yaml.safe_load(text))


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_schemas_are_schemas(kind: str) -> None:
    Draft202012Validator.check_schema(schema(kind))
    assert json.loads(json.dumps(schema(kind))) == schema(kind)


def test_other_files_have_no_schema() -> None:
    with pytest.raises(InputError, match="app, cluster, scenario"):
        schema("plan")


@given(apps())
def test_every_app_is_accepted(app: AppSpec) -> None:
    VALIDATORS["app"].validate(app_to_dict(app))


@settings(max_examples=50)
@given(clusters())
def test_every_snapshot_is_accepted(cluster: Cluster) -> None:
    VALIDATORS["cluster"].validate(cluster_to_dict(cluster))


@pytest.mark.parametrize(
    ("kind", "text"), [("app", HBASE), ("cluster", SNAPSHOT), ("scenario", SCENARIO)]
)
def test_the_documented_examples_are_accepted(kind: str, text: str) -> None:
    VALIDATORS[kind].validate(yaml.safe_load(text))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda p: p.name)
def test_specs_among_the_examples_are_accepted(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        if "app" in document:
            VALIDATORS["app"].validate(document)


APP_PARTS = [
    ("count: 3", True),
    ("count: -1", False),
    ("count: three", False),
    ("cuont: 3", False),
    ("tags: [a, b]", True),
    ("tags: a", False),
    ("tags: ['a b']", False),
    ("resources: {cpus: 0.5, memory: 2GiB, gpus: 1}", True),
    ("resources: {memory: 2Gig}", False),
    ("resources: {gpus: 0.5}", False),
    ("command: [a, 3]", True),
    ("command: a", False),
    ("env: {A: b}", True),
    ("env: {A: [b]}", False),
    ("restart: never", True),
    ("restart: sometimes", False),
]
RULES = [
    ("'{a, {b, 0, 1}, node}'", True),
    ("a", False),
    ("{constraint: '{a, {b, 0, 1}, node}', weight: 2, hard: true, expires: 2h, name: n}", True),
    ("{constraint: '{a, {b, 0, 1}, node}', weight: -2}", False),
    ("{constraint: '{a, {b, 0, 1}, node}', expires: 2 hours}", False),
    ("{constraint: '{a, {b, 0, 1}, node}', wieght: 2}", False),
    ("{subject: [a], targets: [{tags: [b], min: 1, max: inf}], group: node, hard: true}", True),
    ("{subject: [a], targets: [], group: node}", False),
    ("{subject: [a], targets: [{tags: [b], max: many}], group: node}", False),
    ("{any: ['{a, {b, 0, 1}, node}', {all: ['{a, {b, 0, 1}, rack}']}], weight: 2}", True),
    ("{any: []}", False),
    ("{weight: 2}", False),
]


def app_text(part: str) -> str:
    return f"{{app: a, groups: {{g: {{{part}}}}}}}"


def rule_text(rule: str) -> str:
    return f"{{app: a, groups: {{g: {{}}}}, constraints: [{rule}]}}"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        *[(app_text(part), right) for part, right in APP_PARTS],
        *[(rule_text(rule), right) for rule, right in RULES],
        ("{groups: {g: {}}}", False),
        ("{app: a}", False),
        ("{app: a/b, groups: {g: {}}}", False),
        ("{app: a, kind: job, groups: {g: {}}}", False),
        ("{app: a, executors: {count: 1, cores: 2, memory: 1GiB}}", True),
        ("{app: a, executors: {count: 1, cores: 0.5, memory: 1GiB}}", False),
        ("{app: a, kind: batch, priority: stream, groups: {g: {}}}", True),
        ("{app: a, kind: batch, priority: high, groups: {g: {}}}", False),
    ],
)
def test_schema_and_reader_agree(text: str, right: bool) -> None:
    assert accepts("app", text) == right
    try:
        parse_apps(text)
    except InputError:
        assert not right
    else:
        assert right


def changed(text: str, change: dict[str, Any]) -> Any:
    return {**yaml.safe_load(text), **change}


@pytest.mark.parametrize(
    ("kind", "text", "change"),
    [
        ("cluster", SNAPSHOT, {"nodes": [{"name": "n", "cpus": 1}]}),
        ("cluster", SNAPSHOT, {"nodes": [{"name": "n", "cpus": 1, "memory": 1, "gpus": "a"}]}),
        ("cluster", SNAPSHOT, {"containers": [{"container": "a/b", "node": "n1"}]}),
        ("cluster", SNAPSHOT, {"apps": [{"app": "a", "groups": {}}]}),
        ("cluster", SNAPSHOT, {"constraint": []}),
        ("scenario", SCENARIO, {"executors": []}),
        ("scenario", SCENARIO, {"faults": [{"at": 5, "executor": "e1", "event": "sleeps"}]}),
        ("scenario", SCENARIO, {"options": {"suspend_latency": -1}}),
        ("scenario", SCENARIO, {"jobs": [{"job": "j", "stages": [{"stage": "s", "tasks": 0}]}]}),
        ("scenario", SCENARIO, {"polcy": "lma"}),
    ],
)
def test_wrong_snapshots_and_scenarios_are_refused(
    kind: str, text: str, change: dict[str, Any]
) -> None:
    assert not VALIDATORS[kind].is_valid(changed(text, change))
