"""What a master is told by its operator: a YAML file, flags, or both.

```yaml
cluster: lab
state: /var/lib/colchis/master
keys: /etc/colchis
agents: tcp://0.0.0.0:7640
api: 0.0.0.0:7641
advertise: http://10.0.0.1:7641
algorithm: ilp
weights: {placed: 1, violations: 0.5, fragmentation: 0.25}
```
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from colchis.specs.cursor import Cursor, Fields, Report
from colchis.specs.files import documents_in, read_text
from colchis.specs.resources import read_resources
from colchis.specs.tree import Entry, Value, from_plain
from colchis_master.core.settings import CoreSettings
from colchis_master.lra import ALGORITHMS, Settings, Weights
from colchis_master.lra.settings import MODES

COMMAND_LINE = "<command line>"
REQUIRED = ("state", "keys")
_ENDPOINT = re.compile(r"tcp://[^/\s]+:[0-9]{1,5}")
_BIND = re.compile(r"[^/\s]+:[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterSettings:
    """``state`` is the master's own folder, ``keys`` the one that ``colchis keygen`` makes.

    ``agents`` is where agents connect, ``api`` the host and port of the HTTP API, ``advertise``
    the URL that containers are told. ``jobs_clients`` and ``jobs_executors`` are where the job
    service is reached, empty for none; ``jobs_advertise`` is what executors are told. Times in
    seconds; see ``CoreSettings`` and the LRA scheduler's ``Settings`` for the rest.
    """

    state: Path
    keys: Path
    cluster: str = "colchis"
    agents: str = "tcp://127.0.0.1:7640"
    api: str = "127.0.0.1:7641"
    advertise: str = ""
    interval: float = 1.0
    heartbeat_interval: float = 1.0
    suspect_after: float = 5.0
    lost_after: float = 10.0
    algorithm: str = "ilp"
    lra: Settings = field(default_factory=Settings)
    jobs_clients: str = ""
    jobs_executors: str = ""
    jobs_advertise: str = ""
    policy: str = "lma"

    def core(self, *, api: str, token: str) -> CoreSettings:
        """The part that the core is given; ``api`` is the URL that is served."""
        return CoreSettings(
            cluster=self.cluster,
            interval=self.interval,
            heartbeat_interval=self.heartbeat_interval,
            suspect_after=min(self.suspect_after, self.lost_after),
            lost_after=self.lost_after,
            api=self.advertise or api,
            token=token,
            jobs=self.jobs_advertise or self.jobs_executors,
        )


def load_settings(
    file: Path | None = None, flags: Mapping[str, object] | None = None
) -> MasterSettings:
    """Settings of a YAML file, with the values of ``flags`` that are not None in their place.

    Raises InputError with every problem of either.
    """
    report = Report(COMMAND_LINE)
    entries: dict[str, Entry] = {}
    at = Cursor(Value(entries), "", report)
    if file is not None:
        text, report.file = read_text(file)
        documents = documents_in(text, report)
        report.check()
        at, *others = documents
        for other in others:
            other.fail("a second document; settings are one")
        if isinstance(at.value.data, dict):
            entries = at.value.data
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    plain = from_plain(given, "", COMMAND_LINE, report.problems)
    if isinstance(plain.data, dict):
        entries.update(plain.data)
    settings = _read(at)
    report.check()
    return settings


def _read(at: Cursor) -> MasterSettings:
    fields = at.fields("a master's settings", REQUIRED, (*_READERS, *_LRA))
    changes: dict[str, object] = {}
    lra: dict[str, object] = {}
    for readers, found in ((_READERS, changes), (_LRA, lra)):
        for name, read in readers.items():
            value = fields.get(name)
            if value is not None:
                found[name] = read(value)
    return MasterSettings(
        state=_path(fields, "state"),
        keys=_path(fields, "keys"),
        lra=Settings(**lra),  # type: ignore[arg-type]  # checked by the readers
        **changes,  # type: ignore[arg-type]  # checked by the readers
    )


def _path(fields: Fields, name: str) -> Path:
    at = fields.get(name)
    return Path(at.text("a path") if at else "").expanduser().absolute()


def _endpoint(at: Cursor) -> str:
    text = at.text("an address")
    if text and not (_ENDPOINT.fullmatch(text) or text.startswith("ipc://")):
        at.fail(f"{text!r} is no address; write tcp://HOST:PORT")
    return text


def _bind(at: Cursor) -> str:
    text = at.text("a host and a port")
    if not _BIND.fullmatch(text):
        at.fail(f"{text!r} is no address; write HOST:PORT")
    return text


def _duration(what: str, least: float) -> Callable[[Cursor], float]:
    def read(at: Cursor) -> float:
        found = at.duration(what)
        if found < least:
            at.fail(f"{what} must be at least {least:g} s")
            return least
        return found

    return read


def _word(what: str, words: tuple[str, ...]) -> Callable[[Cursor], str]:
    def read(at: Cursor) -> str:
        text = at.text(what)
        if text not in words:
            at.fail(f"{text!r} is no {what}; write one of {', '.join(words)}")
            return words[0]
        return text

    return read


def _weights(at: Cursor) -> Weights:
    found = {}
    for name, item in at.entries("weights: a mapping from objectives to numbers").items():
        if name not in Weights.__slots__:
            item.fail(f"{name!r} is no objective; write one of {', '.join(Weights.__slots__)}")
        else:
            found[name] = item.number("a weight", 0, 999_999)
    return Weights(**found)


_READERS: dict[str, Callable[[Cursor], object]] = {
    "cluster": lambda at: at.identifier("a cluster's name"),
    "agents": _endpoint,
    "api": _bind,
    "advertise": lambda at: at.text("a URL"),
    "interval": _duration("the interval", 0.01),
    "heartbeat_interval": _duration("the heartbeat interval", 0.05),
    "suspect_after": _duration("suspect_after", 0.1),
    "lost_after": _duration("lost_after", 0.1),
    "algorithm": _word("algorithm", ALGORITHMS),
    "jobs_clients": _endpoint,
    "jobs_executors": _endpoint,
    "jobs_advertise": _endpoint,
    "policy": lambda at: at.text("a policy"),
}
_LRA: dict[str, Callable[[Cursor], object]] = {
    "mode": _word("mode", MODES),
    "time_limit": _duration("the time limit", 0.05),
    "gap": lambda at: at.number("a gap", 0, 1),
    "weights": _weights,
    "r_min": read_resources,
}
