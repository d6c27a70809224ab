"""The agent's core under disorder and sudden death, seeded."""

import random

from hypothesis import given
from hypothesis import strategies as st

from colchis.wire.messages import Exit, FromMaster, Resume, Stop, Suspend
from colchis_agent.core import events as e
from colchis_agent.core.lifecycle import Phase
from tests.sim.agent.agent_world import World, shuffled, start

NAMES = ("app/web/0", "app/web/1", "app/db/0")


def orders(source: random.Random, count: int) -> list[FromMaster]:
    """What a master may send: per container, incarnations that are started and stopped."""
    incarnation = dict.fromkeys(NAMES, 0)
    result: list[FromMaster] = []
    for number in range(1, count + 1):
        name = source.choice(NAMES)
        kind = source.random()
        if incarnation[name] == 0 or kind < 0.2:
            incarnation[name] += 1
            policy = source.choice(("always", "on-failure", "never"))
            result.append(start(number, name, incarnation=incarnation[name], restart=policy))
        elif kind < 0.5:
            result.append(Suspend(1, number, name, incarnation[name]))
        elif kind < 0.8:
            result.append(Resume(1, number, name, incarnation[name]))
        else:
            grace = source.choice((0.0, 5.0))
            result.append(Stop(1, number, name, incarnation[name], grace))
            incarnation[name] += 1
            result.append(start(1000 + number, name, incarnation=incarnation[name]))
    return result


def disturb(world: World, source: random.Random) -> None:
    """One thing that happens on a node."""
    alive = [ref for ref in world.lives if world.alive(ref)]
    chance = source.random()
    if chance < 0.15 and alive:
        code = source.choice((0, 1))
        world.end(source.choice(sorted(alive)), Exit("exited", code=code))
    elif chance < 0.25:
        world.kill_after = source.randrange(4)
    elif chance < 0.30:
        world.boot()
    elif chance < 0.4:
        world.connect()
    elif chance < 0.5:
        world.confirm()
    elif chance < 0.75 and world.pending:
        world.tell(world.pending.pop(source.randrange(len(world.pending))))
    elif chance < 0.9:
        world.now += source.choice((0.1, 1.0, 30.0))
        world.tell(e.Tick())


@given(st.integers(0, 2**32))
def test_whatever_happens_the_last_word_holds(seed: int) -> None:
    source = random.Random(seed)
    world = World(seed=seed)
    world.connect()
    sent = orders(source, 12)
    for message in shuffled(source, sent):
        world.say(message)
        for _ in range(source.randrange(4)):
            disturb(world, source)
    world.kill_after = None
    world.connect()
    newest = dict.fromkeys(NAMES, 0)
    for message in sent:
        if isinstance(message, type(start(1))):
            newest[message.container] = max(newest[message.container], message.incarnation)
    # A master repeats what it has no answer to; here the newest starts, resumed.
    last = 10_000
    for name, incarnation in newest.items():
        if incarnation:
            final = start(last, name, incarnation=incarnation, restart="always")
            world.say(final, Resume(1, last + 1, name, incarnation))
            last += 10
    world.settle(600)
    for name, incarnation in newest.items():
        if not incarnation:
            continue
        record = world.records[name]
        assert record.incarnation == incarnation
        assert record.phase in (Phase.RUNNING, Phase.ENDED)
        assert (name in world.running()) == (record.phase is Phase.RUNNING)
    # And a stop clears everything, whatever it was doing.
    for name, incarnation in newest.items():
        world.say(Stop(1, last, name, incarnation, 1.0))
        last += 1
    world.settle(600)
    assert world.running() == set()
    assert all(life.cleared for life in world.lives.values() if life.exit is not None)


@given(st.integers(0, 2**32))
def test_an_end_is_told_once_and_truly(seed: int) -> None:
    """Killed at any instruction, the agent tells each end with one reason and until confirmed."""
    source = random.Random(seed)
    world = World(seed=seed)
    world.connect()
    world.say(start(1, NAMES[0], restart="never"))
    world.settle(1)
    truth = source.choice((Exit("exited", code=3), Exit("oom", signal=9), Exit("exited", code=0)))
    world.end(world.records[NAMES[0]].ref, truth)
    for _ in range(source.randrange(1, 6)):
        world.kill_after = source.randrange(6)
        world.settle(source.choice((0.0, 10.0)))
        world.connect()
    world.kill_after = None
    world.settle(10)
    assert world.exits(NAMES[0]) == {(1, truth)}
    world.confirm()
    told = len(world.sent)
    world.boot()
    world.connect()
    world.settle(90)
    later = [m for m in world.sent[told:] if NAMES[0] in repr(m)]
    assert not later, "a confirmed end is not told again"


@given(st.integers(0, 30))
def test_a_start_survives_a_death_after_any_instruction(step: int) -> None:
    world = World()
    world.connect()
    world.kill_after = step
    world.say(start(1, NAMES[0]))
    world.settle(10)
    world.kill_after = None
    world.connect()
    world.say(start(1, NAMES[0]))
    world.settle(10)
    assert world.running() == {NAMES[0]}
    assert len(world.launched) == 1
