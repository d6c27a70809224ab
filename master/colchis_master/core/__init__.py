"""The master's decisions, without any I/O: events in, instructions out."""
