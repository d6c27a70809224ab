"""The master as a process: sockets, journal, solver and API around the core."""

from colchis_master.service.master import MasterService, serve
from colchis_master.service.settings import MasterSettings, load_settings

__all__ = ["MasterService", "MasterSettings", "load_settings", "serve"]
