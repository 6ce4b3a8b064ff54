"""A label's way in, and out again. Start at service.py."""
