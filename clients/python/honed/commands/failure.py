"""Errors on the command line: one line on standard error, and an exit code for scripts."""

import typer

from honed.commands.output import printable
from honed.errors import (
    Conflict,
    DeadlineExceeded,
    HonedError,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)

_EXIT_CODES: dict[type[HonedError], int] = {
    InvalidRequest: 2,
    NotFound: 3,
    Conflict: 4,
    Overloaded: 5,
    Unavailable: 5,
    DeadlineExceeded: 5,
}


def exit_code(error: HonedError) -> int:
    """The exit code for an error; `honed --help` lists them."""
    return _EXIT_CODES.get(type(error), 1)


def complain(error: HonedError, where: str = "honed") -> None:
    """Prints an error as one line: where, what, every field at fault, and the reason."""
    faults = (
        f"; {field}: {fault}"
        for field, fault in error.violations.items()
        if fault not in error.message
    )
    line = f"{where}: {error.message}{''.join(faults)} ({error.reason})"
    typer.echo(printable(line), err=True)
