"""The placement side measured against the claims of Medea, one command each."""
