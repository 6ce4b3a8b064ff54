"""Fine-tuning rounds and `honed train`: asked for, worked on, offered."""
