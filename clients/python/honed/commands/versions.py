"""`honed versions`: the durable versions of a model and the decisions about them."""

import typer

from honed.commands.options import Json, ModelName, connect, new_app
from honed.commands.output import as_json, print_table

app = new_app(no_args_is_help=True, help="List the versions of a model.")


@app.callback()
def versions() -> None:
    """Keeps `list` a sub-command, though it is the only one."""


@app.command("list")
def list_(ctx: typer.Context, model: ModelName, json: Json = False) -> None:
    """List the versions of a model, and who decided what about them."""
    with connect(ctx) as client:
        found, decisions = client.list_versions(model), client.list_decisions(model)
    if json:
        typer.echo(as_json({"versions": found, "decisions": decisions}))
        return
    print_table(
        f"{model}: versions",
        ("version", "state", "parent", "labels", "log position", "source", "created"),
        (
            (v.version, v.state, v.parent, v.num_labels, v.log_position, v.source, v.create_time)
            for v in found
        ),
    )
    print_table(
        f"{model}: decisions",
        ("time", "kind", "outcome", "version", "actor", "reason"),
        ((d.time, d.kind, d.outcome, d.version, d.actor, d.reason) for d in decisions),
    )
