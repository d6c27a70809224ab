"""Every constraint in force, and what it means for containers on nodes."""
