"""Who teaches, how much of it counts, and who is set aside."""
