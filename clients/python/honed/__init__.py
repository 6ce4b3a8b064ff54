"""Python SDK of Honed."""
