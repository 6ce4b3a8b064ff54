"""Encoders as files: what users bring, what is stored, how it is checked, packed and given back."""
