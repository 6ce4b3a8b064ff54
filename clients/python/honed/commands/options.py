"""What the commands share: how an application is made, its options, and the way to the server."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from honed.client import Client
from honed.errors import HonedError

_COMPLETION_TIMEOUT_S = 0.3


@dataclass(frozen=True, slots=True)
class Address:
    """Where the root command says the server is.

    Attributes:
        target: "host:port".
        timeout_s: Deadline of each call in seconds.
    """

    target: str
    timeout_s: float


def model_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the name of a model by asking the server, if it answers at once."""
    target = ctx.find_root().params.get("target")
    with suppress(HonedError), Client(target, _COMPLETION_TIMEOUT_S) as client:
        models = client.list_models()
        return [model.name for model in models if model.name.startswith(incomplete)]
    return []


LabelFile = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE", help="A .csv or .jsonl file.")
]
VersionNumber = Annotated[int, typer.Argument(metavar="VERSION", min=0, max=2**64 - 1)]
NewModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
ModelName = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Name of the model.", autocompletion=model_names),
]
PatienceSeconds = Annotated[
    float,
    typer.Option("--patience", min=0, help="How long the server may be away, in seconds."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
RequestedBy = Annotated[str, typer.Option(envvar="USER", help="Who asks, for the record.")]


def new_app(**settings: Any) -> typer.Typer:
    """Makes a command or a group of commands in plain text, without Typer's decorations."""
    return typer.Typer(
        rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False, **settings
    )


def address_of(ctx: typer.Context) -> Address:
    """The address that was given to `honed`."""
    address = ctx.find_object(Address)
    assert address is not None, "the root command sets the address"
    return address


def connect(ctx: typer.Context) -> Client:
    """Opens a client for the address that was given to `honed`."""
    address = address_of(ctx)
    return Client(address.target, address.timeout_s)
