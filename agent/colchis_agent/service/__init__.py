"""The shell around the agent's core: sockets, files, processes and clocks."""

from colchis_agent.service.agent import run_agent
from colchis_agent.service.settings import AgentSettings, load_settings
from colchis_agent.service.state import StateError

__all__ = ["AgentSettings", "StateError", "load_settings", "run_agent"]
