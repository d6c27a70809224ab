"""HiGHS in a process of its own: the same answers, and never longer than the clock says."""

import contextlib
import io
import itertools
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, Node
from colchis.model.plan import Plan
from colchis.model.resources import Resources
from colchis_master.lra import Settings, apart, schedule, solver
from colchis_master.lra.apart import packed
from colchis_master.lra.highs import Answer, Ask, Program, Sparse
from colchis_master.lra.highs_child import serve
from tests.unit.lra.lra_cases import R_MIN, Round, app, problems_of, rounds, value_of

PATIENCE = 120.0
"""Seconds after which what is waited for counts as never coming."""
PARENT = """
import time
from colchis_master.lra.apart import Apart
from tests.unit.lra.test_apart import hard_sums
program, ask = hard_sums(1e6)
child = Apart(time.monotonic)
print(child.pid, flush=True)
child.load(program)
child.minimise(ask, time.monotonic() + 1e6)
"""


def hard_sums(seconds: float) -> tuple[Program, Ask]:
    """A market split, which takes HiGHS days."""
    count, sums, rng = 60, 7, random.Random(0)
    items = np.array([[rng.randrange(100) for _ in range(count)] for _ in range(sums)], dtype=float)
    slack = np.hstack([np.eye(sums), -np.eye(sums)])
    columns = count + 2 * sums
    half = items.sum(axis=1) // 2
    program = Program(
        np.zeros(columns),
        np.array([1.0] * count + [np.inf] * (2 * sums)),
        np.array([1] * count + [0] * (2 * sums), dtype=np.int32),
        half,
        half,
        np.arange(sums, dtype=np.int32) * columns,
        np.tile(np.arange(columns, dtype=np.int32), sums),
        np.hstack([items, slack]).reshape(-1),
    )
    costs = Sparse(range(count, columns), [1.0] * (2 * sums))
    return program, Ask(costs, [], [], Sparse((), ()), 0.0, seconds)


def ticking(step: float) -> Callable[[], float]:
    """A clock that goes on by a step each time it is looked at."""
    ticks = itertools.count()
    return lambda: next(ticks) * step


def hard_round() -> tuple[Cluster, list[AppSpec]]:
    """A round whose heuristics' plans do not reach the bounds known beforehand."""
    nodes = tuple(Node(f"n{i}", Resources.of(4, "4GiB"), {"rack": (f"r{i}",)}) for i in range(2))
    return Cluster(nodes), [
        app("x", {"g": (3, {"x"})}, "{x, {x, 0, 0}, rack}"),
        app("y", {"g": (2, {"y"})}, "{y, {x, 0, 0}, rack}"),
    ]


def plan_of(cluster: Cluster, apps: list[AppSpec], clock: Callable[[], float]) -> Plan:
    return schedule(
        cluster,
        apps,
        settings=Settings(time_limit=20.0, gap=0.0, r_min=R_MIN),
        clock=clock,
        rng=random.Random(0),
    )


@pytest.fixture
def always_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "SMALL", -1)


@pytest.mark.usefixtures("always_apart")
def test_a_solver_that_looks_at_no_clock_is_ended_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = (sys.executable, "-c", "import time\nwhile True: time.sleep(60)")
    monkeypatch.setattr(apart, "COMMAND", deaf)
    monkeypatch.setattr(apart, "POLL", 0.0)
    begun: list[int] = []
    popen = subprocess.Popen

    def begin(*args: object, **options: object) -> object:
        child = popen(*args, **options)  # type: ignore[call-overload] # as it was called
        begun.append(child.pid)
        return child

    monkeypatch.setattr(subprocess, "Popen", begin)
    clock = ticking(0.01)
    cluster, apps = hard_round()
    plan = plan_of(cluster, apps, clock)
    assert clock() <= 1.1 * 20.0
    assert len(begun) == 1
    assert not psutil.pid_exists(begun[0])
    assert problems_of(cluster, apps, plan) == []
    assert all(each.placed for each in plan.apps)
    assert not plan.optimal
    assert plan.gap is not None and plan.gap > 0
    assert "the time limit ended the search" in plan.notes[0]


@pytest.mark.usefixtures("always_apart")
def test_a_solver_that_crashes_leaves_the_best_heuristic_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(apart, "COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
    cluster, apps = hard_round()
    plan = plan_of(cluster, apps, time.monotonic)
    assert problems_of(cluster, apps, plan) == []
    assert all(each.placed for each in plan.apps)
    assert not plan.optimal
    assert "HiGHS ended with exit code 3" in plan.notes[0]


@given(case=rounds(nodes=3, containers=4, running=3, groups=("rack", "node")))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_apart_the_same_is_found(monkeypatch: pytest.MonkeyPatch, case: Round) -> None:
    cluster, apps = case
    chosen = Settings(time_limit=600, gap=0.0, r_min=R_MIN)

    def solve() -> Plan:
        return schedule(cluster, apps, settings=chosen, clock=time.monotonic, rng=random.Random(0))

    here = solve()
    with monkeypatch.context() as patched:
        patched.setattr(solver, "SMALL", -1)
        there = solve()
    assert there.optimal
    assert value_of(cluster, apps, there, chosen) == value_of(cluster, apps, here, chosen)


@pytest.mark.usefixtures("always_apart")
def test_a_hard_round_is_solved_apart() -> None:
    cluster, apps = hard_round()
    plan = plan_of(cluster, apps, lambda: 0.0)
    assert plan.optimal
    assert plan.notes == ()


def test_the_time_that_a_child_took_to_begin_counts() -> None:
    program, ask = hard_sums(1e6)
    asked = io.BytesIO(packed(program) + packed((time.monotonic() - 1e6, ask)))
    answers = io.BytesIO()
    serve(asked, answers)
    answer = pickle.loads(answers.getvalue()[apart.LENGTH.size :])
    assert answer is None or (isinstance(answer, Answer) and not answer.finished)


def test_nobody_is_left_solving_when_the_parent_is_killed() -> None:
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        try:
            end = time.monotonic() + PATIENCE
            while child.cpu_times().user < 3:
                assert time.monotonic() < end, "the child does not solve"
                time.sleep(0.1)
            parent.kill()
            while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < end, "the child goes on"
                time.sleep(0.05)
        finally:
            parent.kill()
            parent.wait()
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
