"""App specs: reading with every problem at its place, and writing in plain form."""

import re
from collections.abc import Mapping
from typing import Any

from colchis.model.app import AppSpec, GroupSpec, Kind, Restart
from colchis.model.cluster import ContainerId
from colchis.model.constraints import Rule
from colchis.model.parse import NAME
from colchis.model.resources import CPUS, MEMORY, Resources
from colchis.specs.cursor import MAX_NAME, Cursor, Report, shorten
from colchis.specs.resources import read_resources
from colchis.specs.rules import read_rules, rules_to_plain

EXECUTORS = "executors"
"""The group that ``executors: {count, cores, memory}`` stands for."""

PRIORITIES = {"stream": 1, "batch": 2}
MAX_COUNT = 100_000
MAX_CORES = 1024
MAX_PRIORITY = 1000
_APP = ("kind", "groups", EXECUTORS, "constraints", "priority")
_GROUP = ("count", "tags", "resources", "command", "env", "restart", "jobs")
_EXECUTORS = ("count", "cores", "memory")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_app(at: Cursor) -> AppSpec:
    """The app at this place; of use only if nothing was noted."""
    fields = at.fields("an app spec", ("app",), _APP)
    named, kind, priority = (fields.get(key) for key in ("app", "kind", "priority"))
    name = named.identifier("an app's name") if named else ""
    meant = kind.choice("a kind", Kind, Kind.SERVICE) if kind else Kind.SERVICE
    if priority and meant is Kind.SERVICE:
        priority.fail("only an app of kind batch has a priority")
    groups = _groups(fields.get("groups"), name)
    executors = fields.get(EXECUTORS)
    if executors:
        if any(group.name == EXECUTORS for group in groups):
            executors.fail("there is a group named executors as well; name it otherwise")
        groups += (_executors(executors, name),)
    elif not fields.get("groups") and isinstance(at.value.data, dict):
        at.fail("an app needs groups, or executors")
    constraints = fields.get("constraints")
    rules: tuple[Rule, ...] = read_rules(constraints, name) if constraints else ()
    return AppSpec(name, groups, meant, rules, _priority(priority) if priority else None)


def _groups(at: Cursor | None, app: str) -> tuple[GroupSpec, ...]:
    if at is None:
        return ()
    entries = at.entries("groups: a mapping from each group's name to the group")
    if not entries and isinstance(at.value.data, dict):
        at.fail("no groups; name at least one")
    return tuple(_group(name, entry, app) for name, entry in entries.items())


def _group(name: str, at: Cursor, app: str) -> GroupSpec:
    at.check_identifier(name, "a group's name")
    fields = at.fields("a group", (), _GROUP)
    count, resources, command, env, restart, jobs = (
        fields.get(key) for key in ("count", "resources", "command", "env", "restart", "jobs")
    )
    return GroupSpec(
        name,
        count.whole("a count", 0, MAX_COUNT) if count else 1,
        read_resources(resources) if resources else Resources(),
        read_tags(fields.get("tags"), ContainerId(app, name, 0)),
        _command(command) if command else None,
        _env(env) if env else {},
        restart.choice("restart", Restart, Restart.ON_FAILURE) if restart else Restart.ON_FAILURE,
        jobs=jobs.flag("jobs") if jobs else False,
    )


def _executors(at: Cursor, app: str) -> GroupSpec:
    fields = at.fields("executors", _EXECUTORS, ("tags", "env"))
    count, cores, memory = (fields.get(key) for key in _EXECUTORS)
    env = fields.get("env")
    amounts = {
        CPUS: 1000 * cores.whole("cores", 1, MAX_CORES, 1) if cores else 0,
        MEMORY: memory.memory() if memory else 0,
    }
    return GroupSpec(
        EXECUTORS,
        count.whole("a count", 0, MAX_COUNT) if count else 0,
        Resources.from_amounts(amounts),
        read_tags(fields.get("tags"), ContainerId(app, EXECUTORS, 0)),
        env=_env(env) if env else {},
        executor=True,
    )


