"""Errors on the command line: one line on standard error, and an exit code for scripts."""

from collections.abc import Iterator
from contextlib import contextmanager

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

_EXIT_CODES: dict[type[Exception], int] = {
    InvalidRequest: 2,
    FileNotFoundError: 2,
    FileExistsError: 2,
    NotFound: 3,
    Conflict: 4,
    Overloaded: 5,
    Unavailable: 5,
    DeadlineExceeded: 5,
}


def exit_code(error: HonedError | OSError) -> int:
    """The exit code for an error; `honed --help` lists them."""
    return _EXIT_CODES.get(type(error), 1)


def described(error: HonedError, where: str = "honed") -> str:
    """An error as one line: where, what, every field at fault, and the reason."""
    faults = (
        f"; {field}: {fault}"
        for field, fault in error.violations.items()
        if fault not in error.message
    )
    return f"{where}: {error.message}{''.join(faults)} ({error.reason})"


def complain(error: HonedError | OSError) -> None:
    """Prints an error as one line on standard error; an OSError is about a file of the user's."""
    line = f"honed: {error}" if isinstance(error, OSError) else described(error)
    typer.echo(printable(line), err=True)


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turns a package that is missing, because `extra` is not installed, into one sentence."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("honed"):
            raise  # our own fault, not a package that is not installed
        typer.echo(f"honed: this needs more packages ({error}); install honed[{extra}]", err=True)
        raise typer.Exit(1) from error
