"""Talking to a master from outside the cluster."""
