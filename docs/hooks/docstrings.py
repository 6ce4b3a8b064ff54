"""Docstrings -> what mkdocstrings can show: examples of a session in Python as code."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Reads `Example:` as the section that Google's style calls `Examples:`."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each module, class, function and attribute once it is known."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
