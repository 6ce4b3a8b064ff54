"""What is demanded of candidates, and the evidence for it."""
