"""The endpoints, and what guards them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from colchis.errors import InputError, Problem
from colchis.model.app import AppSpec, Kind
from colchis.specs import app_from_dict
from colchis_master.api import openapi
from colchis_master.api.control import Control, ControlError
from colchis_master.api.requests import (
    Constraints,
    Members,
    PlanRequest,
    Rebalancing,
    Submission,
    number,
    read_body,
    seconds,
)
from colchis_master.api.tokens import Right, Tokens

Handler = Callable[[Request], Awaitable[Response]]

KEEP_ALIVE = 15.0
"""Seconds of silence after which a stream of events carries a comment."""


class Json(Response):
    """Encoded by msgspec: a page of events would hold up the master's loop for ten times as long
    with the standard library's encoder."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return msgspec.json.encode(content)


def create_api(control: Control, tokens: Tokens) -> Starlette:
    """The API of this master as an ASGI application."""
    api = _Api(control, tokens)
    return Starlette(
        routes=api.routes(),
        exception_handlers={
            InputError: _bad_input,
            ControlError: _not_possible,
            HTTPException: _http_error,
            Exception: _unforeseen,
        },
    )


class _Api:
    def __init__(self, control: Control, tokens: Tokens) -> None:
        self._control = control
        self._tokens = tokens
        self._in_order = asyncio.Lock()
        """Held by requests that may take several turns, so that none overtakes another."""

    def routes(self) -> list[Route]:
        admin = self._guarded(Right.ADMIN)
        lookup = self._guarded(Right.LOOKUP)
        return [
            Route("/healthz", _healthy),
            Route("/metrics", admin(self._metrics)),
            Route("/v1/openapi.json", admin(self._openapi)),
            Route("/v1/apps", admin(self._apps)),
            Route("/v1/apps", admin(self._submit), methods=["POST"]),
            Route("/v1/apps/{app}", admin(self._app)),
            Route("/v1/apps/{app}", admin(self._remove), methods=["DELETE"]),
            Route("/v1/apps/{app}/suspend", admin(self._suspend), methods=["POST"]),
            Route("/v1/apps/{app}/resume", admin(self._resume), methods=["POST"]),
            Route("/v1/apps/{app}/endpoints", lookup(self._endpoints)),
            Route("/v1/explain", admin(self._explain)),
            Route("/v1/plan", admin(self._plan), methods=["POST"]),
            Route("/v1/rebalance", admin(self._rebalance), methods=["POST"]),
            Route("/v1/nodes", admin(self._nodes)),
            Route("/v1/nodes/{node}/drain", admin(self._drain), methods=["POST"]),
            Route("/v1/nodes/{node}/undrain", admin(self._undrain), methods=["POST"]),
            Route("/v1/constraints", admin(self._constraints)),
            Route("/v1/constraints", admin(self._add_constraints), methods=["POST"]),
            Route(
                "/v1/constraints/{name:path}", admin(self._remove_constraint), methods=["DELETE"]
            ),
            Route("/v1/violations", admin(self._violations)),
            Route("/v1/snapshot", admin(self._snapshot)),
            Route("/v1/events", admin(self._events)),
            Route("/v1/events/stream", admin(self._stream)),
            Route("/v1/logs/{app}/{group}/{index}", admin(self._logs)),
            Route("/v1/status", admin(self._status)),
            Route("/v1/story/{ident:path}", admin(self._story)),
            Route("/v1/jobs", admin(self._jobs)),
            Route("/v1/jobs/{job}", admin(self._job)),
            Route("/v1/jobs/{job}/tasks", admin(self._job_tasks)),
            Route("/v1/jobs/{job}/cancel", admin(self._cancel_job), methods=["POST"]),
        ]

    def _guarded(self, needed: Right) -> Callable[[Handler], Handler]:
        def guard(handler: Handler) -> Handler:
            async def guarded(request: Request) -> Response:
                scheme, _, token = request.headers.get("authorization", "").partition(" ")
                right = self._tokens.right(token) if scheme.lower() == "bearer" else None
                if right is None:
                    raise HTTPException(
                        401, "a valid token is needed", {"WWW-Authenticate": "Bearer"}
                    )
                if right < needed:
                    raise HTTPException(403, "this token does not allow that")
                return await handler(request)

            return guarded

        return guard

    async def _metrics(self, _: Request) -> Response:
        return Response(self._control.metrics(), media_type="text/plain; version=0.0.4")

    async def _openapi(self, _: Request) -> Response:
        return Json(openapi.describe())

    async def _apps(self, _: Request) -> Response:
        return Json(self._control.apps())

    async def _submit(self, request: Request) -> Response:
        body = await read_body(request, Submission)
        if len(body.apps) == 1 and _is_batch(body.apps[0]):
            return await self._submitted(body)
        async with self._in_order:
            return await self._submitted(body)

    async def _submitted(self, body: Submission) -> Response:
        answer = await self._control.submit(await self._specs(body.apps), update=body.update)
        return Json(answer, 202)

    async def _specs(self, apps: list[dict[str, Any]]) -> list[AppSpec]:
        """The apps of a request, or every problem of all of them."""
        problems: list[Problem] = []
        specs: list[AppSpec] = []
        for index, app in enumerate(apps):
            if index or not _is_batch(app):
                # A task that has just arrived need not wait for these to be read.
                await self._control.turn()
            try:
                specs.append(app_from_dict(app, field=f"apps[{index}]"))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        return specs

    async def _app(self, request: Request) -> Response:
        return Json(self._control.app(request.path_params["app"]))

    async def _remove(self, request: Request) -> Response:
        grace = seconds(request, "grace", 10.0)
        async with self._in_order:
            return Json(await self._control.remove(request.path_params["app"], grace), 202)

    async def _suspend(self, request: Request) -> Response:
        meant = await read_body(request, Members)
        app = request.path_params["app"]
        answer = await self._control.suspend(app, meant.containers, meant.group)
        return Json(answer, 202)

    async def _resume(self, request: Request) -> Response:
        meant = await read_body(request, Members)
        app = request.path_params["app"]
        return Json(await self._control.resume(app, meant.containers, meant.group), 202)

    async def _endpoints(self, request: Request) -> Response:
        return Json(self._control.endpoints(request.path_params["app"]))

    async def _explain(self, request: Request) -> Response:
        container = request.query_params.get("container")
        if not container:
            raise InputError.of("which container? give app/group/index", field="container")
        return Json(await self._control.explain(container))

    async def _plan(self, request: Request) -> Response:
        body = await read_body(request, PlanRequest)
        settings = {
            "algorithm": body.algorithm,
            "mode": body.mode,
            "time_limit": body.time_limit,
        }
        return Json(await self._control.plan(await self._specs(body.apps), settings))

    async def _rebalance(self, request: Request) -> Response:
        body = await read_body(request, Rebalancing)
        return Json(await self._control.rebalance(body.max_moves, plan=body.plan))

    async def _nodes(self, _: Request) -> Response:
        return Json(self._control.nodes())

    async def _drain(self, request: Request) -> Response:
        async with self._in_order:
            return Json(await self._control.drain(request.path_params["node"]), 202)

    async def _undrain(self, request: Request) -> Response:
        async with self._in_order:
            return Json(await self._control.undrain(request.path_params["node"]), 202)

    async def _constraints(self, _: Request) -> Response:
        return Json(self._control.constraints())

    async def _add_constraints(self, request: Request) -> Response:
        body = await read_body(request, Constraints)
        async with self._in_order:
            return Json(await self._control.add_rules(body.constraints), 201)

    async def _remove_constraint(self, request: Request) -> Response:
        async with self._in_order:
            return Json(await self._control.remove_rule(request.path_params["name"]))

    async def _violations(self, _: Request) -> Response:
        return Json(self._control.violations())

    async def _snapshot(self, _: Request) -> Response:
        return Json(self._control.snapshot())

    async def _events(self, request: Request) -> Response:
        since = number(request, "since", 0, 0, 2**62)
        return Json(self._control.events(since, number(request, "limit", 1000, 1, 10_000)))

    async def _stream(self, request: Request) -> Response:
        since = number(request, "since", 0, 0, 2**62)
        last = request.headers.get("last-event-id", "")
        if last.isdecimal():
            since = int(last) + 1
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(self._follow(since), 200, headers, "text/event-stream")

    async def _follow(self, since: int) -> AsyncIterator[str]:
        while True:
            try:
                await asyncio.wait_for(self._control.wait_for_events(since), KEEP_ALIVE)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            page: dict[str, Any] = self._control.events(since, 1000)
            for event in page["events"]:
                data = msgspec.json.encode(event).decode()
                yield f"id: {event['seq']}\nevent: {event['event']}\ndata: {data}\n\n"
            since = page["next"]

    async def _logs(self, request: Request) -> Response:
        container = "/".join(request.path_params[part] for part in ("app", "group", "index"))
        offset = number(request, "offset", 0, -(2**62), 2**62)
        limit = number(request, "limit", 2**18, 1, 2**20)
        return Json(await self._control.read_log(container, offset, limit))

    async def _status(self, _: Request) -> Response:
        return Json(self._control.status())

    async def _story(self, request: Request) -> Response:
        return Json(await self._control.story(request.path_params["ident"]))

    async def _jobs(self, _: Request) -> Response:
        return Json(await self._control.jobs())

    async def _job(self, request: Request) -> Response:
        return Json(await self._control.job(request.path_params["job"]))

    async def _job_tasks(self, request: Request) -> Response:
        return Json(await self._control.job_tasks(request.path_params["job"]))

    async def _cancel_job(self, request: Request) -> Response:
        return Json(await self._control.cancel_job(request.path_params["job"]))


def _is_batch(app: dict[str, Any]) -> bool:
    return bool(app.get("kind") == Kind.BATCH.value)


async def _healthy(_: Request) -> Response:
    return Json({"status": "ok"})


async def _bad_input(_: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    problems = [
        {
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "field": problem.field,
            "message": problem.message,
        }
        for problem in error.problems
    ]
    return Json({"error": str(error), "problems": problems}, 422)


async def _not_possible(_: Request, error: Exception) -> Response:
    assert isinstance(error, ControlError)
    return Json({"error": str(error), "problems": []}, error.status)


async def _unforeseen(_: Request, error: Exception) -> Response:
    """A fault of the master; the server logs ``error``, the asker learns only that it is there."""
    return Json({"error": "a fault in the master; see its log", "problems": []}, 500)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = {"error": error.detail, "problems": []}
    return Json(body, error.status_code, headers=error.headers)
