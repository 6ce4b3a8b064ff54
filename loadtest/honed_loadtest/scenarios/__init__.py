"""What is measured: each module has `SETTINGS`, `run(bench)` and `tables(results)`."""
