"""A script for each system: `python -m benchmarks.systems.NAME WORKLOAD N`, in the top folder prints a line of JSON."""
