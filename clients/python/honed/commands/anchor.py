"""`honed anchor`: trusted labels that guard learning and never train."""

from typing import Annotated

import typer

from honed.commands.import_feedback import batched
from honed.commands.options import Json, LabelFile, ModelName, connect, new_app
from honed.commands.output import as_json
from honed.commands.rows import Row, hard_label, read_feedback
from honed.errors import InvalidRequest
from honed.types import AnchorImport

app = new_app(no_args_is_help=True, help="Import trusted labels that guard learning.")

_BATCH_EXAMPLES = 1000  # what the server takes in one call


@app.callback()
def anchor() -> None:
    """Keeps `import` a sub-command, though it is the only one."""


@app.command("import")
def import_(
    ctx: typer.Context,
    model: ModelName,
    file: LabelFile,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop the present anchor set first.")
    ] = False,
    json: Json = False,
) -> None:
    """Add the columns text and label of a file to the anchor set, if every row can be read."""
    examples = [_example(row, file.name) for row in read_feedback(file)]
    if not examples:
        raise InvalidRequest(f"{file.name} has no rows", "INVALID_IMPORT", "INVALID_ARGUMENT")
    imported, result = 0, AnchorImport(0, 0, ())
    with connect(ctx) as client:
        for batch in batched(examples, _BATCH_EXAMPLES):
            result = client.import_anchor(model, batch, replace and not imported)
            imported += result.imported
    total = AnchorImport(imported, result.total, result.unknown_labels)
    typer.echo(as_json(total) if json else _sentence(total))


def _example(row: Row, file_name: str) -> tuple[str, str]:
    if isinstance(row.item, InvalidRequest):
        message = f"{file_name}, line {row.line}: {row.item.message}"
        raise InvalidRequest(message, row.item.reason, row.item.status)
    return row.item.text, hard_label(row.item, f"{file_name}, line {row.line}: an anchor set")


def _sentence(result: AnchorImport) -> str:
    sentence = f"{result.imported} added or changed; the anchor set has {result.total} examples"
    if result.unknown_labels:
        sentence += f"; labels not known to the model yet: {', '.join(result.unknown_labels)}"
    return sentence
