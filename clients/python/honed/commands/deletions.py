"""`honed feedback delete` and `honed feedback deletions`: forget, and show what is forgotten."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from honed.commands.failure import complain, exit_code
from honed.commands.options import Json, ModelName, RequestedBy, connect
from honed.commands.output import as_json, print_table
from honed.errors import HonedError
from honed.types import Deletion, DeletionRecord, TaintedVersion


def _time(value: str) -> datetime | None:
    if not value:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError as error:
        raise typer.BadParameter(f"{value!r} is not an ISO 8601 time") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def delete(
    ctx: typer.Context,
    model: ModelName,
    feedback_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FEEDBACK_ID]...", help="Labels to forget.", show_default=False),
    ] = None,
    submitter: Annotated[str, typer.Option(help="Forget all labels of this submitter.")] = "",
    recorded_from: Annotated[
        str, typer.Option("--from", help="Only those recorded at or after this (ISO 8601, UTC).")
    ] = "",
    recorded_until: Annotated[
        str, typer.Option("--until", help="Only those recorded before this (ISO 8601, UTC).")
    ] = "",
    requested_by: RequestedBy = "",
    json: Json = False,
) -> None:
    """Forget labels and all their influence: by id, by submitter or by time."""
    first, last = _time(recorded_from), _time(recorded_until)
    if bool(feedback_ids) == bool(submitter or first or last):
        raise typer.BadParameter("give FEEDBACK_IDs, or --submitter, --from or --until", ctx)
    with connect(ctx) as client:
        deletion = client.delete(model, feedback_ids or (), requested_by, submitter, first, last)
    errors = [result for result in deletion.results if isinstance(result, HonedError)]
    typer.echo(as_json(deletion) if json else _sentence(deletion, len(errors)))
    for error in errors:
        complain(error)
    if errors:
        raise typer.Exit(exit_code(errors[0]))


def _sentence(deletion: Deletion, errors: int) -> str:
    forgotten = len(deletion.results) - errors if deletion.results else deletion.deleted
    return (
        f"forgot {forgotten} at position {deletion.position}; "
        f"version {deletion.served_version}, revision {deletion.served_revision} serves"
    )


def deletions(ctx: typer.Context, model: ModelName, json: Json = False) -> None:
    """Show what was deleted, and which versions still hold of it until when."""
    with connect(ctx) as client:
        records = client.list_deletions(model)
    if json:
        typer.echo(as_json({"deletions": records}))
        return
    columns = (
        "position", "time", "requested by", "submitter", "entries", "first revision without",
        "difference", "complete", "still in",
    )  # fmt: skip
    print_table(model, columns, [_row(model, record) for record in records])


def _row(model: str, record: DeletionRecord) -> tuple[object, ...]:
    held = [_held(model, one) for one in record.tainted]
    return (
        record.position,
        record.time,
        record.requested_by,
        record.submitter,
        len(record.feedback_ids),
        record.served_revision or "none yet",
        "" if record.difference is None else f"{record.difference:.1e}",
        "yes" if record.complete else "no",
        ", ".join(held),
    )


def _held(model: str, one: TaintedVersion) -> str:
    whose = f" of {one.model}" if one.model not in ("", model) else ""
    how = " (encoder)" if one.in_encoder else ""
    return f"{one.version}{whose}{how} until {one.retire_time:%Y-%m-%d}"
