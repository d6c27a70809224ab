"""How daemons write what they do."""

import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any


def log_to_stderr() -> None:
    """Log to standard error, a line for each event, tracebacks plain.

    On a terminal for people, else as logfmt (``key=value``), which costs the master's loop less.
    With the values of variables in them tracebacks would hold tokens and whole clusters. What
    peers and containers tell of themselves can neither begin a line nor steer a terminal.
    """
    import structlog  # here, since commands that run no daemon need not wait for it

    if sys.stderr.isatty():
        render: list[Any] = [
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        ]
    else:
        logfmt = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])

        def line(logger: Any, name: str, event: MutableMapping[str, Any]) -> str:
            traceback = event.pop("exception", None)
            text = logfmt(logger, name, event)
            return f"{text}\n{traceback}" if traceback else text

        render = [structlog.processors.format_exc_info, line]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            Timestamps(),
            _printable,
            *render,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class Timestamps:
    """Adds the local time, in seconds: written out once for all that happens within one."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last = (-1, "")

    def __call__(
        self, _logger: Any, _name: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        second = int(self._clock())
        last, text = self._last
        if second != last:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(second))
            self._last = second, text
        event["timestamp"] = text
        return event


def _printable(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    return event
