"""JSON schemas (draft 2020-12) of the files that Colchis reads, for editors and checkers.

They say what can be said of one value at a time; the readers know more (names that must differ,
nodes that must exist, constraints that must parse).
"""

from collections.abc import Callable
from typing import Any, Final

from colchis.errors import InputError
from colchis.model.app import Kind, Restart
from colchis.specs.apps import MAX_CORES, MAX_COUNT, MAX_PRIORITY, PRIORITIES
from colchis.specs.cursor import IDENTIFIER, MAX_CPUS, MAX_NAME
from colchis.specs.resources import MAX_EXTRA
from colchis.specs.rules import MAX_BOUND

Schema = dict[str, Any]

_NAME: Final[Schema] = {
    "type": "string",
    "pattern": f"^{IDENTIFIER.pattern}$",
    "maxLength": MAX_NAME,
}
_WORD: Final[Schema] = {
    "type": "string",
    "pattern": "^[A-Za-z0-9_](?:[A-Za-z0-9_.:-]*[A-Za-z0-9_])?$",
    "maxLength": MAX_NAME,
}
_CPUS: Final[Schema] = {
    "description": "Cores, to three decimals.",
    "type": ["number", "string"],
    "pattern": r"^\s*[0-9.]+\s*$",
    "minimum": 0,
    "maximum": MAX_CPUS,
}
_MEMORY: Final[Schema] = {
    "description": "Bytes, or a number with a unit: 512MiB, 2GiB.",
    "type": ["number", "string"],
    "pattern": r"^\s*\d+(\.\d+)?\s*([kKmMgGtT]([iI]?[bB])?|[bB])?\s*$",
    "minimum": 0,
}
_EXTRA: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": MAX_EXTRA}
_TAGS: Final[Schema] = {"type": "array", "items": _WORD}
_LITERAL: Final[Schema] = {"type": ["string", "number"]}
_ENV: Final[Schema] = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "additionalProperties": _LITERAL,
}
_DURATION: Final[Schema] = {
    "description": "Seconds, or 90s, 30m, 2h, 1d.",
    "type": ["number", "string"],
    "exclusiveMinimum": 0,
    "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$",
}
_PRIORITY: Final[Schema] = {
    "oneOf": [
        {"enum": list(PRIORITIES)},
        {"type": "integer", "minimum": 0, "maximum": MAX_PRIORITY},
    ]
}


