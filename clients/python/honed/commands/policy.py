"""`honed policy`: what promotes candidates of a model, how they are tried, when rounds start."""

from collections.abc import Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Annotated, Any

import typer

from honed.commands.options import Json, ModelName, RequestedBy, connect, new_app
from honed.commands.output import as_fields, as_json
from honed.types import Policy

app = new_app(
    no_args_is_help=True, help="Show or set what promotes candidates, and when rounds start."
)

_PROMOTIONS = ("default", "superior", "manual")
_SWITCH = {"true": True, "false": False}

Settings = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME=VALUE...", help="For example alpha=0.01 promotion=manual keep_worse=true."
    ),
]


def _print(policy: Policy, json: bool) -> None:
    typer.echo(as_json(policy) if json else as_fields(policy))


@app.command()
def show(ctx: typer.Context, model: ModelName, json: Json = False) -> None:
    """Show the policy of a model."""
    with connect(ctx) as client:
        _print(client.get_model(model).policy, json)


@app.command("set")
def set_(
    ctx: typer.Context,
    model: ModelName,
    settings: Settings,
    requested_by: RequestedBy = "",
    json: Json = False,
) -> None:
    """Set what is named of the policy of a model, on the record; the rest stays.

    `honed policy show MODEL` lists the names.
    """
    changes = _changes(settings)
    with connect(ctx) as client:
        policy = replace(client.get_model(model).policy, **changes)
        _print(client.set_policy(model, policy, requested_by).policy, json)


def _changes(settings: Sequence[str]) -> dict[str, Any]:
    """The named settings with their values; anything else is wrong usage."""
    kinds = {item.name: type(item.default) for item in fields(Policy)}
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in kinds:
            close = get_close_matches(name, list(kinds), n=1)
            hint = f"; did you mean {close[0]}=...?" if close else ""
            raise typer.BadParameter(f"{setting!r} is no setting of a policy{hint}")
        changes[name] = _value(name, kinds[name], text)
    return changes


def _value(name: str, kind: type, text: str) -> Any:
    if kind is str and text not in _PROMOTIONS:
        raise typer.BadParameter(f"{name} is one of {', '.join(_PROMOTIONS)}, not {text!r}")
    try:
        return _SWITCH[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise typer.BadParameter(f"{name}={text!r} is no {kind.__name__}") from error
