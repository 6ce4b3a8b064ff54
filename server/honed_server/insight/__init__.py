"""What is told about models: explanations, doubts, what to label next, drift."""
