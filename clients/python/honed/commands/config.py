"""`honed config check`: what `honed serve` would be set to, and why."""

import os

import typer

from honed.commands.failure import needs_extra
from honed.commands.options import Json, new_app
from honed.commands.output import as_json, print_table, printable

app = new_app(no_args_is_help=True, help="Look at the settings of a server.")

_USAGE_ERROR = 2


@app.callback()
def config() -> None:
    """Keeps `check` a sub-command, though it is the only one."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def check(ctx: typer.Context, json: Json = False) -> None:
    """Check the settings that `honed serve` would have here, given the same flags after `check`.

    Prints each setting and where it comes from: flags, environment (HONED_...), file (--config,
    HONED_CONFIG or honed.toml), or default. Exit code 2: a setting is unknown or wrong.
    """
    with needs_extra("server"):
        from honed_server.config import ConfigError, explain_config
    try:
        settings, origins = explain_config(ctx.args, os.environ)
    except ConfigError as error:
        typer.echo(printable(f"honed config check: {error}"), err=True)
        raise typer.Exit(_USAGE_ERROR) from error
    described = {
        name: {"value": value, "source": origins.get(name, "default")}
        for name, value in settings.model_dump(mode="json").items()
    }
    if json:
        typer.echo(as_json(described))
        return
    rows = ((name, each["value"], each["source"]) for name, each in described.items())
    print_table("settings of honed serve", ("setting", "value", "from"), rows)
