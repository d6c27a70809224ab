"""Figures for Prometheus, taken when they are asked for."""

from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest


def metrics(status: dict[str, Any], nodes: list[dict[str, Any]]) -> bytes:
    """The text exposition of a status and a list of nodes, as the API gives them."""
    registry = CollectorRegistry()
    for name, what in (("nodes", "Nodes"), ("apps", "Apps"), ("containers", "Containers")):
        gauge = Gauge(f"colchis_{name}", f"{what} by state.", ["state"], registry=registry)
        for state, count in status[name].items():
            gauge.labels(state).set(count)
    violations = Gauge("colchis_violations", "Rules missed by containers.", registry=registry)
    violations.set(status["violations"])
    epoch = Gauge("colchis_master_epoch", "Lives of this master's journal.", registry=registry)
    epoch.set(status["epoch"])
    last = status["round"]
    if last is not None:
        seconds = Gauge("colchis_round_seconds", "Time of the last round.", registry=registry)
        seconds.set(last["seconds"])
    free = Gauge("colchis_node_free", "What is not given out.", ["node", "of"], registry=registry)
    age = Gauge("colchis_heartbeat_age_seconds", "Silence.", ["node"], registry=registry)
    for node in nodes:
        for resource, amount in node["free"].items():
            free.labels(node["node"], resource).set(amount)
        age.labels(node["node"]).set(node["heartbeat_age"])
    return generate_latest(registry)
