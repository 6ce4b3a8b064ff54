"""`honed predict`: texts -> labels."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from honed.commands.failure import complain, exit_code
from honed.commands.options import Json, ModelName, connect, new_app
from honed.commands.output import as_json, print_table
from honed.errors import HonedError
from honed.types import Prediction

app = new_app()


@app.command()
def predict(
    ctx: typer.Context,
    model: ModelName,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Texts to classify.")],
    top_k: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Scores to show for each text.")
    ] = 1,
    labels: Annotated[
        bool,
        typer.Option("--set", help="Show the labels that hold the right one, as the policy says."),
    ] = False,
    json: Json = False,
) -> None:
    """Classify texts with a model."""
    with connect(ctx) as client:
        results = client.predict_many(model, texts, top_k, prediction_set=labels)
    if json:
        typer.echo(as_json({"predictions": results}))
    else:
        columns = ("text", "label", "probability", "version", "revision", "prediction id")
        print_table(model, (*columns, "set") if labels else columns, _rows(results, labels))
    errors = [result for result in results if isinstance(result, HonedError)]
    for error in errors:
        complain(error)
    if errors:
        raise typer.Exit(exit_code(errors[0]))


def _rows(results: Sequence[Prediction | HonedError], labels: bool) -> Iterator[tuple[object, ...]]:
    """One row for each score; the answer's own facts stand beside the best one only."""
    for answer in results:
        if isinstance(answer, HonedError):
            continue
        first, *others = answer.scores
        shown = (", ".join(answer.prediction_set),) if labels else ()
        yield (
            answer.text,
            f"{first.label} (out of scope)" if answer.out_of_scope else first.label,
            first.probability,
            answer.version,
            answer.revision,
            answer.prediction_id,
            *shown,
        )
        blank = ("", "", "", *("" for _ in shown))
        yield from (("", score.label, score.probability, *blank) for score in others)