def _nullable(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


def _object(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    """A mapping with these keys and no others; optional ones may be null."""
    properties = {**required, **{k: _nullable(v) for k, v in (optional or {}).items()}}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


_RESOURCES: Final[Schema] = _object({}, {"cpus": _CPUS, "memory": _MEMORY}) | {
    "additionalProperties": _EXTRA
}
_EXPRESSION: Final[Schema] = {
    "description": "Tags that one container has all of: a list, or text such as 'hb & mem'.",
    "oneOf": [
        {"type": "string", "minLength": 1},
        _list({"type": "string", "minLength": 1}, minItems=1),
    ],
}
_BOUND: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": MAX_BOUND}
_TARGET: Final[Schema] = _object(
    {"tags": _EXPRESSION}, {"min": _BOUND, "max": {"oneOf": [_BOUND, {"enum": ["inf", "∞"]}]}}
)
_ATOM: Final[Schema] = {
    "subject": _EXPRESSION,
    "targets": {"oneOf": [_TARGET, _list(_TARGET, minItems=1)]},
    "group": _WORD,
}
_TEXT: Final[Schema] = {
    "description": "{subject, {tags, minimum, maximum}, group}, joined by & and |.",
    "type": "string",
    "pattern": r"^\s*\{",
}
_CONSTRAINT: Final[Schema] = {"$ref": "#/$defs/constraint"}
_PARTS: Final[Schema] = _list(_CONSTRAINT, minItems=1)
_PROPERTIES: Final[Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 200},
    "weight": {"type": "number", "minimum": 0, "maximum": 1e9},
    "hard": {"type": "boolean"},
    "expires": _DURATION,
}
_DEFS: Final[Schema] = {
    "constraint": {
        "oneOf": [_TEXT, _object(_ATOM), _object({"any": _PARTS}), _object({"all": _PARTS})]
    },
    "rule": {
        "oneOf": [
            _TEXT,
            _object({"constraint": _CONSTRAINT}, _PROPERTIES),
            _object(_ATOM, _PROPERTIES),
            _object({"any": _PARTS}, _PROPERTIES),
            _object({"all": _PARTS}, _PROPERTIES),
        ]
    },
}
_RULES: Final[Schema] = _list({"$ref": "#/$defs/rule"})


def _app() -> Schema:
    count = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
    group = _object(
        {},
        {
            "count": count,
            "tags": _TAGS,
            "resources": _RESOURCES,
            "command": _list(_LITERAL, minItems=1),
            "env": _ENV,
            "restart": {"enum": [member.value for member in Restart]},
            "jobs": {"type": "boolean"},
        },
    )
    executors = _object(
        {
            "count": count,
            "cores": {"type": "integer", "minimum": 1, "maximum": MAX_CORES},
            "memory": _MEMORY,
        },
        {"tags": _TAGS, "env": _ENV},
    )
    groups = {
        "type": "object",
        "propertyNames": _NAME,
        "additionalProperties": group,
        "minProperties": 1,
    }
    return {
        "$defs": _DEFS,
        **_object(
            {"app": _NAME},
            {
                "kind": {"enum": [member.value for member in Kind]},
                "groups": groups,
                "executors": executors,
                "constraints": _RULES,
                "priority": _PRIORITY,
            },
            anyOf=[
                {"required": [key], "properties": {key: {"type": "object"}}}
                for key in ("groups", "executors")
            ],
        ),
    }


def _cluster() -> Schema:
    one = {"oneOf": [_WORD, {"type": "number"}]}
    memberships = {
        "type": "object",
        "propertyNames": {**_WORD, "not": {"enum": ["node", "cluster"]}},
        "additionalProperties": {"oneOf": [*one["oneOf"], _list(one, uniqueItems=True)]},
    }
    attributes = {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }
    node = _object(
        {"name": _NAME, "cpus": _CPUS, "memory": _MEMORY},
        {"groups": memberships, "attributes": attributes, "schedulable": {"type": "boolean"}},
    ) | {"additionalProperties": _EXTRA}
    identifier = IDENTIFIER.pattern
    container = _object(
        {
            "container": {
                "type": "string",
                "pattern": f"^{identifier}/{identifier}/(0|[1-9][0-9]*)$",
            },
            "node": _NAME,
        },
        {"tags": _TAGS, "resources": _RESOURCES},
    )
    return {
        "$defs": _DEFS,
        **_object(
            {"nodes": _list(node)},
            {
                "containers": _list(container),
                "apps": _list(_object({"app": _NAME}, {"constraints": _RULES})),
                "constraints": _RULES,
            },
        ),
    }


def _scenario() -> Schema:
    name = {"type": "string", "pattern": r"\S"}
    seconds = {"type": "number", "minimum": 0}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    stage = _object(
        {
            "stage": name,
            "tasks": {"type": "integer", "minimum": 1},
            "duration": {"oneOf": [seconds, _list(seconds)]},
        },
        {
            "memory": _MEMORY,
            "prefer": {"oneOf": [name, _list(_nullable(name))]},
            "after": {"oneOf": [name, _list(name)]},
        },
    )
    job = _object(
        {"job": name, "stages": _list(stage, minItems=1)},
        {"at": seconds, "priority": _PRIORITY, "weight": {"type": "number", "exclusiveMinimum": 0}},
    )
    executor = _object(
        {"name": name, "cores": {"type": "integer", "minimum": 1}},
        {"node": name, "memory": _MEMORY},
    )
    heartbeat = _object(
        {"executor": name}, {"at": seconds, "spilled": _MEMORY, "memory": share, "gc": share}
    )
    fault = _object({"executor": name, "event": {"enum": ["lost", "joined"]}}, {"at": seconds})
    options = _object(
        {},
        {
            "suspend_latency": seconds,
            "max_suspensions": {"type": "integer", "minimum": 1},
            "protect": seconds,
            "protect_per_wait": seconds,
            "max_suspended_memory": _MEMORY,
            "max_wait": {"type": "number", "exclusiveMinimum": 0},
            "nearly_done": share,
            "finish_within": seconds,
            "restart_after": seconds,
            "restart_below": share,
            "static_share": share,
            "window": {"type": "number", "exclusiveMinimum": 0},
        },
    )
    return _object(
        {"executors": _list(executor, minItems=1)},
        {
            "policy": {"type": "string"},
            "heartbeats": _list(heartbeat),
            "jobs": _list(job),
            "faults": _list(fault),
            "options": options,
        },
    )


SCHEMAS: Final[dict[str, Callable[[], Schema]]] = {
    "app": _app,
    "cluster": _cluster,
    "scenario": _scenario,
}
_TITLES: Final = {
    "app": "Colchis app spec",
    "cluster": "Colchis cluster snapshot",
    "scenario": "Colchis simulation scenario",
}


def schema(kind: str) -> Schema:
    """The JSON schema of an app spec, a cluster snapshot or a scenario. Raises InputError."""
    if kind not in SCHEMAS:
        raise InputError.of(f"{kind!r} has no schema; choose from {', '.join(SCHEMAS)}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _TITLES[kind],
        **SCHEMAS[kind](),
    }
