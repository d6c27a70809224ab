"""The master's HTTP API: JSON, server-sent events, tokens."""
