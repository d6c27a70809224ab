"""The master of a Colchis cluster: it decides what runs where."""
