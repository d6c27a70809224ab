"""Snapshots: read as the contract says, and written so that they read back equal."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings

from colchis.errors import InputError
from colchis.model.cluster import Cluster, Container, Node
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis.specs import cluster_to_dict, parse_apps, parse_cluster, read_cluster
from tests.unit.model.model_strategies import clusters

SNAPSHOT = """\
nodes:
  - {name: n1, cpus: 8, memory: 16GiB, groups: {rack: r1, upgrade_domain: [u1, u4]},
     attributes: {arch: x86_64}}
  - {name: n2, cpus: 4, memory: 8GiB, gpus: 2, schedulable: false}
containers:                       # already running; their usage is subtracted from the node
  - {container: app1/web/0, node: n1, tags: [web], resources: {cpus: 1, memory: 1GiB}}
apps:                             # constraints of running apps
  - {app: app1, constraints: ["{web, {web, 0, 2}, node}"]}
constraints: ["{gpu-job, {gpu-job, 0, 1}, node}"]      # the operator's
"""


@settings(max_examples=50)
@given(clusters())
def test_a_cluster_survives_plain_data_json_and_yaml(cluster: Cluster) -> None:
    plain = cluster_to_dict(cluster)
    assert parse_cluster(json.dumps(plain)) == cluster
    assert parse_cluster(yaml.safe_dump(plain, sort_keys=False)) == cluster


def test_the_whole_of_a_snapshot() -> None:
    cluster = parse_cluster(SNAPSHOT)
    assert cluster.nodes == (
        Node(
            "n1",
            Resources.of(8, "16GiB"),
            {"rack": ("r1",), "upgrade_domain": ("u1", "u4")},
            {"arch": "x86_64"},
        ),
        Node("n2", Resources.of(4, "8GiB", gpus=2), schedulable=False),
    )
    web = Container.of("app1/web/0", {"web"}, Resources.of(1, "1GiB"))
    assert cluster.containers == (web,)
    assert cluster.placed == {web.id: "n1"}
    assert cluster.free["n1"] == Resources.of(7, "15GiB")
    assert cluster.rules == (
        Rule(parse_constraint("{web, {web, 0, 2}, node}"), app="app1"),
        Rule(parse_constraint("{gpu-job, {gpu-job, 0, 1}, node}")),
    )


def test_what_is_written_has_the_names_of_the_contract() -> None:
    assert cluster_to_dict(parse_cluster(SNAPSHOT)) == {
        "nodes": [
            {
                "name": "n1",
                "cpus": 8,
                "memory": "16GiB",
                "groups": {"rack": "r1", "upgrade_domain": ["u1", "u4"]},
                "attributes": {"arch": "x86_64"},
            },
            {
                "name": "n2",
                "cpus": 4,
                "memory": "8GiB",
                "gpus": 2,
                "groups": {},
                "attributes": {},
                "schedulable": False,
            },
        ],
        "containers": [
            {
                "container": "app1/web/0",
                "node": "n1",
                "tags": ["web"],
                "resources": {"cpus": 1, "memory": "1GiB"},
            }
        ],
        "apps": [{"app": "app1", "constraints": ["{web, {web, 0, 2}, node}"]}],
        "constraints": ["{gpu-job, {gpu-job, 0, 1}, node}"],
    }


def test_apps_that_run_are_listed_with_or_without_rules() -> None:
    apps = parse_apps("{app: quiet, groups: {g: {}}}\n--- \n{app: app1, groups: {web: {}}}")
    cluster = parse_cluster(SNAPSHOT)
    written = cluster_to_dict(cluster, apps)
    assert [entry["app"] for entry in written["apps"]] == ["quiet", "app1"]
    assert parse_cluster(json.dumps(written)) == cluster


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.yaml"
    path.write_text(SNAPSHOT)
    assert read_cluster(path) == parse_cluster(SNAPSHOT)


def test_sets_and_attributes_may_be_written_as_numbers() -> None:
    [node] = parse_cluster(
        "nodes: [{name: a, cpus: 1, memory: 1, groups: {rack: 1, zone: [2, b]},"
        " attributes: {ssd: true, generation: 3}}]"
    ).nodes
    assert node.groups == {"rack": ("1",), "zone": ("2", "b")}
    assert node.attributes == {"ssd": "true", "generation": "3"}


def test_a_containers_own_name_tags_may_be_written() -> None:
    cluster = parse_cluster(
        "nodes: [{name: a, cpus: 1, memory: 1}]\n"
        "containers: [{container: x/y/0, node: a, tags: [t, 'app:x', 'group:y']}]"
    )
    assert cluster.containers[0].tags == {"t", "app:x", "group:y"}


@pytest.mark.parametrize(
    ("text", "place", "field", "message"),
    [
        ("nodes: [{name: n1, cpus: 1}]", (1, 9), "nodes[0].memory", "missing in a node"),
        ("nodes: [{name: n1, cpus: 1, memroy: 1GiB}]", (1, 29), "nodes[0].memroy",
         "did you mean 'memory'?"),
        ("nodes: [{name: n1, cpus: 1, memory: 1, gruops: {rack: r}}]", (1, 40),
         "nodes[0].gruops", "did you mean 'groups'?"),
        ("nodes: [{name: n1, cpus: 1, memory: 1, gpus: two}]", (1, 46), "nodes[0].gpus",
         "a whole number"),
        ("nodes: [{name: n1, cpus: 1, memory: 1, groups: {node: a}}]", (1, 55),
         "nodes[0].groups.node", "predefined"),
        ("nodes: [{name: n1, cpus: 1, memory: 1, groups: {rack: [a, a]}}]", (1, 55),
         "nodes[0].groups.rack", "a set stands twice"),
        ("nodes: [{name: host1, cpus: 1, memory: 1}]\n"
         "containers: [{container: a/b/0, node: hots1}]",
         (2, 39), "containers[0].node", "did you mean 'host1'?"),
        ("nodes: [{name: n1, cpus: 1, memory: 1}]\ncontainers: [{container: a/b, node: n1}]",
         (2, 26), "containers[0].container", "write app/group/index"),
        ("nodes: [{name: n1, cpus: 1, memory: 1}]\ncontainers:\n- {container: a/b/0, node: n1}\n"
         "- {container: a/b/0, node: n1}", (4, 15), "containers[1].container",
         "stands twice, first in line 3"),
        ("nodes:\n- {name: n, cpus: 1, memory: 1}\n- {name: n, cpus: 1, memory: 1}", (3, 10),
         "nodes[1].name", "'n' stands twice, first in line 2"),
        ("nodes: []\napps: [{app: a, groups: {}}]", (2, 17), "apps[0].groups", "unknown key"),
        ("nodes: []\n---\nnodes: []", (3, 1), "", "a second document"),
        ("containers: []", (1, 1), "nodes", "missing in a snapshot"),
        ("nodes: [{name: n1, gpus: 4, memory: 1}]", (1, 9), "nodes[0].cpus", "missing in a node"),
        ("nodes: [{name: n1, cpus: 1, CPUS: 4, memory: 1}]", (1, 29), "nodes[0].CPUS",
         "did you mean 'cpus'?"),
        ("nodes: []\nconstraints: ['{a, {b, 0}, node}']", (2, 25), "constraints[0]", "','"),
    ],
)  # fmt: skip
def test_mistakes_have_their_place(
    text: str, place: tuple[int, int], field: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse_cluster(text, "c.yaml")
    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.column) == ("c.yaml", *place)
    assert problem.field == field
    assert message in problem.message
