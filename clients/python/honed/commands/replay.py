"""`honed replay`: an old answer, and the same version and revision asked again."""

from typing import Annotated

import typer

from honed.commands.options import Json, connect, new_app
from honed.commands.output import as_json, print_table, printable, printed_time
from honed.types import Replay

app = new_app()


@app.command()
def replay(
    ctx: typer.Context,
    prediction_id: Annotated[str, typer.Argument(metavar="PREDICTION", help="Id of the answer.")],
    text: Annotated[
        str, typer.Option(help="Its text, if the server keeps no texts.", show_default=False)
    ] = "",
    top_k: Annotated[int, typer.Option(min=1, max=1_000_000, help="Scores to compute anew.")] = 1,
    json: Json = False,
) -> None:
    """Compute an old answer anew, and compare.

    It is computed from what had been learned when it was given. The exit code is 0 if the label is
    the same and its probability within 0.0001, else 1.
    """
    with connect(ctx) as client:
        result = client.replay(prediction_id, text=text, top_k=top_k)
    if json:
        typer.echo(as_json(result))
    else:
        _show(result)
    if not result.matches:
        raise typer.Exit(1)


def _show(result: Replay) -> None:
    best, *others = result.scores
    rows: list[tuple[str, str, str]] = [
        ("label", result.label, best.label),
        ("probability", f"{result.probability:.6f}", f"{best.probability:.6f}"),
        *(("", "", f"{score.label} {score.probability:.6f}") for score in others),
    ]
    about = f"{result.model}, version {result.version}, revision {result.revision}: {result.text}"
    print_table(printable(about), ("", f"then, {printed_time(result.time)}", "now"), rows)
    verdict = "the same" if result.matches else "NOT the same"
    source = (
        f"{result.labels_learned} labels were learned anew"
        if result.labels_learned
        else "the version was read from disk"
    )
    typer.echo(f"{verdict}: {result.label} differs by {result.difference:.1g}; {source}")
