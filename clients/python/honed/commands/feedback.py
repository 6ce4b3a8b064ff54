"""`honed feedback`: submit, list, delete and import labels."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from honed.commands.deletions import delete, deletions
from honed.commands.import_feedback import ImportJob, import_file
from honed.commands.options import (
    Json,
    LabelFile,
    ModelName,
    PatienceSeconds,
    connect,
    new_app,
)
from honed.commands.output import as_json, print_table
from honed.commands.review import review, suspects
from honed.commands.rows import count_rows
from honed.commands.until_served import wait_until_served
from honed.errors import HonedError
from honed.types import FeedbackAck, FeedbackItem, FeedbackKind, FeedbackRecord, new_key

app = new_app(no_args_is_help=True, help="Submit, list, delete, import and review labels.")
app.command()(delete)
app.command()(deletions)
app.command()(review)
app.command()(suspects)


@app.command()
def submit(
    ctx: typer.Context,
    model: ModelName,
    text: Annotated[str, typer.Option(help="The labelled text.")] = "",
    prediction_id: Annotated[str, typer.Option(help="The answer it is about.")] = "",
    label: Annotated[str, typer.Option(help="The right label.")] = "",
    share: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=SHARE",
            show_default=False,
            help="Instead of --label, once for each of several labels; shares sum to 1.",
        ),
    ] = None,
    kind: Annotated[
        FeedbackKind | None,
        typer.Option(
            help="Without it: with a prediction id a correction, or a confirmation if there is no "
            "label; else an audit.",
            show_default=False,
        ),
    ] = None,
    submitter: Annotated[str, typer.Option(help="Who says so.")] = "",
    weight: Annotated[float, typer.Option(help="How much it counts, up to 10.")] = 1.0,
    key: Annotated[str, typer.Option(help="Idempotency key; random without it.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Return when it serves.")] = False,
    json: Json = False,
) -> None:
    """Submit one label for a text or an earlier answer."""
    if not (text or prediction_id):
        raise typer.BadParameter("give --text or --prediction-id", ctx)
    item = FeedbackItem(
        text=text,
        label=_said(label, share or []),
        kind=kind or _default_kind(prediction_id, bool(share or label)),
        prediction_id=prediction_id,
        submitter=submitter,
        weight=weight,
        idempotency_key=key or new_key(),
    )
    with connect(ctx) as client:
        (result,) = client.submit_many(model, [item], wait)
    if isinstance(result, HonedError):
        raise result
    typer.echo(as_json(result) if json else _sentence(result, wait))


def _said(label: str, shares: list[str]) -> str | dict[str, float]:
    if label and shares:
        raise typer.BadParameter("give --label or --share, not both")
    return dict(map(_share, shares)) or label


def _share(written: str) -> tuple[str, float]:
    label, _, share = written.rpartition("=")
    try:
        return label, float(share)
    except ValueError:
        raise typer.BadParameter(f"--share {written!r} is not LABEL=SHARE") from None


def _default_kind(prediction_id: str, labelled: bool) -> FeedbackKind:
    if not prediction_id:
        return FeedbackKind.AUDIT
    return FeedbackKind.CORRECTION if labelled else FeedbackKind.CONFIRMATION


def _sentence(ack: FeedbackAck, waited: bool) -> str:
    verb = "was already recorded" if ack.already_recorded else "is recorded"
    sentence = f"{ack.feedback_id} {verb} at position {ack.position}"
    if ack.quarantined:
        return f"{sentence}; the anchor guard put it in quarantine"
    if ack.served:
        return f"{sentence}; version {ack.served_version}, revision {ack.served_revision} serves it"
    return f"{sentence}; not served yet" if waited else sentence


@app.command("list")
def list_(
    ctx: typer.Context,
    model: ModelName,
    label: Annotated[str, typer.Option(help="Only entries with this label.")] = "",
    submitter: Annotated[str, typer.Option(help="Only entries of this submitter.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many to list at most.")] = 100,
    json: Json = False,
) -> None:
    """List labels in log order, deleted ones as tombstones."""
    with connect(ctx) as client:
        found = client.list_feedback(model, label, submitter, page_size=min(limit, 1000))
        records = list(islice(found, limit))
    if json:
        typer.echo(as_json({"records": records}))
        return
    columns = ("position", "feedback id", "kind", "state", "label", "text", "submitter", "recorded")
    print_table(model, columns, map(_row, records))


def _row(record: FeedbackRecord) -> tuple[object, ...]:
    return (
        record.position,
        record.feedback_id,
        record.kind,
        record.state,
        ", ".join(f"{one.label} {one.share:.4g}" for one in record.shares) or record.label,
        record.text,
        record.submitter,
        record.recorded_time,
    )


@app.command("import")
def import_(
    ctx: typer.Context,
    model: ModelName,
    file: LabelFile,
    errors: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            show_default=False,
            help="Where refused rows are written; FILE.errors.jsonl if left out.",
        ),
    ] = None,
    patience_s: PatienceSeconds = 60.0,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew after an interruption.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it serves.")] = False,
    json: Json = False,
) -> None:
    """Submit every row of a file; after an interruption, the rest of them.

    Columns: text, label, and if you like id, submitter, time (ISO 8601 or Unix seconds), weight
    and kind (audit if left out). In JSONL a label may be an object of labels and their shares. The
    id, or else the content of the row, is its idempotency key: importing a file again is harmless.
    """
    job = ImportJob(file, count_rows(file), errors, patience_s, restart)
    with connect(ctx) as client:
        described = client.get_model(model)
        tally = import_file(client, described, job)
        if wait and tally.position:
            described = wait_until_served(client, model, tally.position, patience_s)
    serving = {"served_version": described.version, "served_revision": described.revision}
    sentence = job.sentence(tally)
    if wait:
        sentence += f"; version {described.version}, revision {described.revision} serves"
    typer.echo(as_json({**job.summary(tally), **serving}) if json else sentence)
    if tally.refused:
        raise typer.Exit(1)
