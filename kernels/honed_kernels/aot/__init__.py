"""Compiling every kernel ahead of time, without a GPU: what it needs of each architecture."""
