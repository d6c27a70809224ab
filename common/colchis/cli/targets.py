"""Words of the command line that name things of a running cluster, and their completion."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from colchis.client.connection import read_connection
from colchis.client.http import Client
from colchis.errors import ColchisError, InputError
from colchis.model.cluster import ContainerId

COMPLETION_TIMEOUT = 2.0
"""Seconds that a shell waits for names at most."""


@dataclass(frozen=True, slots=True)
class Target:
    """All containers of an app, those of a group, or a single one."""

    app: str
    group: str | None = None
    container: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Target":
        """``app``, ``app/group`` or ``app/group/index``. Raises InputError."""
        parts = text.split("/")
        if len(parts) < 3 and all(parts):
            return cls(*parts)
        try:
            ident = ContainerId.parse(text)
        except ValueError:
            raise InputError.of(
                f"{text!r} names nothing; write app, app/group or app/group/index"
            ) from None
        return cls(ident.app, ident.group, str(ident))

    def __str__(self) -> str:
        return self.container or "/".join(part for part in (self.app, self.group) if part)

    def means(self, container: str) -> bool:
        """Whether a container of this app is meant."""
        if self.container is not None:
            return container == self.container
        return self.group is None or container.split("/")[1] == self.group

    def containers(self, master: Client) -> list[dict[str, Any]]:
        """Those meant, as the API shows them. Raises ColchisError where there are none."""
        found = [c for c in master.app(self.app)["containers"] if self.means(c["container"])]
        if not found:
            raise ColchisError(f"{self} has no containers")
        return found


def _names(
    look: Callable[[Client], Iterable[str]],
) -> Callable[[typer.Context, str], list[str]]:
    """A completion by what the master knows; without a master there is none."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        try:
            connection = read_connection(context.params.get("connection"))
            with Client(connection, timeout=COMPLETION_TIMEOUT) as master:
                return [name for name in look(master) if name.startswith(incomplete)]
        except ColchisError:
            return []

    return complete


def _apps(master: Client) -> Iterator[str]:
    return (app["app"] for app in master.apps())


def _containers(master: Client) -> Iterator[str]:
    for app in master.apps():
        yield from (container["container"] for container in app["containers"])


def _targets(master: Client) -> list[str]:
    whole = {
        container.rsplit("/", cut)[0] for container in _containers(master) for cut in (0, 1, 2)
    }
    return sorted({*_apps(master), *whole})


def _alone(what: str) -> Callable[[Any], Any]:
    """Checks that words can be names before anything is done about any of them."""

    def check(given: Any) -> Any:
        for name in [given] if isinstance(given, str) else given or ():
            if not name or "/" in name:
                raise InputError.of(f"{name!r} names no {what}; write the {what}'s name alone")
        return given

    return check


AppArguments = Annotated[
    list[str],
    typer.Argument(help="Names of apps.", autocompletion=_names(_apps), callback=_alone("app")),
]
MaybeAppArgument = Annotated[
    str | None,
    typer.Argument(
        help="An app; all where none is named.",
        autocompletion=_names(_apps),
        callback=_alone("app"),
    ),
]
TargetArgument = Annotated[
    str,
    typer.Argument(help="app, app/group or app/group/index.", autocompletion=_names(_targets)),
]
TargetArguments = Annotated[
    list[str],
    typer.Argument(help="Each app, app/group or app/group/index.", autocompletion=_names(_targets)),
]
NodeArgument = Annotated[
    str,
    typer.Argument(
        help="The node's name.",
        autocompletion=_names(lambda master: (node["node"] for node in master.nodes())),
        callback=_alone("node"),
    ),
]
RuleArgument = Annotated[
    str,
    typer.Argument(
        help="Its name, or its text where it has none.",
        autocompletion=_names(
            lambda master: (c["name"] for c in master.constraints() if c["app"] is None)
        ),
    ),
]
JobArgument = Annotated[
    str,
    typer.Argument(
        help="The job's name.",
        autocompletion=_names(lambda master: (job["job"] for job in master.jobs())),
        callback=_alone("job"),
    ),
]
ContainerOption = Annotated[
    str | None, typer.Option(help="app/group/index", autocompletion=_names(_containers))
]
