"""Where the network begins: messages, checks, errors, health, metrics."""
