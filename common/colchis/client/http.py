"""The master's HTTP API as Python calls."""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from colchis.client.connection import Connection
from colchis.errors import ColchisError, InputError, Problem

Json = dict[str, Any]

SILENCE = 60.0
"""Seconds without a sign of life after which a stream of events is given up; the master gives one
every 15 seconds."""


IDLE = 5.0
"""Seconds after which an unused connection is closed. The master waits longer, so that it never
closes one on which a request is just on its way."""


class Unreachable(ColchisError):  # noqa: N818  # said of a master, as in "host unreachable"
    """No answer from the master."""


class Refusal(ColchisError):  # noqa: N818  # what the master gives is a refusal, not an error
    """The master understood and said no."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Client:
    """One method for each endpoint; answers are the API's JSON.

    All methods raise Unreachable, Refusal, and InputError where the master found the input wrong.
    """

    def __init__(self, connection: Connection, timeout: float = 30.0) -> None:
        self.connection = connection
        headers = {"Authorization": f"Bearer {connection.token}"}
        try:
            self._http = httpx.Client(
                base_url=connection.api,
                headers=headers,
                timeout=timeout,
                trust_env=False,
                limits=httpx.Limits(keepalive_expiry=IDLE),
            )
        except httpx.InvalidURL as error:
            raise InputError.of(f"the connection's api is no URL: {error}") from None

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(self, apps: Sequence[Json], *, update: bool = False) -> Json:
        return self._post("/v1/apps", {"apps": list(apps), "update": update})

    def apps(self) -> list[Json]:
        return list(self._get("/v1/apps")["apps"])

    def app(self, name: str) -> Json:
        return self._get(f"/v1/apps/{_part(name)}")

    def stop(self, name: str, grace: float | None = None) -> Json:
        given = {} if grace is None else {"grace": str(grace)}
        return self._call("DELETE", f"/v1/apps/{_part(name)}", params=given)

    def suspend(self, name: str, containers: Sequence[str] | None, group: str | None) -> Json:
        body = {"containers": containers, "group": group}
        return self._post(f"/v1/apps/{_part(name)}/suspend", body)

    def resume(self, name: str, containers: Sequence[str] | None, group: str | None) -> Json:
        body = {"containers": containers, "group": group}
        return self._post(f"/v1/apps/{_part(name)}/resume", body)

    def endpoints(self, name: str) -> list[Json]:
        return list(self._get(f"/v1/apps/{_part(name)}/endpoints")["endpoints"])

    def explain(self, container: str) -> Json:
        return self._get("/v1/explain", container=container)

    def plan(self, apps: Sequence[Json], settings: Mapping[str, Any]) -> Json:
        return self._post("/v1/plan", {"apps": list(apps), **settings})

    def rebalance(self, max_moves: int, *, plan: bool) -> Json:
        return self._post("/v1/rebalance", {"max_moves": max_moves, "plan": plan})

    def nodes(self) -> list[Json]:
        return list(self._get("/v1/nodes")["nodes"])

    def drain(self, node: str) -> Json:
        return self._post(f"/v1/nodes/{_part(node)}/drain", {})

    def undrain(self, node: str) -> Json:
        return self._post(f"/v1/nodes/{_part(node)}/undrain", {})

    def constraints(self) -> list[Json]:
        return list(self._get("/v1/constraints")["constraints"])

    def add_constraints(self, constraints: Sequence[Any]) -> Json:
        return self._post("/v1/constraints", {"constraints": list(constraints)})

    def remove_constraint(self, name: str) -> Json:
        return self._call("DELETE", f"/v1/constraints/{_part(name)}")

    def violations(self) -> list[Json]:
        return list(self._get("/v1/violations")["violations"])

    def snapshot(self) -> Json:
        return self._get("/v1/snapshot")

    def status(self) -> Json:
        return self._get("/v1/status")

    def story(self, ident: str) -> list[Json]:
        return list(self._get(f"/v1/story/{quote(ident, safe='/')}")["story"])

    def events(self, since: int = 0, limit: int = 1000) -> Json:
        return self._get("/v1/events", since=str(since), limit=str(limit))

    def follow_events(self, since: int) -> Iterator[Json]:
        """Events from ``since`` on, until the master is lost: then Unreachable is raised."""
        try:
            with self._http.stream(
                "GET", "/v1/events/stream", params={"since": str(since)}, timeout=SILENCE
            ) as answer:
                if answer.is_error:
                    answer.read()
                    self._raise(answer)
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        yield json.loads(line[5:])
        except httpx.HTTPError as error:
            raise Unreachable(f"lost the master at {self.connection.api}: {error}") from None
        raise Unreachable(f"the master at {self.connection.api} has ended the stream")

    def logs(self, container: str, offset: int, limit: int = 2**18) -> Json:
        path = f"/v1/logs/{quote(container, safe='/')}"
        return self._get(path, offset=str(offset), limit=str(limit))

    def jobs(self) -> list[Json]:
        return list(self._get("/v1/jobs")["jobs"])

    def job(self, job: str) -> Json:
        return self._get(f"/v1/jobs/{_part(job)}")

    def job_tasks(self, job: str) -> list[Json]:
        return list(self._get(f"/v1/jobs/{_part(job)}/tasks")["tasks"])

    def cancel_job(self, job: str) -> Json:
        return self._post(f"/v1/jobs/{_part(job)}/cancel", {})

    def _get(self, path: str, **params: str) -> Json:
        return self._call("GET", path, params=params)

    def _post(self, path: str, body: Any) -> Json:
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **given: Any) -> Json:
        try:
            answer = self._http.request(method, path, **given)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"no answer from the master at {self.connection.api}: {error}"
            ) from None
        if answer.is_error:
            self._raise(answer)
        try:
            found: Json = answer.json()
        except ValueError:
            raise Unreachable(f"what answers at {self.connection.api} is no master") from None
        return found

    def _raise(self, answer: httpx.Response) -> None:
        try:
            body = answer.json()
            problems = [
                Problem(p["file"], p["line"], p["column"], p["field"], p["message"])
                for p in body.get("problems", ())
            ]
            message = str(body["error"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Refusal(answer.status_code, f"the master answered {answer.status_code}") from None
        if problems:
            raise InputError(problems)
        if answer.status_code in (400, 422):
            raise InputError.of(message)
        raise Refusal(answer.status_code, message)


def _part(name: str) -> str:
    return quote(name, safe="")
