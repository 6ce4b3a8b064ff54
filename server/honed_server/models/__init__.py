"""The models: on record, on disk, in effect, and who decided."""
