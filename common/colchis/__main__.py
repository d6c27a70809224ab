"""`python -m colchis`: the command without its script."""

from colchis.cli.main import main

main()
