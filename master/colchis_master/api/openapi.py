"""The API's description in OpenAPI 3.1, from one table of its operations."""

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from colchis import __version__
from colchis_master.api.requests import (
    Constraints,
    Members,
    PlanRequest,
    Rebalancing,
    Submission,
)


class Problem(Struct):
    """One thing wrong; ``line`` and ``column`` are 0 where there are none."""

    file: str
    line: int
    column: int
    field: str
    message: str


class Error(Struct):
    """What every refusal answers."""

    error: str
    problems: list[Problem]


_SCHEMAS = (Submission, Members, Constraints, PlanRequest, Rebalancing, Error)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; ``answers`` are the keys of the JSON object answered."""

    method: str
    path: str
    summary: str
    answers: tuple[str, ...]
    status: int = 200
    body: type[Any] | None = None
    query: tuple[tuple[str, str], ...] = ()
    media: str = "application/json"
    right: str = "admin"


APP = (
    "app",
    "kind",
    "state",
    "reasons",
    "submitted_at",
    "conflicts",
    "containers",
    "rules",
    "spec",
)
PLAN = (
    "algorithm",
    "mode",
    "optimal",
    "gap",
    "objective",
    "seconds",
    "apps",
    "violations",
    "totals",
)
STATUS = ("cluster", "epoch", "nodes", "apps", "containers", "violations", "round")
OPERATIONS = (
    Operation(
        "get", "/healthz", "Whether the master answers; no token is needed", ("status",), right=""
    ),
    Operation("get", "/v1/openapi.json", "This description", ("openapi", "paths")),
    Operation("get", "/v1/apps", "All apps", ("apps",)),
    Operation(
        "post",
        "/v1/apps",
        "Submit apps; answered once they survive a crash of the master",
        ("apps",),
        202,
        Submission,
    ),
    Operation(
        "get",
        "/v1/apps/{app}",
        "One app with its containers",
        APP,
    ),
    Operation("delete", "/v1/apps/{app}", "End an app", (), 202, None, (("grace", "number"),)),
    Operation(
        "post", "/v1/apps/{app}/suspend", "Take containers off their cores", (), 202, Members
    ),
    Operation(
        "post", "/v1/apps/{app}/resume", "Give containers their cores back", (), 202, Members
    ),
    Operation(
        "get",
        "/v1/apps/{app}/endpoints",
        "Where an app's containers listen; the lookup token suffices",
        ("endpoints",),
        right="lookup",
    ),
    Operation(
        "get",
        "/v1/explain",
        "Judge each node for one container, with every reason",
        ("container", "nodes"),
        query=(("container", "string"),),
    ),
    Operation(
        "post",
        "/v1/plan",
        "Where apps would be placed; nothing is changed",
        PLAN,
        body=PlanRequest,
    ),
    Operation(
        "post",
        "/v1/rebalance",
        "Move running services so that fewer rules are missed, or show how",
        ("moves", "violations_before", "violations_after"),
        body=Rebalancing,
    ),
    Operation("get", "/v1/nodes", "All nodes", ("nodes",)),
    Operation("post", "/v1/nodes/{node}/drain", "Move everything off a node", (), 202),
    Operation("post", "/v1/nodes/{node}/undrain", "Use a node again", (), 202),
    Operation("get", "/v1/constraints", "All rules in force", ("constraints",)),
    Operation("post", "/v1/constraints", "Put operator's rules in force", (), 201, Constraints),
    Operation("delete", "/v1/constraints/{name}", "Take an operator's rule out of force", ()),
    Operation("get", "/v1/violations", "Rules missed now", ("violations",)),
    Operation(
        "get",
        "/v1/snapshot",
        "The cluster as plan and explain read it",
        ("nodes", "containers", "apps", "constraints"),
    ),
    Operation(
        "get",
        "/v1/events",
        "What happened",
        ("events", "next"),
        query=(("since", "integer"), ("limit", "integer")),
    ),
    Operation(
        "get",
        "/v1/events/stream",
        "What happens, as server-sent events",
        (),
        query=(("since", "integer"),),
        media="text/event-stream",
    ),
    Operation(
        "get",
        "/v1/logs/{app}/{group}/{index}",
        "What a container wrote; a negative offset counts from the end",
        ("data", "next_offset", "ended"),
        query=(("offset", "integer"), ("limit", "integer")),
    ),
    Operation("get", "/v1/status", "Counts of everything", STATUS),
    Operation("get", "/v1/story/{ident}", "Why something came about", ("story",)),
    Operation("get", "/v1/jobs", "All jobs", ("jobs",)),
    Operation("get", "/v1/jobs/{job}", "One job", ()),
    Operation("get", "/v1/jobs/{job}/tasks", "A job's tasks", ("tasks",)),
    Operation("post", "/v1/jobs/{job}/cancel", "End a job", ()),
    Operation("get", "/metrics", "Figures in Prometheus' text format", (), media="text/plain"),
)


def describe() -> dict[str, Any]:
    """The whole description."""
    _, schemas = msgspec.json.schema_components(
        _SCHEMAS, ref_template="#/components/schemas/{name}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Colchis",
            "version": __version__,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "security": [{"token": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe(operation: Operation) -> dict[str, Any]:
    variables = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in variables
    ] + [
        {"name": name, "in": "query", "required": False, "schema": {"type": kind}}
        for name, kind in operation.query
    ]
    described: dict[str, Any] = {
        "operationId": _identify(operation),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _responses(operation),
    }
    if not operation.right:
        described["security"] = []
    else:
        described["description"] = f"Needs the {operation.right} token."
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(operation.body.__name__)}},
        }
    return described


def _identify(operation: Operation) -> str:
    """Such as ``post_apps_app_suspend``."""
    parts = operation.path.removeprefix("/v1").replace(".json", "").strip("/").split("/")
    return "_".join([operation.method, *(part.strip("{}") for part in parts)])


def _responses(operation: Operation) -> dict[str, Any]:
    answer: dict[str, Any] = {"type": "string"}
    if operation.media == "application/json":
        properties: dict[str, Any] = {name: {} for name in operation.answers}
        answer = {"type": "object", "properties": properties, "required": list(operation.answers)}
    done = {200: "done", 201: "in force", 202: "accepted, and durable"}[operation.status]
    responses: dict[str, Any] = {
        str(operation.status): {
            "description": done,
            "content": {operation.media: {"schema": answer}},
        }
    }
    if operation.right:
        refusals = {
            "401": "no valid token",
            "403": "a token that does not allow this",
            "404": "there is no such thing",
            "409": "not possible as things stand",
            "422": "bad input, with every problem",
        }
        for status, meaning in refusals.items():
            content = {"application/json": {"schema": _reference("Error")}}
            responses[status] = {"description": meaning, "content": content}
    return responses


def _reference(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}
