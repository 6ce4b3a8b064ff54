"""The doors: one module an op, which checks its arguments and picks the path by the device."""
