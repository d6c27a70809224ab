"""Events as a page and as a stream that can be resumed."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx

from colchis_master.api import application
from tests.unit.api.fake_control import FakeControl


def messages(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Server-sent events; a comment comes under the key ``""``."""
    message: dict[str, str] = {}
    for line in lines:
        if line:
            key, _, value = line.partition(":")
            message[key] = value.strip()
        elif message:
            yield message
            message = {}


def test_pages(api: httpx.Client, control: FakeControl) -> None:
    for number in range(5):
        control.emit("tick", f"{number}")
    page = api.get("/v1/events?since=1&limit=2").json()
    assert [event["seq"] for event in page["events"]] == [1, 2]
    assert page["next"] == 3
    assert api.get("/v1/events?since=9").json() == {"events": [], "next": 9}


def test_a_stream_begins_where_told_and_goes_on(api: httpx.Client, control: FakeControl) -> None:
    for number in range(3):
        control.emit("tick", f"line\n{number}")
    with api.stream("GET", "/v1/events/stream?since=1") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = messages(answer.iter_lines())
        found = list(islice(stream, 2))
        control.emit("tock", "later", node="n1")
        found += islice(stream, 1)
    assert [message["id"] for message in found] == ["1", "2", "3"]
    assert [message["event"] for message in found] == ["tick", "tick", "tock"]
    data: list[dict[str, Any]] = [json.loads(message["data"]) for message in found]
    assert data == control.happened[1:]


def test_a_stream_resumes_after_the_last_event_seen(
    api: httpx.Client, control: FakeControl
) -> None:
    for number in range(4):
        control.emit("tick", f"{number}")
    headers = {"Last-Event-ID": "1"}
    with api.stream("GET", "/v1/events/stream?since=0", headers=headers) as answer:
        assert [m["id"] for m in islice(messages(answer.iter_lines()), 2)] == ["2", "3"]
    headers = {"Last-Event-ID": "what"}
    with api.stream("GET", "/v1/events/stream?since=3", headers=headers) as answer:
        assert [m["id"] for m in islice(messages(answer.iter_lines()), 1)] == ["3"]


def test_a_silent_stream_says_that_it_is_there(
    api: httpx.Client, control: FakeControl, monkeypatch: Any
) -> None:
    monkeypatch.setattr(application, "KEEP_ALIVE", 0.05)
    with api.stream("GET", "/v1/events/stream") as answer:
        stream = messages(answer.iter_lines())
        assert next(stream) == {"": "still here"}
        control.emit("tick", "now")
        assert next(message for message in stream if "id" in message)["id"] == "0"
