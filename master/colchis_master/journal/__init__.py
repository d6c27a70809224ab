"""What the master must not forget, on disk."""
