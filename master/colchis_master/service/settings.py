"""What a master is told by its operator: a YAML file, flags, or both.

```yaml
cluster: lab
state: /var/lib/colchis-master
keys: /etc/colchis          # master.key, allowed/, admin.token, lookup.token
listen: tcp://0.0.0.0:7640  # agents
api: 0.0.0.0:7641           # HTTP
public_api: http://10.0.0.1:7641
algorithm: ilp
weights: {placed: 1, violations: 0.5, fragmentation: 0.25}
r_min: {cpus: 1, memory: 1GiB}  # a node that keeps less free counts as fragmented
```
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from colchis.model.resources import Resources
from colchis.specs.cursor import Cursor
from colchis.specs.resources import read_resources
from colchis.specs.settings import settings_in
from colchis_master.lra import ALGORITHMS, DEFAULT_R_MIN, Settings, Weights
from colchis_master.service.mqtt import MqttSettings, read_mqtt
from colchis_master.tasks.options import SERVICE, Options
from colchis_master.tasks.options_spec import OPTIONS, read_options
from colchis_master.tasks.policies import POLICIES

_REQUIRED = ("state", "keys")
_ENDPOINT = re.compile(r"tcp://[^/\s]+:(\*|[0-9]{1,5})")
_ADDRESS = re.compile(r"[^/\s]+:[0-9]{1,5}")
_URL = re.compile(r"https?://[^\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterSettings:
    """``keys`` is the folder that ``colchis keygen`` fills. Times in seconds.

    ``listen`` is where agents connect, ``api`` where HTTP is served, ``public_api`` the address
    of the latter that containers and users are told. ``jobs`` is where executors and clients of
    jobs connect, ``public_jobs`` how they reach it, empty for no job service; ``policy`` and
    ``tasks`` those of its task scheduler. ``connection``
    is a connection file to write for the command, ``mqtt`` a broker that events are published to,
    None for none. ``r_min`` is what a node must keep free not to count as fragmented.
    ``interval``, ``lost_after`` and the rest are those of the core and of the LRA scheduler.
    """

    state: Path
    keys: Path
    cluster: str = "colchis"
    listen: str = "tcp://127.0.0.1:7640"
    api: str = "127.0.0.1:7641"
    public_api: str = ""
    jobs: str = ""
    public_jobs: str = ""
    policy: str = "lma"
    tasks: Options = SERVICE
    connection: Path | None = None
    mqtt: MqttSettings | None = None
    interval: float = 1.0
    heartbeat_interval: float = 1.0
    lost_after: float = 10.0
    algorithm: str = "ilp"
    mode: str = "ordered"
    time_limit: float = 5.0
    gap: float | None = None
    weights: Weights = field(default_factory=Weights)
    r_min: Resources = DEFAULT_R_MIN
    make_room: str = "never"
    rebalance_threshold: float | None = None

    @property
    def api_url(self) -> str:
        """The API's address as others reach it."""
        return self.public_api or f"http://{self.api}"

    def solver(self) -> Settings:
        """What the LRA scheduler is asked with."""
        return Settings(
            mode=self.mode,
            time_limit=self.time_limit,
            gap=self.gap,
            weights=self.weights,
            r_min=self.r_min,
        )


def load_settings(
    file: Path | None = None, flags: Mapping[str, object] | None = None
) -> MasterSettings:
    """Settings of a YAML file, with the values of ``flags`` that are not None in their place.

    Raises InputError with every problem of either.
    """
    at, report = settings_in(file, flags)
    optional = tuple(f.name for f in fields(MasterSettings) if f.name not in _REQUIRED)
    found = at.fields("a master's settings", _REQUIRED, optional)
    values: dict[str, object] = {name: Path() for name in _REQUIRED}
    for name, read in _READERS.items():
        value = found.get(name)
        if value is not None:
            values[name] = read(value)
    report.check()
    return MasterSettings(**values)  # type: ignore[arg-type]  # checked by the readers


def _path(at: Cursor) -> Path:
    return Path(at.text("a path")).expanduser().absolute()


def _matching(pattern: re.Pattern[str], form: str) -> Callable[[Cursor], str]:
    def read(at: Cursor) -> str:
        text = at.text("an address")
        if text and not pattern.fullmatch(text):
            at.fail(f"{text!r} is no address; write {form}")
        return text

    return read


def _one_of(*choices: str) -> Callable[[Cursor], str]:
    def read(at: Cursor) -> str:
        text = at.text("a name")
        if text not in choices:
            at.fail(f"{text!r} is none of {', '.join(choices)}")
        return text

    return read


def _duration(at: Cursor) -> float:
    seconds = at.duration("a duration")
    if seconds <= 0:
        at.fail("a duration above zero is needed, such as 10s")
    return seconds


def _weights(at: Cursor) -> Weights:
    names = tuple(f.name for f in fields(Weights))
    found = at.fields("the weights of objectives", (), names)
    given = {}
    for name in names:
        value = found.get(name)
        if value is not None:
            given[name] = value.number(f"the weight of {name}", 0, 1e6)
    return Weights(**given)


_READERS: dict[str, Callable[[Cursor], object]] = {
    "state": _path,
    "keys": _path,
    "cluster": lambda at: at.identifier("a cluster's name"),
    "listen": _matching(_ENDPOINT, "tcp://HOST:PORT"),
    "api": _matching(_ADDRESS, "HOST:PORT"),
    "public_api": _matching(_URL, "http://HOST:PORT"),
    "jobs": _matching(_ENDPOINT, "tcp://HOST:PORT"),
    "public_jobs": _matching(_ENDPOINT, "tcp://HOST:PORT"),
    "policy": _one_of(*POLICIES),
    "tasks": lambda at: read_options(
        at.fields("options of the task scheduler", (), OPTIONS), SERVICE
    ),
    "connection": _path,
    "mqtt": read_mqtt,
    "interval": _duration,
    "heartbeat_interval": _duration,
    "lost_after": _duration,
    "algorithm": _one_of(*ALGORITHMS),
    "mode": _one_of("ordered", "weighted"),
    "time_limit": _duration,
    "gap": lambda at: at.number("a relative gap", 0, 1),
    "weights": _weights,
    "r_min": read_resources,
    "make_room": _one_of("never", "suspend", "stop"),
    "rebalance_threshold": lambda at: at.number("a share of the containers", 0, 1),
}
