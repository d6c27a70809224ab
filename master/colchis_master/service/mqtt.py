"""The cluster's events, published to an MQTT broker."""

import asyncio
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog

from colchis.specs.cursor import Cursor
from colchis_master.service.feed import Feed

AGAIN = 2.0
"""Seconds between two attempts to reach a broker."""

AT_ONCE = 100
"""Events looked up together."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """Where events go: to ``topic/KIND`` at a broker, with TLS where ``tls`` is set.

    ``ca_file`` names the authorities that are trusted instead of the system's.
    """

    host: str
    port: int = 1883
    topic: str = "colchis"
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: Path | None = None

    def __repr__(self) -> str:
        # Passwords get into no log.
        return f"MqttSettings({self.host}:{self.port}, {self.topic!r})"


def read_mqtt(at: Cursor) -> MqttSettings | None:
    """The settings under ``mqtt``; what is wrong is noted at its place, and gives None."""
    before = len(at.report.problems)
    if importlib.util.find_spec("aiomqtt") is None:
        at.fail("publishing events by MQTT needs the extra: pip install 'colchis[mqtt]'")
    optional = ("port", "topic", "username", "password_file", "tls", "ca_file")
    found = at.fields("an MQTT broker", ("host",), optional)
    values: dict[str, object] = {}
    if value := found.get("host"):
        values["host"] = value.text("a host's name or address")
    if value := found.get("topic"):
        values["topic"] = _topic(value)
    if value := found.get("username"):
        values["username"] = value.text("a user's name")
    if value := found.get("password_file"):
        values["password"] = _password(value)
        if found.get("username") is None:
            value.fail("a password without a username; name the user as well")
    if value := found.get("ca_file"):
        values["ca_file"] = _file(value)
        values["tls"] = True
    if value := found.get("tls"):
        values["tls"] = value.flag("true or false")
    values["port"] = 8883 if values.get("tls") else 1883
    if value := found.get("port"):
        values["port"] = value.whole("a port", 1, 65535, 1)
    if len(at.report.problems) > before:
        return None
    return MqttSettings(**values)  # type: ignore[arg-type]  # read one by one above


def _topic(at: Cursor) -> str:
    text = at.text("a topic")
    if not text.strip("/") or any(sign in text for sign in "+#\0"):
        at.fail(
            f"{text!r} is no topic to publish to; write one without + and #, such as lab/events"
        )
    return text.rstrip("/")


def _file(at: Cursor) -> Path:
    file = Path(at.text("a file")).expanduser().absolute()
    if not file.is_file():
        at.fail(f"no file is there: {file}")
    return file


def _password(at: Cursor) -> str:
    file = _file(at)
    try:
        if file.stat().st_mode & 0o077:
            at.fail(f"others may read {file}; chmod it to 0600")
        return file.read_text(encoding="utf-8").rstrip("\n")
    except FileNotFoundError:
        return ""  # told by now
    except (OSError, UnicodeError) as error:
        at.fail(f"{file} cannot be read: {error}")
        return ""


async def publish(feed: Feed, settings: MqttSettings, client: str) -> NoReturn:
    """Publish what happens from now on, each event as JSON once the broker has taken the last.

    Quality of service 1: an event comes at least once, in order, with its ``seq`` to tell
    repetitions. A broker that is away gets what it missed as far as the feed still has it. The
    master never waits for a broker. ``client`` is the name by which the broker knows the master.
    """
    import aiomqtt

    following = feed.following
    told = False
    trusted = str(settings.ca_file) if settings.ca_file else None
    tls = aiomqtt.TLSParameters(ca_certs=trusted) if settings.tls else None
    while True:
        try:
            async with aiomqtt.Client(
                settings.host,
                settings.port,
                identifier=client,
                username=settings.username,
                password=settings.password,
                tls_params=tls,
            ) as broker:
                log.info("events are published by MQTT", broker=settings.host, topic=settings.topic)
                told = False
                while True:
                    await feed.wait(following)
                    for event in feed.since(following, AT_ONCE)[0]:
                        if event["seq"] > following:
                            lost = event["seq"] - following
                            log.warning("events were too old to be published", events=lost)
                        await broker.publish(
                            f"{settings.topic}/{event['event']}", msgspec.json.encode(event), qos=1
                        )
                        following = event["seq"] + 1
        except (aiomqtt.MqttError, OSError) as error:
            if not told:
                log.warning("no MQTT broker takes events", broker=settings.host, error=str(error))
                told = True
            await asyncio.sleep(AGAIN)
