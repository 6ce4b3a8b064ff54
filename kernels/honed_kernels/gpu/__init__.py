"""Checking and measuring every kernel on a GPU: one script, ten minutes, one JSON file."""
