"""Each of Medea's measurements, as small as it can be."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.medea import availability, performance, task_latency
from benchmarks.medea.service_load import make_services
from benchmarks.medea.trace import Habits, make_trace
from colchis.model.cluster import Cluster, Node
from colchis.model.resources import Resources
from colchis.specs import app_from_dict
from colchis_master.lra import Settings, schedule

QUIET = Habits(outage=0.0, failure=0.0)


def test_a_trace_takes_every_domain_down_once_between_upgrades() -> None:
    domains = {f"u{d}": [d, d + 4] for d in range(4)}
    down = make_trace(domains, 8, random.Random(1), hours=240, habits=QUIET)
    assert down.shape == (240, 8)
    for members in domains.values():
        assert [down[:120, node].sum() for node in members] == [1, 1]
        assert (down[:, members[0]] == down[:, members[1]]).all()
    assert down.sum(axis=1).max() == 2, "one domain at a time"


def test_a_trace_has_outages_of_whole_domains_and_of_nodes() -> None:
    domains = {"u0": [0, 1], "u1": [2, 3]}
    quiet = make_trace(domains, 4, random.Random(1), hours=1000, habits=QUIET).sum()
    assert make_trace(domains, 4, random.Random(1), 1000, Habits(failure=0.0)).sum() > quiet
    assert make_trace(domains, 4, random.Random(1), 1000, Habits(outage=0.0)).sum() > quiet


def test_unavailability_is_the_share_of_containers_that_is_away() -> None:
    cluster = availability.make_cluster(availability.Shape(nodes=4, domains=2))
    (app,) = availability.make_apps(
        availability.Shape(domains=2, apps=1, containers=(2, 2)), random.Random(1)
    )
    homes = dict(
        zip((c.id for c in app.containers()), ("n0000", "n0000", "n0001", "n0002"), strict=True)
    )
    placed = Cluster(cluster.nodes, app.containers(), homes)
    down = np.array([[False, False, False, True], [True, False, False, False], [True] * 4])
    away = availability.unavailable(placed, [app], down)
    assert away[:, 0].tolist() == [0.0, 0.5, 1.0]


def test_availability_is_measured_for_every_algorithm(tmp_path: Path) -> None:
    shape = availability.Shape(nodes=24, domains=4, apps=4, uneven=1.0)
    names = ["ilp", "j-kube", "yarn"]
    summary = availability.run(shape, names, Settings(time_limit=5.0), [1], tmp_path)
    assert [row["algorithm"] for row in summary] == names
    assert all(row["apps_placed"] == 4 for row in summary)
    assert summary[0]["maximum"] <= summary[1]["maximum"]
    written = json.loads((tmp_path / "availability.json").read_text())
    assert written["machine"]["cores"]
    assert len(written["rows"]) == 3
    assert (tmp_path / "availability.png").stat().st_size > 0


@pytest.mark.parametrize("cardinality", performance.CARDINALITIES)
def test_the_cardinality_of_workers_is_what_was_asked_for(cardinality: int) -> None:
    nodes = tuple(
        Node(f"n{i + 1}", Resources.of(performance.OFFERED, "2GiB"))
        for i in range(performance.AGENTS)
    )
    app = app_from_dict(performance.training(cardinality, 10))
    plan = schedule(
        Cluster(nodes),
        [app_from_dict(performance.busy()), app],
        settings=Settings(time_limit=20.0),
        clock=time.monotonic,
        rng=random.Random(1),
    )
    homes = {str(c): node for found in plan.apps for c, node in found.assignments.items()}
    workers = [node for name, node in homes.items() if "/worker/" in name]
    assert len(workers) == performance.WORKERS
    assert {workers.count(node) for node in workers} == {cardinality}
    busy = {node for name, node in homes.items() if name.startswith("busy/")}
    assert len(busy) == 2
    assert homes["tensorflow/ps/0"] not in busy | set(workers)


@pytest.mark.parametrize("together", [False, True])
def test_region_servers_are_apart_or_together(together: bool) -> None:
    nodes = tuple(Node(f"n{i}", Resources.of(4, "2GiB")) for i in range(performance.AGENTS))
    plan = schedule(
        Cluster(nodes),
        [app_from_dict(performance.store(together))],
        settings=Settings(time_limit=20.0),
        clock=time.monotonic,
        rng=random.Random(1),
    )
    (found,) = plan.apps
    servers = {node for c, node in found.assignments.items() if c.group == "region-server"}
    assert len(servers) == (1 if together else 3)


def test_services_of_a_round_speak_of_each_other() -> None:
    services = [app_from_dict(plain) for plain in make_services("s7", random.Random(1))]
    names = {service.name for service in services}
    assert len(names) == 10
    spoken_of = {
        ref.app
        for service in services
        for rule in service.rules
        for atom in rule.constraint.atoms()
        for target in atom.targets
        for ref in target.expr.refs
        if ref.app
    }
    assert spoken_of
    assert spoken_of <= names


def test_task_latency_is_measured_with_a_real_master(tmp_path: Path) -> None:
    plan = task_latency.Plan(nodes=12, blocks=1, seconds=4.0, rate=5.0, period=1.0, running=0)
    task_latency.run(plan, tmp_path)
    written = json.loads((tmp_path / "task_latency.json").read_text())
    assert set(written["p99_ratio"]) == {"placed", "ordered"}
    assert len(written["rows"]) == 4
    assert all(row["lost"] == 0 and row["tasks"] > 0 for row in written["rows"])
    assert all(row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in written["rows"])
    assert (tmp_path / "task_latency.png").stat().st_size > 0
