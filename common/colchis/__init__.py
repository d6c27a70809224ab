"""Colchis: services, batch jobs and streams on one set of Linux hosts."""

__version__ = "0.1.0"
