"""How daemons write what they do."""

import sys
from collections.abc import MutableMapping
from typing import Any


def log_to_stderr() -> None:
    """Log to standard error, a line for each event, tracebacks plain.

    With the values of variables in them tracebacks would hold tokens and whole clusters. What
    peers and containers tell of themselves can neither begin a line nor steer a terminal.
    """
    import structlog  # here, since commands that run no daemon need not wait for it

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            _printable,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _printable(
    _logger: Any, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    return event
