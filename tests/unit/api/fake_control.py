"""A cluster in memory behind the API: it keeps what it is told and moves a step with each look."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from colchis.model.app import AppSpec
from colchis.specs import app_to_dict, parse_rules
from colchis_master.api.control import ControlError

Json = dict[str, Any]
GIB = 2**30

PLAN: Json = {
    "algorithm": "ilp",
    "mode": "ordered",
    "optimal": True,
    "gap": 0.0,
    "objective": 1.5,
    "seconds": 0.1,
    "apps": [],
    "violations": [],
    "totals": dict.fromkeys(
        ("containers", "placed", "subjects", "violating", "extent", "nodes_used"), 0
    ),
}


class FakeControl:
    """``asked`` has every change that was asked for.

    An app named ``huge`` is refused, the containers of one named ``stuck`` stay pending; all
    others run, one more with each look at the app.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.specs: dict[str, AppSpec] = {}
        self.states: dict[str, dict[str, str]] = {}
        self.targets: dict[str, str] = {}
        self.operator: dict[str, Json] = {}
        self.drained: set[str] = set()
        self.stay: set[str] = set()
        self.output: dict[str, list[str]] = {}
        self.happened: list[Json] = []
        self.cancelled: set[str] = set()
        self.fail: Exception | None = None

    def emit(self, event: str, text: str, **of: str) -> None:
        seq = len(self.happened)
        self.happened.append(
            {"seq": seq, "time": 1e9 + seq, "event": event, "id": f"e{seq}", "text": text, **of}
        )

    async def turn(self) -> None:
        pass

    async def submit(self, apps: Sequence[AppSpec], *, update: bool) -> Json:
        self.asked.append(("submit", [app.name for app in apps], update))
        for app in apps:
            if app.name in self.specs and not update:
                raise ControlError(409, f"{app.name} is there already")
        for app in apps:
            self.specs[app.name] = app
            self.states[app.name] = {str(c.id): "starting" for c in app.containers()}
            self.targets.update(dict.fromkeys(self.states[app.name], "running"))
            self.emit("app", f"{app.name} is submitted", app=app.name)
        return {"apps": [{"app": app.name, "state": "pending"} for app in apps]}

    async def remove(self, app: str, grace: float) -> Json:
        self.asked.append(("remove", app, grace))
        self._known(app)
        for name in self.states[app]:
            self.targets[name] = "gone"
        return {"app": app, "state": "stopping"}

    async def suspend(self, app: str, containers: Sequence[str] | None, group: str | None) -> Json:
        return self._aim("suspend", app, containers, group, "suspended")

    async def resume(self, app: str, containers: Sequence[str] | None, group: str | None) -> Json:
        return self._aim("resume", app, containers, group, "running")

    def _aim(
        self, verb: str, app: str, containers: Sequence[str] | None, group: str | None, to: str
    ) -> Json:
        self.asked.append((verb, app, containers, group))
        self._known(app)
        chosen = [
            name
            for name in self.states[app]
            if (containers is None or name in containers)
            and (group is None or name.split("/")[1] == group)
        ]
        self.targets.update(dict.fromkeys(chosen, to))
        return {"containers": chosen}

    async def drain(self, node: str) -> Json:
        return self._drained(node, True)

    async def undrain(self, node: str) -> Json:
        return self._drained(node, False)

    def _drained(self, node: str, drained: bool) -> Json:
        if node not in ("n1", "n2"):
            raise ControlError(404, f"there is no node {node}")
        (self.drained.add if drained else self.drained.discard)(node)
        return {"node": node, "drained": drained}

    async def add_rules(self, constraints: Sequence[Any]) -> Json:
        for rule in parse_rules(list(constraints)):
            self.operator[rule.label] = {
                "name": rule.label,
                "constraint": str(rule.constraint),
                "app": None,
                "weight": rule.weight,
                "hard": rule.hard,
                "expires_in": rule.expires,
                "violating": 0,
            }
        return {"constraints": list(self.operator)}

    async def remove_rule(self, name: str) -> Json:
        if self.operator.pop(name, None) is None:
            raise ControlError(404, f"there is no rule {name}")
        return {"constraint": name}

    async def plan(self, apps: Sequence[AppSpec], settings: Mapping[str, Any]) -> Json:
        planned = [
            {"app": app.name, "placed": True, "reasons": [], "containers": []} for app in apps
        ]
        changes = [
            {
                "app": app.name,
                "added": [{"container": f"{app.name}/w/3", "node": "n1"}],
                "removed": [{"container": f"{app.name}/v/0", "node": "n2"}],
                "changed": [{"container": f"{app.name}/w/0", "node": "n1", "fields": ["env"]}],
                "moved": [
                    {
                        "container": f"{app.name}/w/1",
                        "from": "n1",
                        "to": "n2",
                        "fields": ["resources"],
                    }
                ],
                "kept": 1,
                "rules_added": ["apart"],
                "rules_removed": [],
            }
            for app in apps
            if app.name in self.specs
        ]
        return {**PLAN, **settings, "apps": planned, "changes": changes}

    async def rebalance(self, max_moves: int, *, plan: bool) -> Json:
        self.asked.append(("rebalance", max_moves, plan))
        move = {"container": "web/w/0", "from": "n1", "to": "n2", "reason": "apart: missed [less]"}
        found = {} if "web" not in self.specs else {"moves": [move], "violations_before": 2}
        misses = dict.fromkeys(("violations_before", "violations_after"), 0)
        extents = dict.fromkeys(("extent_before", "extent_after"), 0.0)
        return {"moves": [], **misses, **extents, **found}

    async def explain(self, container: str) -> Json:
        node = {"node": "n1", "fits": True, "satisfied": False, "reasons": ["too [near]"]}
        return {"container": container, "nodes": [node]}

    async def read_log(self, container: str, offset: int, limit: int) -> Json:
        """What was written so far; one more piece is written with each look."""
        pieces = self.output.get(container)
        if pieces is None:
            raise ControlError(404, f"there is no container {container}")
        written = pieces[0]
        start = max(0, len(written) + offset) if offset < 0 else min(offset, len(written))
        data = written[start : start + limit]
        ended = len(pieces) == 1 and start + len(data) == len(written)
        if len(pieces) > 1:
            pieces[:2] = [pieces[0] + pieces[1]]
        return {"data": data, "next_offset": start + len(data), "ended": ended}

    def apps(self) -> Json:
        return {"apps": [self._summary(name) for name in self.specs]}

    def app(self, name: str) -> Json:
        if self.fail:
            raise self.fail
        self._known(name)
        states = self.states[name]
        moving = [c for c, state in states.items() if state != self.targets[c]]
        if moving and name != "stuck":
            states[moving[0]] = self.targets[moving[0]]
        if states and set(states.values()) == {"gone"}:
            del self.specs[name]
            raise ControlError(404, f"there is no app {name}")
        return {**self._summary(name), "rules": [], "spec": app_to_dict(self.specs[name])}

    def _summary(self, name: str) -> Json:
        states = set(self.states[name].values())
        state = states.pop() if len(states) == 1 else "deploying"
        state = {"starting": "deploying", "gone": "stopping"}.get(state, state)
        refused = name == "huge"
        return {
            "app": name,
            "kind": self.specs[name].kind.value,
            "state": "refused" if refused else state,
            "reasons": ["no node could ever hold it"] if refused else [],
            "submitted_at": 1e9,
            "conflicts": 0,
            "containers": [] if refused else [self._view(*c) for c in self.states[name].items()],
        }

    def _view(self, name: str, state: str) -> Json:
        return {
            "container": name,
            "state": state,
            "node": "n1",
            "restarts": 0,
            "host": "127.0.0.1",
            "port": 4711,
            "usage": {"cpu_seconds": 1.25, "memory": GIB, "pids": 3},
            "exit": None,
            "reasons": ["waits for [a node]"] if state == "starting" else [],
        }

    def endpoints(self, name: str) -> Json:
        self._known(name)
        keys = ("container", "host", "port", "state")
        views = (self._view(*container) for container in self.states[name].items())
        return {"endpoints": [{key: view[key] for key in keys} for view in views]}

    def nodes(self) -> Json:
        return {
            "nodes": [
                {
                    "node": name,
                    "state": "drained" if name in self.drained else "ready",
                    "address": "127.0.0.1",
                    "capacity": {"cpus": 4000, "memory": 8 * GIB},
                    "free": {"cpus": 2500, "memory": 4 * GIB},
                    "groups": {"rack": ["r1"]},
                    "attributes": {},
                    "unenforced": [],
                    "usage": {"cpus_used": 0.5, "memory_used": GIB, "memory_total": 8 * GIB},
                    "heartbeat_age": 0.5,
                    "containers": int(name not in self.drained - self.stay),
                }
                for name in ("n1", "n2")
            ]
        }

    def constraints(self) -> Json:
        return {"constraints": list(self.operator.values())}

    def violations(self) -> Json:
        return {"violations": []}

    def snapshot(self) -> Json:
        return {
            "nodes": [
                {"name": "n1", "cpus": 4, "memory": "8GiB", "groups": {"rack": "r1"}},
                {"name": "n2", "cpus": 4, "memory": "8GiB", "groups": {"rack": "r2"}},
            ],
            "containers": [
                {"container": "old/w/0", "node": "n1", "tags": ["w"], "resources": {"cpus": 1}}
            ],
            "apps": [{"app": "old", "constraints": ["{w, {w, 0, 0}, node}"]}],
            "constraints": [],
        }

    def events(self, since: int, limit: int) -> Json:
        found = [event for event in self.happened if event["seq"] >= since][:limit]
        return {"events": found, "next": found[-1]["seq"] + 1 if found else since}

    async def wait_for_events(self, since: int) -> None:
        while len(self.happened) <= since:
            await asyncio.sleep(0.01)

    def status(self) -> Json:
        return {
            "cluster": "fake",
            "epoch": 1,
            "nodes": {"ready": 2},
            "apps": {"running": len(self.specs)},
            "containers": {},
            "violations": 0,
            "round": None,
        }

    async def story(self, ident: str) -> Json:
        if ident.startswith("nobody"):
            raise ControlError(404, f"nothing is known of {ident}")
        return {"story": [{"time": 1e9, "text": f"{ident} came to be", "id": "e1"}]}

    def metrics(self) -> bytes:
        return b"colchis_up 1\n"

    async def jobs(self) -> Json:
        return {"jobs": [self._job("train")]}

    async def job(self, job: str) -> Json:
        if job != "train":
            raise ControlError(404, f"there is no job {job}")
        return self._job(job)

    async def job_tasks(self, job: str) -> Json:
        await self.job(job)
        return {"tasks": [{"stage": "s0", "index": 0, "state": "running", "executor": "e0"}]}

    async def cancel_job(self, job: str) -> Json:
        await self.job(job)
        self.cancelled.add(job)
        return self._job(job)

    def _job(self, job: str) -> Json:
        state = "cancelled" if job in self.cancelled else "running"
        return {"job": job, "name": job, "state": state, "counts": {"running": 1}}

    def _known(self, app: str) -> None:
        if app not in self.specs:
            raise ControlError(404, f"there is no app {app}")
