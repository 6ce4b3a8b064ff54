"""A prediction's way: admitted, tokenised, queued, answered, logged. Start at service.py."""