def read_tags(at: Cursor | None, ident: ContainerId) -> frozenset[str]:
    """The tags of a container; ``app:`` and ``group:`` are only right as it carries them anyway."""
    if at is None:
        return frozenset()
    tags = set()
    for item in at.items("a list of tags"):
        tag = item.text("a tag")
        if not isinstance(item.value.data, str):
            continue
        if not NAME.fullmatch(tag) or len(tag) > MAX_NAME:
            item.fail(
                f"{shorten(tag)!r} cannot be a tag; use letters, digits, '_', '.', ':' and '-', "
                "with a letter, digit or '_' first and last"
            )
        elif tag.startswith(("app:", "group:")) and tag not in ident.tags():
            own = " and ".join(sorted(ident.tags()))
            item.fail(f"{tag!r} is not this container's; it carries {own} anyway")
        else:
            tags.add(tag)
    return frozenset(tags)


def _command(at: Cursor) -> tuple[str, ...]:
    if isinstance(at.value.data, str):
        at.fail("expected a list of words such as [python3, -m, http.server]; no shell reads it")
        return ()
    words = tuple(item.literal("a word of the command") for item in at.items("a list of words"))
    if isinstance(at.value.data, list) and not (words and words[0]):
        at.fail("the command is empty; its first word is the program")
    return words


def _env(at: Cursor) -> Mapping[str, str]:
    env = {}
    for name, item in at.entries("a mapping from variables to their values").items():
        if not _VARIABLE.fullmatch(name):
            item.fail(f"{shorten(name)!r} is no name of a variable; use letters, digits and '_'")
        env[name] = item.literal(f"the value of {shorten(name)}")
    return env


def _priority(at: Cursor) -> int | None:
    data = at.value.data
    if isinstance(data, str) and data in PRIORITIES:
        return PRIORITIES[data]
    if isinstance(data, str):
        at.expected(f"a priority: stream, batch, or a whole number from 0 to {MAX_PRIORITY}")
        return None
    return at.whole("a priority", 0, MAX_PRIORITY)


def app_from_dict(data: object, *, file: str = "", field: str = "") -> AppSpec:
    """The app that plain data (as JSON gives) describes.

    ``field`` is the path at which ``data`` stands in something larger. Raises InputError with
    everything that is wrong.
    """
    report = Report(file)
    app = read_app(Cursor.of(data, field, report))
    report.check()
    return app


def app_to_dict(app: AppSpec) -> dict[str, Any]:
    """The app in plain form; ``app_from_dict`` gives an equal app back."""
    plain: dict[str, Any] = {"app": app.name, "kind": app.kind.value}
    if app.priority is not None:
        plain["priority"] = app.priority
    groups = {group.name: _group_to_plain(group) for group in app.groups if not group.executor}
    if groups:
        plain["groups"] = groups
    for group in app.groups:
        if group.executor:
            plain[EXECUTORS] = _executors_to_plain(group)
    plain["constraints"] = rules_to_plain(app.rules)
    return plain


def _group_to_plain(group: GroupSpec) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "count": group.count,
        "tags": sorted(group.tags),
        "resources": group.resources.to_spec(),
    }
    if group.command is not None:
        plain["command"] = list(group.command)
    if group.env:
        plain["env"] = dict(group.env)
    plain["restart"] = group.restart.value
    if group.jobs:
        plain["jobs"] = True
    return plain


def _executors_to_plain(group: GroupSpec) -> dict[str, Any]:
    spec = group.resources.to_spec()
    plain: dict[str, Any] = {"count": group.count, "cores": spec[CPUS], "memory": spec[MEMORY]}
    if group.tags:
        plain["tags"] = sorted(group.tags)
    if group.env:
        plain["env"] = dict(group.env)
    return plain
