"""Time from snapshot to plan, objective and gap of every algorithm."""
