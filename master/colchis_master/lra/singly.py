"""Apps that run already and do not wholly fit: as many of their new members as do.

All or nothing holds for the first placement of an app only. What a round leaves out of one that has
begun the master places one by one, and so does a plan that is to show what an update will do.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster, ContainerId
from colchis.model.plan import AppPlan, Plan
from colchis_master.constraints.choice import counted, place_each
from colchis_master.constraints.ledger import Ledger
from colchis_master.lra.evaluate import judge_plans
from colchis_master.lra.problem import Problem
from colchis_master.lra.settings import Settings


def with_single_members(
    problem: Problem, plan: Plan, begun: Collection[str], settings: Settings
) -> Plan:
    """The same plan with what fits of the apps ``begun`` that it leaves out.

    How far it is from the best is not known then.
    """
    if all(app.placed or app.app not in begun for app in plan.apps):
        return plan
    ledger = _ledger(problem.cluster, problem.apps, plan)
    apps = tuple(
        app if app.placed or app.app not in begun else _singly(problem, number, ledger)
        for number, app in enumerate(plan.apps)
    )
    outcome = judge_plans(problem, apps, settings)
    return replace(
        plan,
        apps=apps,
        violations=outcome.violations,
        totals=outcome.totals,
        objective=outcome.objective,
        optimal=False,
        gap=None,
    )


def _ledger(cluster: Cluster, apps: Sequence[AppSpec], plan: Plan) -> Ledger:
    ledger = Ledger()
    for node in cluster.nodes:
        ledger.put_node(node)
    in_force = set(cluster.rules)
    for rule in (*cluster.rules, *(r for app in apps for r in app.rules if r not in in_force)):
        ledger.add_rule(rule)
    for container in cluster.containers:
        ledger.add(container, cluster.placed[container.id])
    for spec, app in zip(apps, plan.apps, strict=True):
        for ident, home in app.assignments.items():
            ledger.add(spec.container(spec.group(ident.group), ident.index), home)
    return ledger


def _singly(problem: Problem, number: int, ledger: Ledger) -> AppPlan:
    app = problem.apps[number]
    groups = sorted(
        (problem.groups[g] for g in problem.groups_of[number]), key=lambda group: group.spec.name
    )
    members = [app.container(group.spec, i) for group in groups for i in group.indices]
    assignments: dict[ContainerId, str] = {}
    reasons = []
    chosen = place_each(ledger, ((member, ()) for member in members))
    for member, (node, reason) in zip(members, chosen, strict=True):
        if node is None:
            reasons.append(reason)
        else:
            assignments[member.id] = node
    return AppPlan(app.name, not reasons, assignments, counted(reasons))
