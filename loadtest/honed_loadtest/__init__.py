"""Load harness: drives a Honed server the way its users do, and measures."""
