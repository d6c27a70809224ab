"""The agent's decisions, without any I/O."""

from colchis_agent.core.core import AgentCore, NodeFacts

__all__ = ["AgentCore", "NodeFacts"]
