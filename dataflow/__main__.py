"""`python -m dataflow`: the command line, with this very Python."""

from dataflow.cli import main

main()
