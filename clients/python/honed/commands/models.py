"""`honed models`: create, look at, pause, resume and delete models."""

from typing import Annotated

import typer

from honed.commands.create_model import create
from honed.commands.options import Json, ModelName, RequestedBy, connect, new_app
from honed.commands.output import as_fields, as_json, print_table
from honed.types import Model

app = new_app(no_args_is_help=True, help="Create, look at, pause, resume and delete models.")


def _print(model: Model, json: bool) -> None:
    typer.echo(as_json(model) if json else as_fields(model))


app.command()(create)


@app.command("list")
def list_(ctx: typer.Context, json: Json = False) -> None:
    """List all models."""
    with connect(ctx) as client:
        models = client.list_models()
    if json:
        typer.echo(as_json({"models": models}))
        return
    columns = ("model", "version", "revision", "labels", "created")
    rows = (
        (model.name, model.version, model.revision, len(model.labels), model.create_time)
        for model in models
    )
    print_table("models", columns, rows)


@app.command()
def show(ctx: typer.Context, model: ModelName, json: Json = False) -> None:
    """Describe one model."""
    with connect(ctx) as client:
        _print(client.get_model(model), json)


@app.command()
def pause(
    ctx: typer.Context, model: ModelName, requested_by: RequestedBy = "", json: Json = False
) -> None:
    """Stop learning; what serves stays, labels are still recorded."""
    with connect(ctx) as client:
        _print(client.pause(model, requested_by), json)


@app.command()
def resume(
    ctx: typer.Context,
    model: ModelName,
    exclude_suspected: Annotated[
        bool, typer.Option("--exclude-suspected", help="Leave out the feedback under suspicion.")
    ] = False,
    exclude_submitter: Annotated[
        str, typer.Option(help="Leave out what this submitter said in that range.")
    ] = "",
    requested_by: RequestedBy = "",
    json: Json = False,
) -> None:
    """Learn again after a pause or a rollback."""
    with connect(ctx) as client:
        _print(client.resume(model, exclude_suspected, exclude_submitter, requested_by), json)


@app.command()
def delete(
    ctx: typer.Context, model: ModelName, requested_by: RequestedBy = "", json: Json = False
) -> None:
    """Remove a model and forget its feedback; its name stays taken."""
    with connect(ctx) as client:
        forgotten = client.delete_model(model, requested_by)
    sentence = f"{model} is deleted; {forgotten} feedback entries are forgotten"
    typer.echo(as_json({"forgotten_feedback": forgotten}) if json else sentence)
