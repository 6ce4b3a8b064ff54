"""Load harness: drives a Honed server the way its users do, and measures.

Two doors. `honed bench SCENARIO` enters by `command.py`: `measure.py` opens a stage (`stage.py`: a
server, its models and texts), lets one of `scenarios/` make its arms, measures them in turn and
leaves a `result.py`, which `summary.py` and `page.py` show. `make bench` enters by `figures/`,
which measures what the documentation publishes.

Both put load on by `load.py`: processes of `load_client.py`, which follow a `profile.py`.
"""
