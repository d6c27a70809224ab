"""The master's state as the API shows it. Nothing here changes anything."""

from collections import Counter
from typing import Any

from msgspec import to_builtins

from colchis.model.plan import Violation
from colchis.specs import app_to_dict, cluster_to_dict
from colchis_master.api.control import ControlError
from colchis_master.core.apps import app_state
from colchis_master.core.core import MasterCore
from colchis_master.core.entries import AppEntry, ContainerEntry, NodeEntry
from colchis_master.core.lifecycle import ContainerState, NodeState

Json = dict[str, Any]


class Views:
    """Reads the state of a core."""

    def __init__(self, core: MasterCore) -> None:
        self._core = core
        self._state = core.state

    def app_of(self, name: str) -> AppEntry:
        """Raises ControlError where there is no such app."""
        app = self._state.apps.get(name)
        if app is None:
            raise ControlError(404, f"there is no app {name}")
        return app

    def container_of(self, name: str) -> ContainerEntry:
        """Raises ControlError where there is no such container."""
        app = self._state.apps.get(name.split("/")[0])
        for entry in app.containers.values() if app else ():
            if str(entry.id) == name:
                return entry
        raise ControlError(404, f"there is no container {name}")

    def apps(self) -> Json:
        return {"apps": [self._summary(app) for app in self._sorted()]}

    def app(self, name: str) -> Json:
        app = self.app_of(name)
        missed = self._state.constraints.violating(name)
        rules = [
            {
                "name": rule.label,
                "constraint": str(rule.constraint),
                "weight": rule.weight,
                "hard": rule.hard,
                "violating": missed[rule.label],
            }
            for rule in app.spec.rules
        ]
        return {**self._summary(app), "rules": rules, "spec": app_to_dict(app.spec)}

    def endpoints(self, name: str) -> Json:
        found = []
        for entry in self.app_of(name).containers.values():
            report = entry.report
            node = self._state.nodes.get(entry.node or "")
            if report is None or node is None or report.port is None or entry.is_copy:
                continue
            found.append(
                {
                    "container": str(entry.id),
                    "host": node.facts.address,
                    "port": report.port,
                    "state": entry.state.value,
                }
            )
        return {"endpoints": found}

    def nodes(self, now: float) -> Json:
        return {"nodes": [self._node(node, now) for _, node in sorted(self._state.nodes.items())]}

    def constraints(self, now: float) -> Json:
        missed: Counter[tuple[str | None, str]] = Counter()
        active = self._state.constraints.active
        owned = {(one.rule.app, one.rule.label) for one in active}
        for violation in self._violations():
            app = violation.app if (violation.app, violation.constraint) in owned else None
            missed[app, violation.constraint] += 1
        return {
            "constraints": [
                {
                    "name": one.rule.label,
                    "constraint": str(one.rule.constraint),
                    "app": one.rule.app,
                    "weight": one.rule.weight,
                    "hard": one.rule.hard,
                    "expires_in": None if one.until is None else max(0.0, one.until - now),
                    "violating": missed[one.rule.app, one.rule.label],
                }
                for one in active
            ]
        }

    def violations(self) -> Json:
        return {
            "violations": [
                {
                    "constraint": violation.constraint,
                    "app": violation.app,
                    "container": str(violation.container),
                    "extent": violation.extent,
                }
                for violation in self._violations()
            ]
        }

    def snapshot(self) -> Json:
        return cluster_to_dict(
            self._state.cluster(), [app.spec for app in self._sorted() if not app.refused]
        )

    def status(self) -> Json:
        state = self._state
        return {
            "cluster": state.settings.cluster,
            "epoch": state.epoch,
            "nodes": dict(Counter(map(self._node_state, state.nodes.values()))),
            "apps": self._core.census.apps(),
            "containers": self._core.census.containers(),
            "violations": state.constraints.count_violations(),
            "round": self._core.rounds.last,
        }

    def _violations(self) -> tuple[Violation, ...]:
        return self._state.constraints.violations()

    def _sorted(self) -> list[AppEntry]:
        return sorted(self._state.apps.values(), key=lambda app: (app.submitted_at, app.name))

    def _summary(self, app: AppEntry) -> Json:
        return {
            "app": app.name,
            "kind": app.spec.kind.value,
            "state": app_state(app),
            "reasons": list(app.reasons),
            "submitted_at": app.submitted_at,
            "conflicts": app.conflicts,
            "containers": [
                self._container(entry) for entry in app.containers.values() if not entry.is_copy
            ],
        }

    def _container(self, entry: ContainerEntry) -> Json:
        report = entry.report
        pending = entry.state is ContainerState.PENDING
        node = None if pending else entry.node
        facts = self._state.nodes[node].facts if node in self._state.nodes else None
        ended = entry.exit or (report.exit if report else None)
        return {
            "container": str(entry.id),
            "state": entry.state.value,
            "node": node,
            "incarnation": entry.incarnation,
            "restarts": report.restarts if report else 0,
            "pid": report.pid if report else None,
            "started_at": report.started_at if report else None,
            "host": facts.address if facts else None,
            "port": report.port if report else None,
            "usage": to_builtins(report.usage) if report else None,
            "exit": to_builtins(ended) if ended else None,
            "reasons": [*entry.reasons, *([entry.note] if entry.note else [])],
        }

    def _node(self, node: NodeEntry, now: float) -> Json:
        facts = node.facts
        free = self._state.ledger.free(node.name) if node.state is not NodeState.LOST else {}
        heard = node.state is not NodeState.UNKNOWN
        return {
            "node": node.name,
            "state": self._node_state(node),
            "address": facts.address,
            "capacity": facts.capacity,
            "free": dict(free),
            "groups": facts.groups,
            "attributes": facts.attributes,
            "unenforced": facts.unenforced,
            "usage": to_builtins(node.sample) if node.sample else None,
            "executors": to_builtins(node.executors),
            "heartbeat_age": max(0.0, now - node.heard) if heard else None,
            "containers": len(self._state.held.get(node.name, ())),
        }

    def _node_state(self, node: NodeEntry) -> str:
        if not node.drained or node.state is not NodeState.READY:
            return node.state.value
        return "draining" if self._state.held.get(node.name) else "drained"
