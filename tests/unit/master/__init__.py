"""The master's core, constraint manager and journal."""
