"""Batch containers make room for services, as few and as cheap as possible, and come back."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from colchis.model.app import AppSpec, GroupSpec, Kind
from colchis.model.resources import Resources
from colchis_master.core.events import Remove, SetDrained, SetSuspended
from colchis_master.core.settings import CoreSettings
from tests.sim.master.support import is_running, spec, submit, up
from tests.sim.master.world import CAPACITY, World


def batch(name: str, count: int, cpus: float, memory: str, priority: int | None = None) -> AppSpec:
    group = GroupSpec("g", count, Resources.of(cpus, memory), frozenset({name}), ("work",))
    return AppSpec(name, (group,), Kind.BATCH, priority=priority)


def states(world: World, app: str) -> list[str]:
    return [entry.state.value for entry in world.core.state.apps[app].containers.values()]


def check_cores(world: World) -> None:
    """No node has more containers at work than it has cores."""
    for agent in world.agents.values():
        at_work = sum(
            one.start.resources.get("cpus", 0)
            for one in agent.containers.values()
            if one.start is not None and one.state in ("starting", "running", "stopping")
        )
        assert at_work <= CAPACITY["cpus"]


def run(world: World, seconds: float) -> None:
    for _ in range(int(seconds / 0.5)):
        world.run(0.5)
        check_cores(world)


def test_few_batch_containers_are_suspended_and_go_on_afterwards() -> None:
    for allowed in ("suspend", "stop"):
        world = World(settings=CoreSettings(make_room=allowed))
        before = up(world, spec("job", count=16, cpus=2, kind=Kind.BATCH))
        submit(world, spec(count=2, cpus=4, rules=("{web, {web, 0, 0}, node}",)))
        run(world, 20)
        assert is_running(world)
        assert sorted(states(world, "job")) == ["running"] * 12 + ["suspended"] * 4
        notes = {entry.note for entry in world.core.state.displaced}
        assert notes == {"suspended to make room for web"}
        run(world, 60)
        assert states(world, "job").count("suspended") == 4
        world.ask(lambda n: Remove(n, "web", 1.0))
        run(world, 20)
        assert world.placements() == before
        assert is_running(world, "job")
        assert not world.core.state.displaced


def test_where_memory_is_lacking_containers_are_stopped_if_that_is_allowed() -> None:
    for allowed, stopped in (("suspend", 0), ("stop", 1)):
        world = World(settings=CoreSettings(make_room=allowed))
        up(world, batch("job", 16, 1, "4GiB"))
        submit(world, spec(count=1))
        run(world, 20)
        assert is_running(world) == bool(stopped)
        assert states(world, "job").count("pending") == stopped
        if stopped:
            assert world.core.state.apps["job"].reasons
            world.ask(lambda n: Remove(n, "web", 1.0))
            run(world, 20)
            assert is_running(world, "job")


def test_nobody_makes_room_in_vain_or_unless_allowed() -> None:
    for allowed, cpus in (("never", 4.0), ("stop", 9.0), ("suspend", 9.0)):
        world = World(settings=CoreSettings(make_room=allowed))
        before = up(world, spec("job", count=16, cpus=2, kind=Kind.BATCH))
        submit(world, spec("web", count=1, cpus=cpus))
        run(world, 20)
        assert world.placements() == before
        assert set(states(world, "job")) == {"running"}


def test_room_that_cannot_be_made_leads_to_no_round_after_another() -> None:
    world = World(settings=CoreSettings(make_room="stop", retry_round=1000.0))
    up(world, spec("full", count=8, cpus=4))
    submit(world, spec(count=1, cpus=4))
    world.run(5)
    rounds = world.core.rounds.number
    world.run(30)
    assert world.core.rounds.number == rounds


def test_members_that_were_lost_find_room_as_well() -> None:
    world = World(settings=CoreSettings(make_room="suspend"))
    up(world, spec(count=4, cpus=4, rules=("{web, {web, 0, 0}, node}",)))
    submit(world, batch("job", 16, 1, "1GiB"))
    world.run_until(lambda: is_running(world, "job"))
    submit(world, spec(count=4, cpus=6, rules=("{web, {web, 0, 0}, node}",)), update=True)
    run(world, 60)
    assert is_running(world)
    assert states(world, "job").count("suspended") == 8


def test_what_is_displaced_outlives_the_master() -> None:
    world = World(settings=CoreSettings(make_room="suspend"))
    up(world, spec("job", count=16, cpus=2, kind=Kind.BATCH))
    submit(world, spec(count=1, cpus=4))
    run(world, 10)
    world.kill_master()
    run(world, 3)
    world.start_master()
    run(world, 20)
    assert is_running(world)
    assert states(world, "job").count("suspended") == 2
    world.ask(lambda n: Remove(n, "web", 1.0))
    run(world, 20)
    assert is_running(world, "job")


def test_a_user_suspends_what_is_displaced() -> None:
    world = World(settings=CoreSettings(make_room="suspend"))
    up(world, spec("job", count=16, cpus=2, kind=Kind.BATCH))
    submit(world, spec(count=1, cpus=4))
    run(world, 10)
    world.ask(lambda n: SetSuspended(n, "job", True))
    world.ask(lambda n: Remove(n, "web", 1.0))
    run(world, 20)
    assert set(states(world, "job")) == {"suspended"}
    world.ask(lambda n: SetSuspended(n, "job", False))
    run(world, 20)
    assert is_running(world, "job")


def test_displaced_containers_go_on_where_their_node_is_drained() -> None:
    world = World(nodes=1, settings=CoreSettings(make_room="suspend"))
    up(world, spec("job", count=4, cpus=2, kind=Kind.BATCH))
    submit(world, spec(count=1, cpus=4))
    run(world, 10)
    world.ask(lambda n: SetDrained(n, "n0", True))
    world.ask(lambda n: Remove(n, "web", 1.0))
    run(world, 20)
    assert is_running(world, "job")


LOADS = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sampled_from([0.5, 1.0, 2.0, 3.0]),
        st.sampled_from(["1GiB", "3GiB"]),
        st.sampled_from([1, 2, 3, 9]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60)
@given(LOADS, st.sampled_from([1.0, 2.0, 5.0, 8.0]), st.sampled_from(["suspend", "stop"]))
def test_the_fewest_make_room_and_only_those_that_may(
    loads: list[tuple[int, float, str, int]], cpus: float, allowed: str
) -> None:
    world = World(nodes=2, settings=CoreSettings(make_room=allowed))
    world.run(2)
    jobs = [batch(f"job{i}", n, c, m, p) for i, (n, c, m, p) in enumerate(loads)]
    submit(world, *jobs)
    run(world, 3)
    before = world.placements()
    fewest = fewest_victims(world, cpus, allowed == "stop")
    submit(world, spec(count=1, cpus=cpus))
    run(world, 10)
    told = [one.container for one in world.emitted if one.event == "displaced"]
    if fewest is None:
        assert not told
        assert not is_running(world)
        assert before.items() <= world.placements().items()
    else:
        assert len(told) == fewest
        assert is_running(world)
        assert all(loads[int(name.split("/")[0][3:])][3] >= 2 for name in told)
        world.ask(lambda n: Remove(n, "web", 0.0))
        run(world, 15)
        assert not world.core.state.displaced
        assert before.keys() <= world.placements().keys()


def fewest_victims(world: World, cpus: float, stop: bool) -> int | None:
    """By looking at all sets; suspension is tried before stopping."""
    state = world.core.state
    for memory_too in (False, True) if stop else (False,):
        counts = []
        for node in world.agents:
            free = state.ledger.free(node)
            may_go = [
                entry.container.resources.by_name
                for entry in state.held.get(node, ())
                if (state.apps[entry.id.app].spec.priority or 2) >= 2
            ]
            for count in range(len(may_go) + 1):
                if any(
                    free["cpus"] + sum(one["cpus"] for one in some) >= cpus * 1000
                    and free["memory"] + sum(one["memory"] for one in some) * memory_too >= 2**30
                    for some in combinations(may_go, count)
                ):
                    counts.append(count)
                    break
        if counts:
            return min(counts)
    return None
