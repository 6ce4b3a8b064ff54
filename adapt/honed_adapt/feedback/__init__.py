"""The feedback log: labels made durable, read back and forgotten; and the anchors."""
