"""What the commands share: how an application is made, its options, and the way to the server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from honed.client import Client


@dataclass(frozen=True, slots=True)
class Address:
    """Where the root command says the server is.

    Attributes:
        target: "host:port".
        timeout_s: Deadline of each call in seconds.
    """

    target: str
    timeout_s: float


LabelFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE", help="A .csv or .jsonl file.")
]
VersionNumber = Annotated[int, typer.Argument(metavar="VERSION", min=0, max=2**64 - 1)]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RequestedBy = Annotated[str, typer.Option(envvar="USER", help="Who asks, for the record.")]


def new_app(**settings: Any) -> typer.Typer:
    """Makes a command or a group of commands in plain text, without Typer's decorations."""
    return typer.Typer(
        rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False, **settings
    )


def connect(ctx: typer.Context) -> Client:
    """Opens a client for the address that was given to `honed`."""
    address = ctx.find_object(Address)
    assert address is not None, "the root command sets the address"
    return Client(address.target, address.timeout_s)
