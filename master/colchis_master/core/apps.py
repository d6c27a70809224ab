"""Requests of users and operators. Each is refused wholly, or wholly done."""

from collections import Counter
from collections.abc import Sequence

from colchis.model.app import AppSpec, Kind
from colchis.model.constraints import CLUSTER, NODE, Rule
from colchis.semantics.groups import known_groups, unknown_groups
from colchis_master.core.containers import Containers, failed, without_command
from colchis_master.core.entries import AppEntry, ContainerEntry
from colchis_master.core.events import (
    AddRules,
    Remove,
    RemoveRule,
    SetDrained,
    SetSuspended,
    Submit,
)
from colchis_master.core.lifecycle import HELD, ContainerState, NodeState
from colchis_master.core.moves import follow
from colchis_master.core.records import NodeRecord
from colchis_master.core.rounds import refuse
from colchis_master.core.state import State

NOT_FOUND = 404
CONFLICT = 409
BAD = 422


class Apps:
    """Carries requests out on ``state``."""

    def __init__(self, state: State, containers: Containers) -> None:
        self._state = state
        self._containers = containers

    def submit(self, event: Submit, now: float) -> None:
        """New apps, and with ``update`` changed ones."""
        state = self._state
        problem = self._objection(event)
        if problem is not None:
            state.refuse(event.request, *problem)
            return
        for spec in event.apps:
            known = state.apps.get(spec.name)
            if known is not None and not over(known):
                self._update(known, spec, event.wall, now)
                continue
            if known is not None:
                state.drop_app(known)
            self._create(spec, event.wall, now)
        answer = [{"app": s.name, "state": app_state(state.apps[s.name])} for s in event.apps]
        state.answer(event.request, {"apps": answer})

    def _objection(self, event: Submit) -> tuple[int, str] | None:
        names = Counter(spec.name for spec in event.apps)
        twice = [name for name, times in names.items() if times > 1]
        if twice:
            return BAD, f"submitted twice in one request: {', '.join(twice)}"
        for spec in event.apps:
            silent = without_command(spec)
            if silent:
                groups = ", ".join(f"groups.{name}.command" for name in silent)
                return BAD, f"{spec.name}: nothing to run without a command: {groups}"
            if self._state.settings.executors is None and any(
                group.executor or group.jobs for group in spec.groups
            ):
                return CONFLICT, f"{spec.name} needs a job service, and this master runs none"
            known = self._state.apps.get(spec.name)
            if known is None or over(known):
                continue
            if known.stopping:
                return CONFLICT, f"{spec.name} is being stopped; submit it when it has ended"
            if not event.update:
                return CONFLICT, f"{spec.name} is there already; update it, or stop it first"
            if known.spec.kind is not spec.kind:
                return CONFLICT, f"{spec.name} is a {known.spec.kind.value}; stop it to change that"
        return None

    def _create(self, spec: AppSpec, wall: float, now: float) -> None:
        state = self._state
        app = AppEntry(spec, 1, {1: spec}, wall, wall)
        state.apps[spec.name] = app
        state.persist(app.record())
        state.emit("app", f"{spec.name} is submitted", app=spec.name)
        self._warn_of_groups(spec.rules, spec.name)
        reasons = self._never(spec)
        if reasons:
            refuse(state, app, reasons)
            return
        state.constraints.set_app(spec.name, spec.rules, now)
        for container in spec.containers():
            state.add_container(app, container)

    def _never(self, spec: AppSpec) -> list[str]:
        """What no node could hold even if it were empty; nothing while nodes are missing."""
        nodes = self._state.ledger.nodes.values()
        never = [
            group
            for group in spec.groups
            if group.count and not any(group.resources.fits_in(node.capacity) for node in nodes)
        ]
        states = {node.state for node in self._state.nodes.values()} if never else set()
        if states != {NodeState.READY}:
            return []
        capacities = list(dict.fromkeys(node.capacity for node in nodes))
        reasons = []
        for group in never:
            short = [group.resources.shortages(capacity) for capacity in capacities]
            nearest = min(short, key=len)
            reasons.append(
                f"no node could ever hold a container of {spec.name}/{group.name}; even the "
                f"nearest, if it were empty: {', '.join(nearest)}"
            )
        return reasons

    def _update(self, app: AppEntry, spec: AppSpec, wall: float, now: float) -> None:
        state = self._state
        app.revision += 1
        app.spec = app.specs[app.revision] = spec
        app.fresh, app.reasons, app.rules_since = True, (), wall
        wanted = {container.id: container for container in spec.containers()}
        for entry in list(app.containers.values()):
            if entry.id not in wanted:
                entry.wanted = False
                self._containers.stop(entry, 10.0)
                continue
            if not entry.wanted:
                # It was on its way out; once it has ended it comes back as the spec has it now.
                entry.wanted = entry.again = True
            follow(app, entry)
            if entry.revision != app.revision and entry.state is ContainerState.ENDED:
                self._containers.renew(app, entry)
            elif entry.revision != app.revision and entry.state is ContainerState.PENDING:
                self._containers.refresh(app, entry)
                entry.former = None
            state.persist(entry.record())
        for ident, container in wanted.items():
            if ident not in app.containers:
                state.add_container(app, container)
        state.constraints.set_app(spec.name, spec.rules, now)
        used = {app.revision, *(entry.revision for entry in app.containers.values())}
        app.specs = {number: app.specs[number] for number in used}
        state.outdated.add(app.name)
        state.persist(app.record())
        state.emit("app", f"{spec.name} is updated", app=spec.name)
        self._warn_of_groups(spec.rules, spec.name)

    def _warn_of_groups(self, rules: Sequence[Rule], app: str = "") -> None:
        """Tell of rules over node groups that no node is in."""
        named = {atom.group for rule in rules for atom in rule.constraint.atoms()}
        nodes = self._state.nodes.values()
        if all(
            group in (NODE, CLUSTER) or any(group in node.facts.groups for node in nodes)
            for group in named
        ):
            return
        known = known_groups(node.facts.groups for node in nodes)
        for text in unknown_groups([(rule.label, rule.constraint) for rule in rules], known):
            self._state.emit("rule", f"the rule {text}", app=app)

    def remove(self, event: Remove) -> None:
        """End an app; it is gone once all its containers are."""
        state = self._state
        app = state.apps.get(event.app)
        if app is None:
            state.refuse(event.request, NOT_FOUND, f"there is no app {event.app}")
            return
        app.grace = event.grace
        state.persist(app.record())
        state.emit("app", f"{app.name} is to end", app=app.name)
        for entry in list(app.containers.values()):
            self._containers.stop(entry, event.grace)
        answer = "stopping"
        if not app.containers:
            state.drop_app(app)
            state.emit("app", f"{app.name} has ended", app=app.name)
            answer = "ended"
        state.answer(event.request, {"app": event.app, "state": answer})

    def set_suspended(self, event: SetSuspended) -> None:
        """What is wanted of containers; their agents are told until it is so."""
        state = self._state
        app = state.apps.get(event.app)
        if app is None:
            state.refuse(event.request, NOT_FOUND, f"there is no app {event.app}")
            return
        chosen, unknown = self._chosen(app, event)
        if unknown:
            state.refuse(event.request, NOT_FOUND, f"{event.app} has no {unknown}")
            return
        if app.stopping:
            state.refuse(event.request, CONFLICT, f"{event.app} is being stopped")
            return
        for entry in chosen:
            entry.suspended = event.suspended
            entry.order, entry.note = None, ""
            state.persist(entry.record())
            state.index(entry)
        word = "suspended" if event.suspended else "resumed"
        state.emit("app", f"{len(chosen)} containers of {app.name} are to be {word}", app=app.name)
        state.answer(event.request, {"containers": [str(entry.id) for entry in chosen]})

    def _chosen(self, app: AppEntry, event: SetSuspended) -> tuple[list[ContainerEntry], str]:
        chosen = [
            entry
            for entry in app.containers.values()
            if entry.state is not ContainerState.ENDED and not entry.is_copy
        ]
        if event.group is not None:
            if event.group not in {group.name for group in app.spec.groups}:
                return [], f"group {event.group}"
            chosen = [entry for entry in chosen if entry.id.group == event.group]
        if event.containers is not None:
            names = set(event.containers)
            unknown = names - {str(ident) for ident in app.containers}
            if unknown:
                return [], f"container {', '.join(sorted(unknown))}"
            chosen = [entry for entry in chosen if str(entry.id) in names]
        return chosen, ""

    def set_drained(self, event: SetDrained) -> None:
        """Close a node for new containers, or open it."""
        state = self._state
        node = state.nodes.get(event.node)
        if node is None:
            state.refuse(event.request, NOT_FOUND, f"there is no node {event.node}")
            return
        facts = node.facts
        node.facts = NodeRecord(
            facts.node,
            facts.address,
            facts.capacity,
            facts.attributes,
            facts.groups,
            facts.unenforced,
            event.drained,
        )
        state.persist(node.facts)
        state.sync_node(node)
        word = "is drained" if event.drained else "takes containers again"
        state.emit("node", f"node {node.name} {word}", node=node.name)
        state.answer(event.request, {"node": node.name, "drained": event.drained})

    def add_rules(self, event: AddRules, now: float) -> None:
        """The operator's rules come into force."""
        state = self._state
        labels = [rule.label for rule in event.rules]
        known = [label for label in labels if state.constraints.find(label) is not None]
        known += [label for label, times in Counter(labels).items() if times > 1]
        if known:
            text = f"there already: {', '.join(known)}; remove it first, or name it otherwise"
            state.refuse(event.request, CONFLICT, text)
            return
        for rule in event.rules:
            state.add_rule(state.constraints.add(rule, now), event.wall)
            state.emit("rule", f"the rule {rule.label} is in force")
        self._warn_of_groups(event.rules)
        state.answer(event.request, {"constraints": labels})

    def remove_rule(self, event: RemoveRule) -> None:
        """One of the operator's rules is in force no longer."""
        state = self._state
        rule = state.constraints.remove(event.name)
        if rule is None:
            owners = state.constraints.owners(event.name)
            if owners:
                text = f"{event.name} is a rule of {', '.join(owners)}; update the app instead"
                state.refuse(event.request, CONFLICT, text)
            else:
                state.refuse(event.request, NOT_FOUND, f"there is no rule {event.name}")
            return
        state.forget(f"rule {rule.label}")
        state.emit("rule", f"the rule {rule.label} is in force no longer")
        state.answer(event.request, {"constraint": rule.label})


def over(app: AppEntry) -> bool:
    """Whether nothing of it runs or will."""
    return app_state(app) in ("refused", "ended", "failed") and not any(
        entry.state in HELD or entry.state is ContainerState.PENDING
        for entry in app.containers.values()
    )


def app_state(app: AppEntry) -> str:
    """In one word, for people and programs."""
    if app.refused:
        return "refused"
    if app.stopping:
        return "stopping"
    entries = [entry for entry in app.containers.values() if not entry.is_copy]
    states = {entry.state for entry in entries}
    ended = [entry for entry in entries if entry.state is ContainerState.ENDED]
    if any(failed(entry.exit) for entry in ended) and (
        app.spec.kind is Kind.SERVICE or len(ended) == len(entries)
    ):
        return "failed"
    if ended and len(ended) == len(entries):
        return "ended"
    if states == {ContainerState.PENDING}:
        return "pending"
    live = states - {ContainerState.ENDED}
    if live == {ContainerState.SUSPENDED}:
        return "suspended"
    current = all(entry.revision == app.revision for entry in entries)
    if current and live <= {ContainerState.RUNNING, ContainerState.SUSPENDED}:
        return "running"
    return "deploying"
