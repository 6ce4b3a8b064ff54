"""What answers and labels say beside the answer: promises, explanations, doubts, drift."""
