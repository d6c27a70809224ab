"""The shell around the agent's core: sockets, files, processes and clocks."""
