"""Sub-commands of `honed`, one module each; `honed.cli` imports them when they are called."""
