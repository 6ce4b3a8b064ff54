"""`honed promote`: make a version serve by hand."""

import typer

from honed.commands.options import Json, ModelName, RequestedBy, VersionNumber, connect, new_app
from honed.commands.output import as_json

app = new_app()


@app.command()
def promote(
    ctx: typer.Context,
    model: ModelName,
    version: VersionNumber = 0,
    requested_by: RequestedBy = "",
    json: Json = False,
) -> None:
    """Make a version serve, over the gate and on the record.

    Without VERSION, the revision that serves now becomes a durable version.
    """
    with connect(ctx) as client:
        serving = client.promote(model, version, requested_by)
    sentence = f"{model} serves version {serving.version}, revision {serving.revision}"
    typer.echo(as_json(serving) if json else sentence)
