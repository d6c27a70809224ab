"""App specs and cluster snapshots: YAML and plain data in and out, every problem at its place."""

from colchis.specs.apps import app_from_dict, app_to_dict
from colchis.specs.clusters import cluster_to_dict
from colchis.specs.cursor import parse_duration
from colchis.specs.files import parse_apps, parse_cluster, read_apps, read_cluster
from colchis.specs.rules import parse_rules, rule_to_plain

__all__ = [
    "app_from_dict",
    "app_to_dict",
    "cluster_to_dict",
    "parse_apps",
    "parse_cluster",
    "parse_duration",
    "parse_rules",
    "read_apps",
    "read_cluster",
    "rule_to_plain",
]
