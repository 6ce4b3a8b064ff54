"""`honed rounds`: fine-tuning rounds of the server."""

from typing import Annotated

import typer

from honed.client import Client
from honed.commands.options import Json, ModelName, RequestedBy, connect, model_names, new_app
from honed.commands.output import as_fields, as_json, print_table
from honed.round_types import Round

app = new_app(no_args_is_help=True, help="List, start and cancel fine-tuning rounds.")

AnyModel = Annotated[
    str,
    typer.Argument(metavar="[MODEL]", help="A model; all without it.", autocompletion=model_names),
]


@app.command("list")
def list_(ctx: typer.Context, model: AnyModel = "", json: Json = False) -> None:
    """List rounds, newest first."""
    with connect(ctx) as client:
        found = client.list_rounds(model)
    if json:
        typer.echo(as_json({"rounds": found}))
        return
    columns = ("round", "models", "state", "kind", "trigger", "step", "left", "created", "reason")
    print_table("rounds", columns, map(_cells, found))


@app.command()
def start(
    ctx: typer.Context,
    model: ModelName,
    full: Annotated[bool, typer.Option("--full", help="Train all weights.")] = False,
    trials: Annotated[int, typer.Option(min=0, help="Trials of hyper-parameters before.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="0 draws one, which is recorded.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has ended.")] = False,
    requested_by: RequestedBy = "",
    json: Json = False,
) -> None:
    """Start a round for a model and those that share its encoder."""
    with connect(ctx) as client:
        started = client.start_round(
            model, full=full, trials=trials, seed=seed, requested_by=requested_by
        )
        shown = _until_ended(client, started) if wait else started
    typer.echo(as_json(shown) if json else as_fields(shown))
    if shown.state == "failed":
        raise typer.Exit(1)


@app.command()
def cancel(
    ctx: typer.Context,
    round_id: Annotated[str, typer.Argument(metavar="ROUND")],
    requested_by: RequestedBy = "",
    json: Json = False,
) -> None:
    """Stop a round; what it had done is thrown away."""
    with connect(ctx) as client:
        shown = client.cancel_round(round_id, requested_by)
    typer.echo(as_json(shown) if json else as_fields(shown))


def _until_ended(client: Client, started: Round) -> Round:
    """The round as it ended: looked at whenever its models change."""
    with client.watch(started.models[0]) as events:
        for _ in events:
            shown = next(r for r in client.list_rounds() if r.round_id == started.round_id)
            if not shown.active:
                return shown
    return started


def _cells(one: Round) -> tuple[object, ...]:
    left = f"{one.remaining_s:.0f} s" if one.active and one.steps else None
    step = f"{one.step}/{one.steps}" if one.steps else None
    return (
        one.round_id, one.models, one.state, one.kind, one.trigger, step, left, one.create_time,
        one.reason,
    )  # fmt: skip
