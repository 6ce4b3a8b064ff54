"""`honed serve`: the one door from the command line into the server."""

import typer

from honed.commands.failure import needs_extra
from honed.commands.options import new_app

app = new_app()


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def serve(ctx: typer.Context) -> None:
    """Start a server here; `honed serve --help` lists its options."""
    with needs_extra("server"):
        from honed_server.main import run

        raise typer.Exit(run(ctx.args))
