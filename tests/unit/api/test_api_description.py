"""The OpenAPI description, held against the application."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from colchis_master.api.application import create_api
from colchis_master.api.openapi import OPERATIONS, Operation, describe
from colchis_master.api.tokens import Tokens
from tests.unit.api.fake_control import FakeControl
from tests.unit.api.serving import LOOKUP

WEB: dict[str, Any] = {"app": "web", "groups": {"w": {"count": 2, "command": ["true"]}}}
NAMES = {"app": "web", "node": "n1", "name": "apart", "ident": "web", "job": "train"}
NAMES |= {"group": "w", "index": "0"}
BODIES: dict[str, dict[str, Any]] = {
    "Submission": {"apps": [WEB], "update": True},
    "Members": {"group": "w"},
    "Constraints": {"constraints": ["{a, {b, 0, 1}, node}"]},
    "PlanRequest": {"apps": [WEB]},
    "Rebalancing": {"max_moves": 3, "plan": True},
}


@pytest.fixture
def prepared(api: httpx.Client, control: FakeControl) -> httpx.Client:
    api.post("/v1/apps", json={"apps": [WEB]})
    rule = {"constraint": "{a, {b, 0, 2}, node}", "name": "apart"}
    api.post("/v1/constraints", json={"constraints": [rule]})
    control.output["web/w/0"] = ["hello\n"]
    return api


def test_all_that_there_is_is_described_and_no_more() -> None:
    app = create_api(FakeControl(), Tokens(admin="a", lookup="b"))
    routes = {
        (method.lower(), re.sub(r":\w+", "", route.path))
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert {(op.method, op.path) for op in OPERATIONS} == routes


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: f"{op.method} {op.path}")
def test_each_operation_answers_as_described(prepared: httpx.Client, operation: Operation) -> None:
    path = operation.path.format(**NAMES)
    body = BODIES[operation.body.__name__] if operation.body else None
    params = {"container": "web/w/0"} if operation.path == "/v1/explain" else {}
    with prepared.stream(operation.method.upper(), path, json=body, params=params) as answer:
        assert answer.status_code == operation.status
        assert answer.headers["content-type"].split(";")[0] == operation.media
        if operation.media == "application/json":
            answer.read()
            content = describe()["paths"][operation.path][operation.method]["responses"]
            schema = content[str(operation.status)]["content"][operation.media]["schema"]
            Draft202012Validator(schema).validate(answer.json())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: f"{op.method} {op.path}")
def test_each_operation_needs_the_right_described(
    prepared: httpx.Client, operation: Operation
) -> None:
    path = operation.path.format(**NAMES)
    statuses = {}
    for right, headers in (
        ("", {"Authorization": ""}),
        ("lookup", {"Authorization": f"Bearer {LOOKUP}"}),
    ):
        with prepared.stream(operation.method.upper(), path, headers=headers) as answer:
            statuses[right] = answer.status_code
    assert (statuses[""] == 200) is (operation.right == "")
    assert (statuses["lookup"] == 200) is (operation.right in ("", "lookup"))
    assert statuses["lookup"] in (200, 403)


def test_the_description_is_sound(api: httpx.Client) -> None:
    found = api.get("/v1/openapi.json").json()
    assert found == describe()
    assert found["openapi"] == "3.1.0"
    schemas = found["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    references = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(found))
    assert references and set(references) <= set(schemas)
    operations = [op for path in found["paths"].values() for op in path.values()]
    identities = [op["operationId"] for op in operations]
    assert len(set(identities)) == len(identities)
    for path, methods in found["paths"].items():
        for operation in methods.values():
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert operation["summary"] and operation["responses"]


def test_the_page_has_each_operation_with_what_it_takes_and_answers() -> None:
    page = (Path(__file__).parents[3] / "docs/http.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z]+ \S+)` \|(.*)\|$", page, re.MULTILINE))
    assert set(rows) == {f"{op.method.upper()} {op.path}" for op in OPERATIONS}
    for operation in OPERATIONS:
        takes, answers = re.split(
            r"(?<!\\)\|", rows[f"{operation.method.upper()} {operation.path}"]
        )
        fields = operation.body.__struct_fields__ if operation.body else ()
        named = re.findall(r"`(\w+)`", takes)
        if "the same" not in takes:
            assert named == [*fields]
        for name, _ in operation.query:
            assert f"?{name}=" in takes
        assert set(re.findall(r"`(\w+)`", answers.split(", each")[0])) <= {
            *operation.answers,
            *("ok", "spec", "app", "state", "containers", "node", "drained", "constraint"),
            "constraints",
        }
        if operation.status != 200:
            assert answers.strip().startswith(str(operation.status))
