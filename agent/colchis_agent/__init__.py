"""The agent of a Colchis cluster: it runs containers on one host."""
