"""What a solver's process makes of the news is what the master has."""

import pickle
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from colchis.model.cluster import Cluster, Container, Node
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis_master.lra.delta import apply, delta

RULES = tuple(
    Rule(parse_constraint(f"{{a{n}, {{a{n}, 0, {n}}}, node}}"), f"r{n}") for n in range(4)
)
SIZES = (Resources.of(1, "1GiB"), Resources.of(2, "1GiB"))


class World:
    """A cluster that changes; what stays the same is mostly the same object, as in a master."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.on: dict[Container, str] = {}
        self.rules: list[Rule] = []

    def step(self, kind: str, number: int, other: int) -> None:
        node = f"n{number % 4}"
        known = [one for one in self.on if one.id.index == number]
        match kind:
            case "node":
                self.nodes[node] = Node(node, SIZES[other % 2])
            case "node lost" if node not in self.on.values():
                self.nodes.pop(node, None)
            case "place" if self.nodes:
                container = Container.of(f"a/g/{number}", set(), SIZES[other % 2])
                for one in known:
                    del self.on[one]
                self.on[container] = sorted(self.nodes)[other % len(self.nodes)]
            case "move" if known:
                self.on[known[0]] = sorted(self.nodes)[other % len(self.nodes)]
            case "again" if known:
                # The same, as another object.
                where = self.on.pop(known[0])
                self.on[pickle.loads(pickle.dumps(known[0]))] = where
            case "resize" if known:
                where = self.on.pop(known[0])
                self.on[replace(known[0], resources=SIZES[other % 2])] = where
            case "end":
                for one in known:
                    del self.on[one]
            case "rule":
                rule = RULES[number % 4]
                (self.rules.remove if rule in self.rules else self.rules.append)(rule)
            case _:
                pass

    def cluster(self) -> Cluster:
        return Cluster(
            tuple(self.nodes.values()),
            tuple(self.on),
            {one.id: node for one, node in self.on.items()},
            tuple(self.rules),
        )


KINDS = ("node", "node lost", "place", "place", "move", "again", "resize", "end", "rule")
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 3)))


@given(st.lists(STEPS, max_size=6))
def test_the_news_lead_to_the_same_cluster(rounds: list[list[tuple[str, int, int]]]) -> None:
    world = World()
    before = theirs = Cluster()
    for steps in rounds:
        for step in steps:
            world.step(*step)
        after = world.cluster()
        theirs = apply(theirs, pickle.loads(pickle.dumps(delta(before, after))))
        assert {one.name: one for one in theirs.nodes} == world.nodes
        assert len(theirs.nodes) == len(world.nodes)
        assert len(theirs.containers) == len(world.on)
        assert {one: theirs.placed[one.id] for one in theirs.containers} == world.on
        assert theirs.placed == after.placed
        assert theirs.rules == after.rules
        before = after


def test_what_has_not_changed_is_not_sent() -> None:
    world = World()
    world.step("node", 0, 0)
    world.step("rule", 0, 0)
    for number in range(5):
        world.step("place", number, 0)
    before = world.cluster()
    world.step("place", 7, 0)
    news = delta(before, world.cluster())
    assert (news.nodes, news.gone_nodes, news.gone, news.rules) == ((), (), (), (0,))
    assert [str(container.id) for container, _ in news.containers] == ["a/g/7"]
