"""`python -m inspector` is the command line."""

from inspector.cli import main

main()
