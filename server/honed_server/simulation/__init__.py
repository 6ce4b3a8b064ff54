"""Admission and queue against recorded or drawn traffic, without an encoder."""
