"""Fine-tuning of encoders: what a trainer process and `honed train` share. Needs `honed[train]`."""
