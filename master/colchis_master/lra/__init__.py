"""Placing long-running applications (Medea, EuroSys'18, section 5)."""

from colchis_master.lra.evaluate import evaluate
from colchis_master.lra.explain import Explanation, UnknownContainerError, explain
from colchis_master.lra.rebalance import Move, Moves, rebalance
from colchis_master.lra.schedule import ALGORITHMS, UnknownAlgorithmError, schedule
from colchis_master.lra.settings import DEFAULT_R_MIN, Settings, Weights

__all__ = [
    "ALGORITHMS",
    "DEFAULT_R_MIN",
    "Explanation",
    "Move",
    "Moves",
    "Settings",
    "UnknownAlgorithmError",
    "UnknownContainerError",
    "Weights",
    "evaluate",
    "explain",
    "rebalance",
    "schedule",
]
