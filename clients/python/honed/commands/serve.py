"""`honed serve`: the one door from the command line into the server."""

import typer

from honed.commands.options import new_app

app = new_app()


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def serve(ctx: typer.Context) -> None:
    """Start a server here; `honed serve --help` lists its options."""
    try:
        from honed_server.main import run

        raise typer.Exit(run(ctx.args))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("honed_server."):
            raise  # our own fault, not a package that is not installed
        typer.echo(f"honed: serving needs more packages ({error}); install honed[server]", err=True)
        raise typer.Exit(1) from error
