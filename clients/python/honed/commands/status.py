"""`honed status`: one look at a server."""

from dataclasses import asdict

import typer

from honed.client import Client
from honed.commands.health import server_health
from honed.commands.options import Json, address_of, connect, new_app
from honed.commands.output import as_json, print_table
from honed.types import Decision, Model

app = new_app()

_COLUMNS = (
    "model",
    "version",
    "revision",
    "behind",
    "labels",
    "anchors",
    "learning",
    "last decision",
)


@app.command()
def status(ctx: typer.Context, json: Json = False) -> None:
    """Show what the server serves, and how far learning is.

    Behind counts the positions of the feedback log that a model has not considered yet.
    """
    with connect(ctx) as client:
        models = client.list_models()
        decisions = {model.name: _last_decision(client, model.name) for model in models}
        health = server_health(client.target, address_of(ctx).timeout_s)
    if json:
        described = [
            {**asdict(each), "behind": behind(each), "last_decision": decisions[each.name]}
            for each in models
        ]
        typer.echo(as_json({"target": client.target, "health": health, "models": described}))
        return
    rows = (
        (
            model.name,
            model.version,
            model.revision,
            behind(model),
            len(model.labels),
            model.anchor_examples,
            learning(model),
            _sentence(decisions[model.name]),
        )
        for model in models
    )
    print_table(f"Honed at {client.target}: {health}", _COLUMNS, rows)


def behind(model: Model) -> int:
    """Positions of the feedback log that the serving revision has not considered."""
    return max(model.log_position - model.revision, 0)


def learning(model: Model) -> str:
    """Whether a model is learning now; for one with an own head, how much that counts."""
    state = "paused" if model.adaptation_paused else model.adapt_state
    if state == "running" and not model.settled:
        state = "learning"
    if not model.own_head_version:
        return state
    return f"{state}, weight {model.learned_weight:.2f} (evidence {model.learned_evidence:.1f})"


def _last_decision(client: Client, model: str) -> Decision | None:
    decisions = client.list_decisions(model)
    return decisions[-1] if decisions else None


def _sentence(decision: Decision | None) -> str | None:
    return f"{decision.kind}: {decision.outcome}" if decision is not None else None
