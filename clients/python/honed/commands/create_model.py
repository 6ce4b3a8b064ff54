"""`honed models create`: empty, from a checkpoint, or with a file of labels that it learns."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from honed.client import Client
from honed.commands.import_checkpoint import Tally
from honed.commands.import_feedback import ImportJob, import_file
from honed.commands.options import Json, NewModelName, PatienceSeconds, connect
from honed.commands.output import as_json, printable
from honed.commands.progress import progress
from honed.commands.rows import count_rows
from honed.commands.until_served import wait_until_served
from honed.types import Model

_SHOWN_LABELS = 8
_SHOWN_DIGEST = 12


OwnFolder = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Hugging Face folder of a fine-tuned classifier; it is sent to the server.",
    ),
]
WithoutHead = Annotated[
    bool, typer.Option("--without-head", help="Use only the encoder of that folder.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--labels", "--label", metavar="A,B,C", help="Labels to declare."),
]
ClosedLabels = Annotated[
    bool, typer.Option("--closed-labels", "--closed", help="Refuse labels that were not declared.")
]
DataFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, metavar="FILE", help="A .csv or .jsonl to learn."),
]
EncoderDigest = Annotated[
    str, typer.Option(metavar="DIGEST", help="Encoder to use; the default one if left out.")
]


def create(
    ctx: typer.Context,
    model: NewModelName,
    folder: OwnFolder = None,
    without_head: WithoutHead = False,
    labels: Labels = None,
    closed_labels: ClosedLabels = False,
    data: DataFile = None,
    encoder: EncoderDigest = "",
    patience_s: PatienceSeconds = 60.0,
    json: Json = False,
) -> None:
    """Create a model: empty, or from your own checkpoint, and with --data, taught already."""
    declared = _split(labels or [])
    _check_usage(folder, without_head, declared, encoder)
    # Read before the model is made: a name is used up once, and the file may be none of labels.
    job = ImportJob(data, count_rows(data), patience_s=patience_s) if data is not None else None
    with connect(ctx) as client:
        if folder is not None:
            made = _send(client, model, folder, without_head, declared, closed_labels)
        else:
            made = client.create_model(model, declared, closed_labels, encoder)
        tally = import_file(client, made, job) if job is not None else Tally()
        if tally.position:
            made = wait_until_served(client, model, tally.position, patience_s)
    _tell(made, job, tally, json)
    if tally.refused:
        raise typer.Exit(1)


def _split(values: list[str]) -> list[str]:
    """Labels apart at commas; one that has a comma itself stands in double quotes."""
    return [label for row in csv.reader(values, skipinitialspace=True) for label in row if label]


def _check_usage(folder: Path | None, without_head: bool, labels: list[str], encoder: str) -> None:
    if folder is None and without_head:
        raise typer.BadParameter("--without-head needs --from DIR")
    if folder is not None and encoder:
        raise typer.BadParameter("--from brings its own encoder: leave --encoder out")
    if folder is not None and labels and not without_head:
        raise typer.BadParameter("the head has its own labels: leave --labels out")


def _send(
    client: Client, name: str, folder: Path, without_head: bool, labels: list[str], closed: bool
) -> Model:
    with progress(f"sending {folder.name}", "bytes") as shown:
        return client.import_model(
            name,
            folder,
            without_head=without_head,
            labels=labels,
            closed_labels=closed,
            progress=shown,
        )


def _tell(model: Model, job: ImportJob | None, tally: Tally, json: bool) -> None:
    if json:
        imported = job.summary(tally) if job is not None else None
        typer.echo(as_json({**asdict(model), "imported": imported}))
        return
    typer.echo(
        printable(
            f"{model.name} is created: {_labels(model)}; encoder "
            f"{model.encoder_digest[:_SHOWN_DIGEST]}, {model.hidden_size} numbers a vector, "
            f"texts of up to {model.max_tokens} tokens"
        )
    )
    if model.own_head_version:
        typer.echo(
            f"version {model.own_head_version} is your own head; what is learned counts beside it "
            "once audited labels prove that it helps"
        )
    if job is not None:
        serves = f"version {model.version}, revision {model.revision} serves"
        typer.echo(f"{job.sentence(tally)}; {serves}")


def _labels(model: Model) -> str:
    if not model.labels:
        return "no labels yet"
    shown = ", ".join(model.labels[:_SHOWN_LABELS])
    more = ", ..." if len(model.labels) > _SHOWN_LABELS else ""
    return f"{len(model.labels)} labels ({shown}{more})"
