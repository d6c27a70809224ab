"""What a solver's process makes of the news is what the master has."""

import pickle
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from colchis.model.cluster import Cluster, ClusterByNode, Container, Node
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis_master.constraints.ledger import Ledger
from colchis_master.lra.delta import apply, delta

RULES = tuple(
    Rule(parse_constraint(f"{{a{n}, {{a{n}, 0, {n}}}, node}}"), f"r{n}") for n in range(4)
)
SIZES = (Resources.of(1, "1GiB"), Resources.of(2, "1GiB"))


class World:
    """A cluster that changes; what stays the same is mostly the same object, as in a master."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.nodes: dict[str, Node] = {}
        self.on: dict[Container, str] = {}
        self.rules: list[Rule] = []

    def step(self, kind: str, number: int, other: int) -> None:
        node = f"n{number % 4}"
        known = [one for one in self.on if one.id.index == number]
        match kind:
            case "node":
                self.nodes[node] = Node(node, SIZES[other % 2])
                self.ledger.put_node(self.nodes[node])
            case "node lost" if node not in self.on.values():
                self.nodes.pop(node, None)
                self.ledger.drop_node(node)
            case "place" if self.nodes:
                container = Container.of(f"a/g/{number}", set(), SIZES[other % 2])
                self._put(container, sorted(self.nodes)[other % len(self.nodes)])
            case "move" if known:
                self._put(known[0], sorted(self.nodes)[other % len(self.nodes)])
            case "again" if known:
                # The same, as another object.
                self._put(pickle.loads(pickle.dumps(known[0])), self.on[known[0]])
            case "resize" if known:
                self._put(replace(known[0], resources=SIZES[other % 2]), self.on[known[0]])
            case "end":
                for one in known:
                    self._take(one)
            case "rule":
                rule = RULES[number % 4]
                if rule in self.rules:
                    self.rules.remove(rule)
                    self.ledger.remove_rule(rule)
                else:
                    self.rules.append(rule)
                    self.ledger.add_rule(rule)
            case _:
                pass

    def _put(self, container: Container, node: str) -> None:
        for one in [one for one in self.on if one.id == container.id]:
            self._take(one)
        self.on[container] = node
        self.ledger.add(container, node)

    def _take(self, container: Container) -> None:
        del self.on[container]
        self.ledger.remove(container.id)

    def cluster(self) -> Cluster:
        return Cluster(
            tuple(self.nodes.values()),
            tuple(self.on),
            {one.id: node for one, node in self.on.items()},
            tuple(self.rules),
        )


KINDS = ("node", "node lost", "place", "place", "move", "again", "resize", "end", "rule")
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 3)))


@given(st.lists(STEPS, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_the_news_lead_to_the_same_cluster(
    rounds: list[list[tuple[str, int, int]]], by_ledger: list[bool]
) -> None:
    world = World()
    before: Cluster = ClusterByNode({}, {}, ())
    theirs = Cluster()
    for steps, ledger in zip(rounds, by_ledger, strict=False):
        for step in steps:
            world.step(*step)
        after = world.ledger.cluster() if ledger else world.cluster()
        theirs = apply(theirs, pickle.loads(pickle.dumps(delta(before, after))))
        assert {one.name: one for one in theirs.nodes} == world.nodes
        assert len(theirs.nodes) == len(world.nodes)
        assert len(theirs.containers) == len(world.on)
        assert {one: theirs.placed[one.id] for one in theirs.containers} == world.on
        assert theirs.placed == after.placed
        assert theirs.rules == tuple(world.rules)
        before = after


@given(st.lists(STEPS, max_size=6))
def test_a_ledgers_snapshots_stay_what_they_were(rounds: list[list[tuple[str, int, int]]]) -> None:
    world = World()
    taken = []
    for steps in rounds:
        for step in steps:
            world.step(*step)
        taken.append((world.ledger.cluster(), world.cluster()))
    for found, expected in taken:
        assert found.node == expected.node
        assert sorted(found.nodes, key=str) == sorted(expected.nodes, key=str)
        assert found.placed == expected.placed
        assert set(found.containers) == set(expected.containers)
        assert {name: set(held) for name, held in found.on_node.items()} == {
            name: set(held) for name, held in expected.on_node.items()
        }
        assert found.rules == expected.rules


def test_snapshots_share_what_has_not_changed() -> None:
    world = World()
    for number in range(2):
        world.step("node", number, 0)
        world.step("place", number, number)
    before = world.ledger.cluster()
    world.step("place", 2, 1)
    after = world.ledger.cluster()
    assert after.on_node["n0"] is before.on_node["n0"]
    assert len(after.on_node["n1"]) == 2


def test_what_has_not_changed_is_not_sent() -> None:
    world = World()
    world.step("node", 0, 0)
    world.step("rule", 0, 0)
    for number in range(5):
        world.step("place", number, 0)
    before = world.cluster()
    world.step("place", 7, 0)
    news = delta(before, world.cluster())
    assert not (news.nodes or news.gone_nodes or news.gone or news.gone_rules or news.rules)
    assert [str(container.id) for container, _ in news.containers] == ["a/g/7"]
