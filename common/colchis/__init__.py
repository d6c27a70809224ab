"""Colchis: services, batch jobs and streams on one set of Linux hosts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from colchis.jobs import connect as connect

__version__ = "0.1.0"
__all__ = ["__version__", "connect"]


def __getattr__(name: str) -> Any:
    # Loaded when it is used: most of what imports this package runs no jobs.
    if name == "connect":
        from colchis.jobs import connect

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
