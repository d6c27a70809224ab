"""The solver in a process of its own, and what happens when it fails."""

import asyncio
import os
import random
import signal
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from colchis.model.cluster import Cluster, Node
from colchis.model.resources import Resources
from colchis_master.lra import Settings, ilp, schedule
from colchis_master.lra.process import Balance, SolverLostError, SolverProcess
from tests.support import wait_meanwhile
from tests.unit.lra.lra_cases import app, solve

NODES = tuple(Node(f"n{i}", Resources.of(4, "8GiB")) for i in range(3))
CLUSTER = Cluster(NODES)
SPREAD = app("web", {"g": (3, {"web"})}, "{web, {web, 0, 0}, node}")
SETTINGS = Settings(time_limit=120)


def test_a_round_is_solved_in_the_child() -> None:
    async def scenario() -> None:
        async with SolverProcess() as solver:
            plan = await solver.solve(CLUSTER, [SPREAD], SETTINGS)
            assert solver.pid not in (None, os.getpid())
            assert plan.optimal
            assert plan.totals.nodes_used == 3
            first = solver.pid
            again = await solver.solve(CLUSTER, [SPREAD], SETTINGS, "yarn")
            assert again.algorithm == "yarn"
            assert solver.pid == first

    asyncio.run(scenario())


def test_a_child_that_was_not_ready_in_time_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is silent for ever, the second does its work."""
    script = 'if mkdir "$0"; then exec sleep 1000; else exec "$@"; fi'
    child = ("sh", "-c", script, str(tmp_path / "slow"))
    command = (*child, sys.executable, "-m", "colchis_master.lra.process")

    async def scenario() -> None:
        async with SolverProcess(command=command) as solver:
            with monkeypatch.context() as patched:
                patched.setattr("colchis_master.lra.process.START", 0.0)
                await solver.start()
            await wait_meanwhile((tmp_path / "slow").exists)
            silent = solver.pid
            plan = await solver.solve(CLUSTER, [SPREAD], SETTINGS)
            assert plan.optimal and not plan.notes
            assert solver.pid != silent

    asyncio.run(scenario())


def test_moves_are_found_in_the_child() -> None:
    async def scenario() -> None:
        async with SolverProcess() as solver:
            pair = app("web", {"g": (2, {"web"})}, "{web, {web, 0, 0}, node}")
            cluster = Cluster(
                NODES, pair.containers(), dict.fromkeys((c.id for c in pair.containers()), "n0")
            )
            cluster = Cluster(NODES, cluster.containers, cluster.placed, pair.rules)
            movable = frozenset(cluster.placed)
            found = await solver.rebalance(Balance(cluster, SETTINGS, 4, {"web": 4}, movable))
            assert [(move.source, move.target != "n0") for move in found.moves] == [("n0", True)]
            none = await solver.rebalance(Balance(cluster, SETTINGS, 4, {"web": 0}, movable))
            assert none.moves == ()
            nowhere = Balance(Cluster(), SETTINGS, 4, {}, frozenset())
            assert (await solver.rebalance(nowhere)).moves == ()
            broken = Balance(replace(cluster, nodes=()), SETTINGS, 4, {}, frozenset())
            with pytest.raises(SolverLostError, match="KeyError"):
                await solver.rebalance(broken)

    asyncio.run(scenario())


def test_the_child_knows_what_has_changed_since_the_round_before() -> None:
    async def scenario() -> None:
        async with SolverProcess() as solver:
            await solver.solve(CLUSTER, [SPREAD], SETTINGS)
            small = Node("n1", Resources.of(1, "8GiB"))
            fewer = Cluster((NODES[0], small))
            plan = await solver.solve(fewer, [app("big", {"g": (3, {"big"})})], SETTINGS)
            assert set(plan.apps[0].assignments.values()) <= {"n0", "n1"}
            placed = dict(plan.apps[0].assignments)
            containers = app("big", {"g": (3, {"big"})}).containers()
            full = Cluster(fewer.nodes, containers, placed)
            refused = await solver.solve(full, [app("more", {"g": (3, {"more"})})], SETTINGS)
            assert not refused.apps[0].placed
            assert (await solver.solve(CLUSTER, [SPREAD], SETTINGS)).apps[0].placed

    asyncio.run(scenario())


def test_a_killed_child_is_replaced() -> None:
    async def scenario() -> None:
        async with SolverProcess() as solver:
            await solver.solve(CLUSTER, [SPREAD], SETTINGS)
            pid = solver.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            plan = await solver.solve(CLUSTER, [SPREAD], SETTINGS)
            assert plan.apps[0].placed
            assert solver.pid != pid

    asyncio.run(scenario())


def fault(tmp_path: Path, body: str) -> tuple[str, ...]:
    """A child whose ilp misbehaves."""
    script = tmp_path / "child.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, time
            from colchis_master.lra import process
            run = process.run
            def broken(request):
                if request.algorithm == "ilp":
                    {body}
                return run(request)
            process.run = broken
            process.main()
            """
        ).format(body=body)
    )
    return (sys.executable, str(script))


@pytest.mark.parametrize(
    ("body", "grace", "limit", "words"),
    [
        ("os.abort()", 60.0, 60.0, "its process ended (exit code -6"),
        ("raise ValueError('no luck')", 60.0, 60.0, "ValueError: no luck"),
        ("time.sleep(1000)", 0.1, 0.1, "after its time limit"),
    ],
)
def test_serial_stands_in_for_a_failing_solver(
    tmp_path: Path, body: str, grace: float, limit: float, words: str
) -> None:
    async def scenario() -> None:
        async with SolverProcess(grace=grace, command=fault(tmp_path, body)) as solver:
            plan = await solver.solve(CLUSTER, [SPREAD], Settings(time_limit=limit))
            assert plan.apps[0].placed
            assert plan.algorithm == "serial"
            assert words in plan.notes[-1]
            assert "planned by serial" in plan.notes[-1]

    asyncio.run(scenario())


def test_a_child_that_never_starts_leaves_the_master_to_plan() -> None:
    async def scenario() -> None:
        async with SolverProcess(command=(sys.executable, "-c", "")) as solver:
            plan = await solver.solve(CLUSTER, [SPREAD], SETTINGS)
            assert plan.apps[0].placed
            assert "in the master itself" in plan.notes[-1]

    asyncio.run(scenario())


def hard_round() -> tuple[Cluster, list[object]]:
    """A round whose heuristics' plans do not reach the bound."""
    nodes = (Node("a", Resources.of(4, "4GiB")), Node("b", Resources.of(4, "4GiB")))
    return Cluster(nodes), [
        app("x", {"g": (3, {"x"})}, "{x, {x, 0, 0}, node}"),
        app("y", {"g": (2, {"y"})}, "{y, {x, 0, 0}, node}"),
    ]


def test_a_failing_solver_leaves_the_best_heuristic_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(ilp, "Solver", fail)
    cluster, apps = hard_round()
    plan = solve(cluster, *apps)  # type: ignore[arg-type] # apps, kept as objects above
    assert all(each.placed for each in plan.apps)
    assert not plan.optimal
    assert plan.gap is not None
    assert "the solver failed (RuntimeError: out of luck)" in plan.notes[0]


def test_no_time_for_the_solver() -> None:
    cluster, apps = hard_round()
    plan = schedule(
        cluster,
        apps,  # type: ignore[arg-type] # apps, kept as objects above
        settings=Settings(time_limit=0.001),
        clock=time.monotonic,
        rng=random.Random(0),
    )
    assert all(set(each.assignments.values()) <= {"a", "b"} for each in plan.apps)
    assert not plan.optimal
    assert plan.notes
