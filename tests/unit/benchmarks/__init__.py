"""Tiny runs of the benchmarks, so that they go on working."""
