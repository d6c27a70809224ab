"""What an agent is told by its operator: a YAML file, flags, or both.

```yaml
node: n1
master: tcp://10.0.0.1:7640
master_key: /etc/colchis/master.pub
key: /etc/colchis/n1.key
state: /var/lib/colchis
groups: {rack: r1, upgrade_domain: [u1, u4]}
```
"""

import os
import pwd
import re
import socket
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from colchis.model.resources import CPUS, MEMORY
from colchis.specs.cursor import Cursor, Fields
from colchis.specs.settings import settings_in

REQUIRED = ("node", "master", "master_key", "key", "state")
OPTIONAL = (
    "address",
    CPUS,
    MEMORY,
    "extras",
    "groups",
    "attributes",
    "cgroup",
    "ports",
    "user",
    "pids",
    "stop_containers",
    "keep_ended",
    "log_bytes",
    "log_files",
)
_ENDPOINT = re.compile(r"tcp://[^/\s]+:[0-9]{1,5}")
_CGROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """``cpus`` in thousandths of a core and ``memory`` in bytes are the share of the host that is
    this agent's; None takes all of it. ``extras`` are further resources.

    ``address`` is where others reach this node's containers. ``cgroup`` is the agent's subtree,
    ``ports`` the first and last port for containers, both of which agents on one machine must not
    share. ``user`` runs the containers; empty: the agent's own. ``pids`` bounds the threads of a
    container that names no bound itself. Ended containers are kept ``keep_ended`` seconds.
    """

    node: str
    master: str
    master_key: Path
    key: Path
    state: Path
    address: str = ""
    cpus: int | None = None
    memory: int | None = None
    extras: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    cgroup: str = ""
    ports: tuple[int, int] = (20_000, 29_999)
    user: str = ""
    pids: int = 2048
    stop_containers: bool = False
    keep_ended: float = 3600.0
    log_bytes: int = 10 * 2**20
    log_files: int = 3

    @property
    def cgroup_root(self) -> str:
        """Path of the agent's cgroup subtree below the hierarchy's root."""
        place = zlib.crc32(str(self.state).encode())
        return self.cgroup or f"colchis-{self.node}-{place:08x}"

    @property
    def shared(self) -> bool:
        """Whether the agent has only a share of its host."""
        return self.cpus is not None or self.memory is not None

    def capacity(self) -> dict[str, int]:
        """What this node offers."""
        cpus = self.cpus if self.cpus is not None else (os.cpu_count() or 1) * 1000
        memory = self.memory if self.memory is not None else psutil.virtual_memory().total
        return {CPUS: cpus, MEMORY: int(memory), **self.extras}

    def own_address(self) -> str:
        """``address``, or else the one from which this host reaches the master."""
        if self.address:
            return self.address
        host, _, port = self.master.removeprefix("tcp://").rpartition(":")
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                # Connecting a datagram socket sends nothing, it only chooses a route.
                probe.connect((host, int(port)))
                return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"

    def ids(self) -> tuple[int | None, int | None]:
        """User and group that containers run as; None keeps the agent's."""
        if not self.user:
            return None, None
        entry = pwd.getpwnam(self.user)
        return entry.pw_uid, entry.pw_gid


def load_settings(
    file: Path | None = None, flags: Mapping[str, object] | None = None
) -> AgentSettings:
    """Settings of a YAML file, with the values of ``flags`` that are not None in their place.

    Raises InputError with every problem of either.
    """
    at, report = settings_in(file, flags)
    settings = _read(at)
    report.check()
    return settings


def _read(at: Cursor) -> AgentSettings:
    fields = at.fields("an agent's settings", REQUIRED, OPTIONAL)
    changes: dict[str, object] = {}
    for name, read in _READERS.items():
        value = fields.get(name)
        if value is not None:
            changes[name] = read(value)
    required = {
        "node": _identifier(fields),
        "master": _master(fields),
        "master_key": _path(fields, "master_key"),
        "key": _path(fields, "key"),
        "state": _path(fields, "state"),
    }
    return AgentSettings(**required, **changes)  # type: ignore[arg-type]  # checked by the readers


def _identifier(fields: Fields) -> str:
    at = fields.get("node")
    return at.identifier("a node's name") if at else ""


def _master(fields: Fields) -> str:
    at = fields.get("master")
    text = at.text("the master's address") if at else ""
    if at and text and not _ENDPOINT.fullmatch(text):
        at.fail(f"{text!r} is no address; write tcp://HOST:PORT")
    return text


def _path(fields: Fields, name: str) -> Path:
    at = fields.get(name)
    return Path(at.text("a path") if at else "").expanduser().absolute()


def _extras(at: Cursor) -> dict[str, int]:
    return {
        name: item.whole(f"an amount of {name}", 0, 10**9)
        for name, item in at.entries("a mapping from resources to amounts").items()
    }


def _groups(at: Cursor) -> dict[str, tuple[str, ...]]:
    groups = {}
    for name, item in at.entries("a mapping from node groups to sets").items():
        item.check_identifier(name, "a node group")
        sets = item.items("sets") if isinstance(item.value.data, list) else [item]
        groups[name] = tuple(one.literal("the name of a set") for one in sets)
    return groups


def _attributes(at: Cursor) -> dict[str, str]:
    return {
        name: item.literal("an attribute", flags=True)
        for name, item in at.entries("a mapping from attributes to text").items()
    }


def _cgroup(at: Cursor) -> str:
    text = at.text("a cgroup's path")
    if text and not _CGROUP.fullmatch(text):
        at.fail(f"{text!r} is no path below the cgroup root; write one such as colchis-n1")
    return text


def _ports(at: Cursor) -> tuple[int, int]:
    pair = [item.whole("a port", 1, 65_535, 1) for item in at.items("the first and last port")]
    if len(pair) != 2 or pair[0] > pair[1]:
        at.fail("write the first and the last port, such as [20000, 20999]")
        return (1, 1)
    return (pair[0], pair[1])


def _user(at: Cursor) -> str:
    name = at.text("a user's name")
    try:
        if name:
            pwd.getpwnam(name)
    except KeyError:
        at.fail(f"there is no user {name!r} on this host")
    return name


_READERS: dict[str, Callable[[Cursor], object]] = {
    "address": lambda at: at.text("an address"),
    CPUS: Cursor.cpus,
    MEMORY: Cursor.memory,
    "extras": _extras,
    "groups": _groups,
    "attributes": _attributes,
    "cgroup": _cgroup,
    "ports": _ports,
    "user": _user,
    "pids": lambda at: at.whole("a number of threads", 1, 4_000_000, 1),
    "stop_containers": lambda at: at.flag("stop_containers"),
    "keep_ended": lambda at: at.duration("keep_ended"),
    "log_bytes": Cursor.memory,
    "log_files": lambda at: at.whole("a number of files", 1, 1000, 1),
}
