"""Specs and snapshots from files: all problems of all files at once."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from colchis.errors import InputError, Problem
from colchis.model.app import AppSpec
from colchis.model.cluster import Cluster
from colchis.specs.apps import read_app
from colchis.specs.clusters import read_snapshot
from colchis.specs.cursor import Cursor, Report
from colchis.specs.tree import Place, read_yaml

STDIN = "<stdin>"

SPEC_DIR = "${SPEC_DIR}"
"""In a command or a variable of an app read from a file: the absolute folder of that file."""


def read_apps(paths: Sequence[Path]) -> tuple[AppSpec, ...]:
    """The apps in these files, several YAML documents a file allowed; ``-`` is standard input.

    ``${SPEC_DIR}`` in commands and variables becomes the file's folder, of standard input the
    current one. Raises InputError with everything that is wrong in any of them.
    """
    apps: list[AppSpec] = []
    problems: list[Problem] = []
    seen: dict[str, Problem] = {}
    for path in paths:
        try:
            text, file = read_text(path)
        except InputError as error:
            problems += error.problems
            continue
        folder = Path.cwd() if file == STDIN else path.resolve().parent
        apps += (_located(app, str(folder)) for app in _apps(text, file, seen, problems))
    if problems:
        raise InputError(problems)
    return tuple(apps)


def _located(app: AppSpec, folder: str) -> AppSpec:
    """The app with ``${SPEC_DIR}`` replaced wherever it stands in a command or a variable."""
    groups = (
        replace(
            group,
            command=group.command and tuple(w.replace(SPEC_DIR, folder) for w in group.command),
            env={name: value.replace(SPEC_DIR, folder) for name, value in group.env.items()},
        )
        for group in app.groups
    )
    return replace(app, groups=tuple(groups))


def parse_apps(text: str, file: str = "") -> tuple[AppSpec, ...]:
    """The apps in ``text``; ``file`` names it in problems. Raises InputError."""
    problems: list[Problem] = []
    apps = _apps(text, file, {}, problems)
    if problems:
        raise InputError(problems)
    return tuple(apps)


def _apps(text: str, file: str, seen: dict[str, Problem], problems: list[Problem]) -> list[AppSpec]:
    """The apps in ``text``; ``seen`` has the place of each name in this and earlier files."""
    report = Report(file, problems)
    apps = []
    for at in documents_in(text, report):
        app = read_app(at)
        apps.append(app)
        named = at.get("app")
        if named is None or not app.name:
            continue
        if app.name in seen:
            first = seen[app.name]
            where = f"in {first.file}, line {first.line}"
            named.fail(f"an app named {app.name!r} stands before, {where}; names must differ")
        else:
            place = named.value.place
            seen[app.name] = Problem(file, place.line, place.column, "app", "")
    return apps


def read_cluster(path: Path) -> Cluster:
    """The snapshot in this file; ``-`` is standard input. Raises InputError."""
    return parse_cluster(*read_text(path))


def parse_cluster(text: str, file: str = "") -> Cluster:
    """The snapshot in ``text``; ``file`` names it in problems. Raises InputError."""
    report = Report(file)
    clusters: list[Cluster] = []
    for at in documents_in(text, report):
        if clusters:
            at.fail("a second document; a snapshot is one")
        clusters.append(read_snapshot(at))
    report.check()
    return clusters[0]


def documents_in(text: str, report: Report) -> list[Cursor]:
    """The YAML documents in ``text``; none only if that is noted as a problem."""
    before = len(report.problems)
    documents = read_yaml(text, report.file, report.problems)
    if not documents and len(report.problems) == before:
        report.add(Place(1, 1), "", "nothing stands here")
    return [Cursor(document, "", report) for document in documents]


def read_text(path: Path) -> tuple[str, str]:
    """The file's text and its name for problems. Raises InputError where it cannot be read."""
    file = STDIN if str(path) == "-" else str(path)
    try:
        raw = sys.stdin.buffer.read() if file == STDIN else path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise InputError([Problem(file, 0, 0, "", message)]) from None
    try:
        return raw.decode("utf-8-sig"), file
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
        message = f"the byte 0x{raw[error.start]:02x} is no UTF-8"
        raise InputError([Problem(file, line, column, "", message)]) from None
