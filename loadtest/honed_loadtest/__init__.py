"""Load harness: drives a Honed server the way its users do, and measures.

`figures.py` is the entry. Each of `scenarios/` measures one thing and says how to show it;
`bench.py` gives them servers that have learned, `load.py` gives them callers, `report.py` keeps
what they found.
"""
