"""Honed beside other servers: `make bench-peers`.

`catalogue.py` names the peers; each has a folder with its adapter, as its users would write it, and
its pins. `environments.py` installs them, `model.py` makes what they serve, `process.py` starts
one at a time, `measure.py` asks all of them the same, `results.py` and `plot.py` show it.
"""
