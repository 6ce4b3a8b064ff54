"""Candidates before the gate and on trial, audit by audit."""
