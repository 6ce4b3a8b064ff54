"""`honed rollback`: serve an earlier version."""

import typer

from honed.commands.options import Json, ModelName, RequestedBy, VersionNumber, connect, new_app
from honed.commands.output import as_json

app = new_app()


@app.command()
def rollback(
    ctx: typer.Context,
    model: ModelName,
    version: VersionNumber = 0,
    requested_by: RequestedBy = "",
    json: Json = False,
) -> None:
    """Serve an earlier version, and pause learning.

    Without VERSION, the one before the active one; `honed models resume` goes on learning.
    """
    with connect(ctx) as client:
        serving = client.rollback(model, version, requested_by)
    sentence = f"{model} serves version {serving.version}, revision {serving.revision}"
    typer.echo(as_json(serving) if json else sentence)
