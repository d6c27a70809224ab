"""How daemons write what they do."""

import sys


def log_to_stderr() -> None:
    """Log to standard error, tracebacks plain.

    With the values of variables in them they would hold tokens and whole clusters.
    """
    import structlog  # here, since commands that run no daemon need not wait for it

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
