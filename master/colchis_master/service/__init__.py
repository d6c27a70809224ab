"""The shell around the master's core: sockets, the journal, the solver and the clock."""
