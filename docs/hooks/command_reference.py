"""The `honed` command -> the help of each sub-command, as a reader would see it."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from honed.cli import app


def command_reference() -> str:
    """Markdown with one section for each command that does something by itself."""
    return "\n".join(_sections(get_command(app), "honed"))


def _sections(command: Any, name: str, parent: Any = None) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=parent, terminal_width=88)
    children = getattr(command, "commands", {})
    if parent is None or not children:
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    for child in children:
        yield from _sections(children[child], child, context)
