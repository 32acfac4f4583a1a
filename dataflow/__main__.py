"""`python -m dataflow` is the command line."""

from dataflow.cli import main

if __name__ == "__main__":  # worker processes import this file, too
    main()
