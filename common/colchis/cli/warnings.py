"""What people are told on standard error though nothing is wrong in the letter."""

from collections.abc import Iterable

from colchis.cli.output import say
from colchis.client.http import Client
from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster
from colchis.model.constraints import CLUSTER, NODE, Constraint, Rule
from colchis.model.parse import parse_constraint
from colchis.semantics.groups import known_groups, unknown_groups

Labelled = tuple[str, Constraint]


def labelled(rules: Iterable[Rule]) -> list[Labelled]:
    return [(rule.label, rule.constraint) for rule in rules]


def rules_of(apps: Iterable[AppSpec]) -> list[Labelled]:
    """The rules that apps bring, each named with its app."""
    return [(f"{app.name}: {rule.label}", rule.constraint) for app in apps for rule in app.rules]


def rules_on(app: str, master: Client) -> list[Labelled]:
    """The rules in force that bear on an app's containers."""
    return [
        (rule["name"], parse_constraint(rule["constraint"]))
        for rule in master.constraints()
        if rule["app"] in (None, app)
    ]


def warn_of_groups(rules: Iterable[Labelled], where: Client | Cluster) -> None:
    """Tell of rules over node groups that no node of a snapshot, or of the running cluster, is
    in."""
    asked = [
        (label, constraint)
        for label, constraint in rules
        if any(atom.group not in (NODE, CLUSTER) for atom in constraint.atoms())
    ]
    if not asked:
        return
    if isinstance(where, Cluster):
        known = known_groups(node.groups for node in where.nodes)
    else:
        known = known_groups(node["groups"] for node in where.nodes())
    for text in unknown_groups(asked, known):
        say(f"warning: {text}")
