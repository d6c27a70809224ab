"""The master as a process, with real agents and containers."""
