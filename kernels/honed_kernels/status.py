"""The status word of a row: what the ops say of it instead of raising; 0 is a plain answer."""

NOT_FINITE = 1
"""A logit is NaN or plus infinity, or all are minus infinity: scores are NaN, ids 0 to k - 1."""
EMPTY = 2
"""The sequence has no token: its vector is zero."""
NO_HEAD = 4
"""The row asks for no head, or for one that is not published: ids -1, probabilities 0."""
