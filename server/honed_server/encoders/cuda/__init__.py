"""The encoder on GPUs. Nothing here is imported before a GPU was found: it loads torch."""
