"""`honed explain`: why a text is answered as it is."""

from collections.abc import Sequence
from typing import Annotated

import typer

from honed.commands.options import Json, ModelName, connect, new_app
from honed.commands.output import as_json, print_table, printable
from honed.review_types import Explanation, Influence

app = new_app()

_COLUMNS = ("influence", "similarity", "label", "text", "submitter", "feedback id")


@app.command()
def explain(
    ctx: typer.Context,
    model: ModelName,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text.")],
    label: Annotated[
        str, typer.Option(help="The label to explain; without it the one that is answered.")
    ] = "",
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Labels of feedback to show.")] = 5,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Show how much each word counts.")
    ] = False,
    json: Json = False,
) -> None:
    """Show which labels and which words most move an answer."""
    with connect(ctx) as client:
        why = client.explain(model, text, label=label, top_k=top_k, tokens=tokens)
    typer.echo(as_json(why)) if json else _show(why)


def _show(why: Explanation) -> None:
    about = f"{why.model}, version {why.version}, revision {why.revision}"
    typer.echo(printable(f"{about}: {why.label} {why.probability:.4f}"))
    print_table("most influential", _COLUMNS, map(_row, why.influential))
    print_table("nearest", _COLUMNS, map(_row, why.nearest))
    if why.tokens:
        words = ((word.text, word.attribution) for word in why.tokens)
        print_table("words", ("word", "log probability that it adds"), words)


def _row(one: Influence) -> Sequence[object]:
    return one.influence, one.similarity, one.label, one.text, one.submitter, one.feedback_id
