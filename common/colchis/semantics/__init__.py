"""What constraints mean: the one definition that judges every placement."""
