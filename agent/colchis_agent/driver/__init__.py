"""Container drivers: they start containers, survive the agent with them, and learn their end."""

from colchis_agent.driver.folder import Identity, folder_name, ref_of
from colchis_agent.driver.model import (
    ContainerRef,
    ContainerState,
    DriverError,
    Ended,
    Exit,
    ExitKind,
    Gone,
    LaunchSpec,
    NeverStarted,
    Running,
)
from colchis_agent.driver.process import ProcessDriver

__all__ = [
    "ContainerRef",
    "ContainerState",
    "DriverError",
    "Ended",
    "Exit",
    "ExitKind",
    "Gone",
    "Identity",
    "LaunchSpec",
    "NeverStarted",
    "ProcessDriver",
    "Running",
    "folder_name",
    "ref_of",
]
