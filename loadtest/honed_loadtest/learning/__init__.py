"""`make bench-learning`: how well Honed learns from a stream of labels, beside what learns as well.

python -m honed_loadtest.learning [STREAM ...] [--csv FILE] [--quick]
"""
