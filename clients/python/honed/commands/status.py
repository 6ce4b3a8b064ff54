"""`honed status`: one look at a server."""

import typer

from honed.commands.options import Json, connect, new_app
from honed.commands.output import as_json, print_table
from honed.types import Model

app = new_app()


@app.command()
def status(ctx: typer.Context, json: Json = False) -> None:
    """Show what the server serves, and how far learning is."""
    with connect(ctx) as client:
        models = client.list_models()
    if json:
        typer.echo(as_json({"target": client.target, "models": models}))
        return
    columns = ("model", "version", "revision", "behind", "labels", "anchors", "learning")
    print_table(f"Honed at {client.target}", columns, map(_row, models))


def _row(model: Model) -> tuple[object, ...]:
    learning = "paused" if model.adaptation_paused else model.adapt_state
    behind = "yes" if model.revision < model.log_position else "no"
    return (
        model.name,
        model.version,
        model.revision,
        behind,
        len(model.labels),
        model.anchor_examples,
        learning,
    )
