"""Reading requests: bodies and parameters checked before they are used."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request

from colchis.errors import InputError

MAX_BODY = 16 * 2**20
"""Bytes; a longer body is refused before it is read to its end."""

Body = TypeVar("Body")


class Submission(Struct, forbid_unknown_fields=True):
    apps: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    update: bool = False


class Members(Struct, forbid_unknown_fields=True):
    containers: list[str] | None = None
    group: str | None = None


class Constraints(Struct, forbid_unknown_fields=True):
    constraints: Annotated[list[Any], Meta(min_length=1)]


class PlanRequest(Struct, forbid_unknown_fields=True):
    apps: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    algorithm: str = "ilp"
    mode: Literal["ordered", "weighted"] = "ordered"
    time_limit: Annotated[float, Meta(gt=0, le=600)] = 10.0


class Rebalancing(Struct, forbid_unknown_fields=True):
    max_moves: Annotated[int, Meta(ge=1, le=10_000)] = 10
    plan: bool = False


async def read_body(request: Request, kind: type[Body]) -> Body:
    """The body as ``kind``. Raises InputError where it is not."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise InputError.of(f"a body of more than {MAX_BODY} bytes")
    try:
        return msgspec.json.decode(bytes(data) or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError.of(f"the request's body: {error}") from None


def number(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number among the query's parameters. Raises InputError out of its bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InputError.of(f"{text!r} is no whole number from {low} to {high}", field=name)
    return value


def seconds(request: Request, name: str, default: float) -> float:
    """A duration among the query's parameters. Raises InputError where it is none."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise InputError.of(f"{text!r} is no number of seconds from 0 to 86400", field=name)
    return value
