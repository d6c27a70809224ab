"""What the API takes, and how it refuses the rest."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from colchis.errors import InputError
from colchis.model.parse import parse_constraint
from colchis_master.api.application import create_api
from colchis_master.api.control import ControlError
from colchis_master.api.requests import MAX_BODY
from colchis_master.api.tokens import Right, Tokens, load_or_create
from tests.unit.api.fake_control import FakeControl
from tests.unit.api.serving import ADMIN, LOOKUP

WEB: dict[str, Any] = {"app": "web", "groups": {"w": {"count": 2, "command": ["true"]}}}
CANONICAL = str(parse_constraint("{a, {app/b/c, 0, 1} & {d, 1, inf}, node} | {a, {e, 0, 0}, rack}"))


def submit(api: httpx.Client, app: dict[str, Any] = WEB) -> None:
    assert api.post("/v1/apps", json={"apps": [app]}).status_code == 202


class Busy(FakeControl):
    """Whoever waits for a turn waits for long."""

    async def turn(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.mark.parametrize("batch", [False, True])
def test_no_request_overtakes_one_that_takes_several_turns_but_for_a_task(batch: bool) -> None:
    control = Busy()
    other = {**WEB, "app": "task", "kind": "batch"}

    async def scenario() -> list[int]:
        api = httpx.ASGITransport(create_api(control, Tokens(admin=ADMIN, lookup=LOOKUP)))
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(
            transport=api, base_url="http://master", headers=headers
        ) as client:
            apps = [WEB, *({**WEB, "app": f"web{number}"} for number in range(3))]
            first = asyncio.create_task(client.post("/v1/apps", json={"apps": apps}))
            for _ in range(20):
                await asyncio.sleep(0)
            if batch:
                second = await client.post("/v1/apps", json={"apps": [other]})
            else:
                second = await client.delete("/v1/apps/web")
            return [(await first).status_code, second.status_code]

    assert asyncio.run(scenario()) == [202, 202]
    asked = [(what, given) for what, given, *_ in control.asked]
    services = ("submit", ["web", "web0", "web1", "web2"])
    assert asked == ([("submit", ["task"]), services] if batch else [services, ("remove", "web")])


@pytest.mark.parametrize(
    ("header", "path", "status"),
    [
        (None, "/v1/apps", 401),
        ("", "/v1/apps", 401),
        ("Bearer", "/v1/apps", 401),
        ("Bearer wrong", "/v1/apps", 401),
        (f"Bearer {ADMIN}x", "/v1/apps", 401),
        (f"Basic {ADMIN}", "/v1/apps", 401),
        (ADMIN, "/v1/apps", 401),
        (f"Bearer {LOOKUP}", "/v1/apps", 403),
        (f"Bearer {LOOKUP}", "/metrics", 403),
        (f"Bearer {LOOKUP}", "/v1/apps/web", 403),
        (f"Bearer {LOOKUP}", "/v1/apps/web/endpoints", 200),
        (f"bearer {ADMIN}", "/v1/apps/web/endpoints", 200),
        (f"Bearer {ADMIN}", "/v1/apps", 200),
        (None, "/healthz", 200),
    ],
)
def test_tokens(api: httpx.Client, header: str | None, path: str, status: int) -> None:
    submit(api)
    del api.headers["Authorization"]
    answer = api.get(path, headers=[] if header is None else [("Authorization", header)])
    assert answer.status_code == status
    if status >= 400:
        assert set(answer.json()) == {"error", "problems"}
    assert (answer.headers.get("WWW-Authenticate") == "Bearer") is (status == 401)


def test_nothing_changes_without_the_admin_token(api: httpx.Client, control: FakeControl) -> None:
    api.headers["Authorization"] = f"Bearer {LOOKUP}"
    assert api.post("/v1/apps", json={"apps": [WEB]}).status_code == 403
    assert api.delete("/v1/apps/web").status_code == 403
    assert control.asked == []


def test_an_empty_token_allows_nothing() -> None:
    assert Tokens(admin="", lookup="").right("") is None
    assert Tokens(admin="a", lookup="b").right("ä") is None
    assert Tokens(admin="a", lookup="b").right("a") is Right.ADMIN


def test_a_token_is_made_once_and_for_its_owner_only(tmp_path: Any) -> None:
    file = tmp_path / "keys" / "admin.token"
    token = load_or_create(file)
    assert load_or_create(file) == token
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    with pytest.raises(InputError, match="0600"):
        load_or_create(file)
    file.chmod(0o600)
    file.write_text("short\n")
    with pytest.raises(InputError, match="32"):
        load_or_create(file)


def oversized() -> Iterator[bytes]:
    yield b'{"apps": ["'
    for _ in range(MAX_BODY // 2**20 + 1):
        yield b"x" * 2**20


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/apps", b"{", "the request's body"),
        ("/v1/apps", b"\xff\xfe", "the request's body"),
        ("/v1/apps", b'{"apps": ["\xff"]}', "the request's body"),
        ("/v1/apps", b"[" * 100_000, "the request's body"),
        ("/v1/apps", b"", "apps"),
        ("/v1/apps", b'{"apps": []}', "length >= 1"),
        ("/v1/apps", b'{"apps": {}}', "array"),
        ("/v1/apps", b'{"apps": [{"app": "a"}], "updaet": true}', "updaet"),
        ("/v1/plan", b'{"apps": [{}], "mode": "odd"}', "odd"),
        ("/v1/plan", b'{"apps": [{}], "time_limit": 0}', "time_limit"),
        ("/v1/constraints", b'{"constraints": ["{a, {b, 0"]}', "constraints"),
        ("/v1/constraints", b'{"constraint": "{a, {b, 0, 1}, node}"}', "constraint"),
        ("/v1/apps/web/suspend", b'{"containers": "all"}', "containers"),
        ("/v1/apps/web/resume", b'{"groups": ["w"]}', "groups"),
    ],
)
def test_bad_bodies(
    api: httpx.Client, control: FakeControl, path: str, body: bytes, told: str
) -> None:
    answer = api.post(path, content=body)
    assert answer.status_code == 422
    problems = answer.json()["problems"]
    assert problems and all(
        set(p) == {"file", "line", "column", "field", "message"} for p in problems
    )
    assert told in answer.json()["error"]
    assert control.asked == []


def test_a_body_too_long_is_refused_before_its_end(api: httpx.Client) -> None:
    answer = api.post("/v1/apps", content=oversized())
    assert answer.status_code == 422
    assert str(MAX_BODY) in answer.json()["error"]


def test_every_problem_of_every_app_with_its_path(api: httpx.Client, control: FakeControl) -> None:
    bad = [WEB, {"app": "x", "kind": "servcie", "groups": {"w": {"cuont": 1}}}, {"app": "y"}]
    answer = api.post("/v1/apps", json={"apps": bad})
    assert answer.status_code == 422
    fields = [problem["field"] for problem in answer.json()["problems"]]
    assert fields == ["apps[1].groups.w.cuont", "apps[1].kind", "apps[2]"]
    assert control.asked == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/events?since=-1", "since"),
        ("/v1/events?since=x", "since"),
        ("/v1/events?limit=0", "limit"),
        ("/v1/events?limit=10001", "limit"),
        ("/v1/events/stream?since=1.5", "since"),
        ("/v1/logs/web/w/0?limit=99999999", "limit"),
        ("/v1/logs/web/w/0?offset=end", "offset"),
        ("/v1/explain", "container"),
    ],
)
def test_bad_parameters(api: httpx.Client, path: str, field: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["problems"]] == [field]


@pytest.mark.parametrize("grace", ["-1", "nan", "inf", "soon", "86401"])
def test_bad_grace(api: httpx.Client, control: FakeControl, grace: str) -> None:
    submit(api)
    assert api.delete("/v1/apps/web", params={"grace": grace}).status_code == 422
    assert control.asked == [("submit", ["web"], False)]


def test_what_is_asked_reaches_the_master(api: httpx.Client, control: FakeControl) -> None:
    assert api.post("/v1/apps", json={"apps": [WEB], "update": True}).status_code == 202
    assert api.post("/v1/apps/web/suspend", json={"group": "w"}).status_code == 202
    assert api.post("/v1/apps/web/resume", json={"containers": ["web/w/1"]}).status_code == 202
    assert api.post("/v1/apps/web/suspend").status_code == 202
    assert api.delete("/v1/apps/web").status_code == 202
    assert api.delete("/v1/apps/web?grace=2.5").status_code == 202
    assert control.asked == [
        ("submit", ["web"], True),
        ("suspend", "web", None, "w"),
        ("resume", "web", ["web/w/1"], None),
        ("suspend", "web", None, None),
        ("remove", "web", 10.0),
        ("remove", "web", 2.5),
    ]


@pytest.mark.parametrize("name", [CANONICAL, "apart", "a/b c?d#e%2F", "schräg"])
def test_a_rule_is_removed_by_name_or_canonical_text(api: httpx.Client, name: str) -> None:
    rule = (
        {"constraint": CANONICAL} if name == CANONICAL else {"constraint": CANONICAL, "name": name}
    )
    added = api.post("/v1/constraints", json={"constraints": [rule]})
    if added.status_code == 422:
        pytest.fail(added.text)
    assert [c["name"] for c in api.get("/v1/constraints").json()["constraints"]] == [name]
    assert api.delete(f"/v1/constraints/{quote(name, safe='')}").json() == {"constraint": name}
    assert api.get("/v1/constraints").json() == {"constraints": []}
    assert api.delete(f"/v1/constraints/{quote(name, safe='')}").status_code == 404


def test_stories_and_logs_of_names_with_slashes(api: httpx.Client, control: FakeControl) -> None:
    control.output["web/w/0"] = ["hello\n"]
    for path in ("/v1/story/web/w/0", "/v1/story/web%2Fw%2F0"):
        assert api.get(path).json()["story"][0]["text"] == "web/w/0 came to be"
    assert api.get("/v1/logs/web/w/0?offset=-3").json()["data"] == "lo\n"


def test_refusals_and_faults(api: httpx.Client, control: FakeControl) -> None:
    submit(api)
    for path, status in (("/v1/apps/none", 404), ("/v1/nothing", 404), ("/v1/jobs/none", 404)):
        assert api.get(path).status_code == status
        assert set(api.get(path).json()) == {"error", "problems"}
    assert api.put("/v1/apps").status_code == 405
    assert api.post("/v1/apps", json={"apps": [WEB]}).status_code == 409
    control.fail = ControlError(503, "later")
    assert api.get("/v1/apps/web").json() == {"error": "later", "problems": []}
    control.fail = ValueError("a secret detail")
    fault = api.get("/v1/apps/web")
    assert fault.status_code == 500
    assert "secret" not in json.dumps(fault.json())
