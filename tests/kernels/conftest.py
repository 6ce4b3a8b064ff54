"""Loads Triton before a test can take away the setting of `tests/conftest.py`."""

import triton.language  # noqa: F401
