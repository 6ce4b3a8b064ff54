"""`honed versions`: the durable versions of a model and the decisions about them."""

from json import loads

import typer

from honed.commands.options import Json, ModelName, connect, new_app
from honed.commands.output import as_json, cell, print_table

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
        ("time", "kind", "outcome", "version", "actor", "reason", "numbers"),
        (
            (d.time, d.kind, d.outcome, d.version, d.actor, d.reason, _numbers(d.numbers_json))
            for d in decisions
        ),
    )


def _numbers(numbers_json: str) -> str:
    """The numbers behind a decision in short; of lists only how much they hold."""
    numbers = loads(numbers_json or "{}")
    return ", ".join(
        f"{name} {f'{len(value)} entries' if isinstance(value, list | dict) else cell(value)}"
        for name, value in numbers.items()
    )
