"""The error of the load harness: one family, each with a sentence that says what to do."""


class BenchError(Exception):
    """A measurement cannot be done as asked; the message says why, and what to change."""
