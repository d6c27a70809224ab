"""The `colchis` command: one module for each family of verbs."""
