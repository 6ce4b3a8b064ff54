"""What `make bench` publishes about a machine: each module measures one figure.

A module has `SETTINGS`, `run(bench)` and `tables(results)`.
"""
