"""`honed export`: what serves, as a folder that transformers loads."""

from pathlib import Path
from typing import Annotated

import typer

from honed.commands.options import Json, ModelName, connect, new_app
from honed.commands.output import as_json
from honed.commands.progress import progress
from honed.types import Export

app = new_app()


@app.command()
def export(
    ctx: typer.Context,
    model: ModelName,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", file_okay=False, help="A new or empty folder.")
    ],
    version: Annotated[
        int, typer.Option(min=0, max=2**64 - 1, help="0 exports what serves now.")
    ] = 0,
    json: Json = False,
) -> None:
    """Write a model as a folder that transformers loads."""
    with connect(ctx) as client, progress(f"exporting {model}", "bytes") as shown:
        exported = client.export_model(model, folder, version=version, progress=shown)
    typer.echo(as_json(exported) if json else _sentences(exported, folder))


def _sentences(exported: Export, folder: Path) -> str:
    return (
        f"{exported.model}, version {exported.version}, revision {exported.revision} "
        f"is in {folder} ({len(exported.files)} files); README.md there describes it\n"
        "load it in Python:\n"
        "  from transformers import pipeline\n"
        f'  classify = pipeline("text-classification", model={str(folder)!r}, top_k=None)'
    )
