"""Engines that turn token ids into vectors."""
