"""The server: the only composition root. See docs/lifecycle.md for the two journeys."""
