"""`honed feedback review` and `honed feedback suspects`: what to label next, what to doubt."""

from typing import Annotated

import typer

from honed.commands.options import Json, ModelName, connect
from honed.commands.output import as_json, print_table
from honed.review_types import Accuracy, ReviewItem, SubmitterReport, Suspect


def review(
    ctx: typer.Context,
    model: ModelName,
    size: Annotated[int, typer.Option(min=1, max=256, help="How many to propose.")] = 20,
    audit_share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share that is drawn at random; without it 0.25.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Propose what to label next: unsure answers, and a random sample to audit.

    Submit a label of kind audit with that kind, whether the answer was right or wrong.
    """  # fmt: skip
    with connect(ctx) as client:
        found = client.review(model, size, audit_share=audit_share)
    if json:
        typer.echo(as_json(found))
        return
    columns = ("prediction id", "kind", "margin", "label", "probability", "text")
    print_table(model, columns, map(_item, found.items))
    typer.echo(_accuracy("audited traffic", found.audited))
    typer.echo(_accuracy("what people chose to label", found.chosen))


def suspects(
    ctx: typer.Context,
    model: ModelName,
    size: Annotated[int, typer.Option(min=1, max=1000, help="How many labels to show.")] = 20,
    json: Json = False,
) -> None:
    """Show labels that the others do not bear out, and what submitters are worth."""
    with connect(ctx) as client:
        found = client.suspects(model, size)
    if json:
        typer.echo(as_json(found))
        return
    columns = (
        "feedback id",
        "label",
        "probability",
        "suggested",
        "probability",
        "text",
        "submitter",
    )
    print_table("labels", columns, map(_suspect, found.suspects))
    titles = (
        "submitter",
        "labels",
        "weight",
        "agreement",
        "95 %",
        "suspicious",
        "quarantined",
        "capped",
    )
    print_table("submitters", titles, map(_submitter, found.submitters))


def _item(item: ReviewItem) -> tuple[object, ...]:
    kind = item.kind if item.kind == "audit" else ""
    return item.prediction_id, kind, item.margin, item.label, item.probability, item.text


def _suspect(one: Suspect) -> tuple[object, ...]:
    record = one.record
    return (
        record.feedback_id, record.label, one.probability, one.suggested_label,
        one.suggested_probability, record.text, record.submitter,
    )  # fmt: skip


def _submitter(one: SubmitterReport) -> tuple[object, ...]:
    between = f"{one.agreement_low:.2f} to {one.agreement_high:.2f}"
    return (
        one.submitter or "-", one.labels, one.weight_share, one.agreement, between,
        "yes" if one.suspicious else "", one.quarantined, one.capped_share,
    )  # fmt: skip


def _accuracy(of: str, found: Accuracy) -> str:
    if not found.labelled:
        return f"{of}: nothing labelled yet"
    share = found.right / found.labelled
    return (
        f"{of}: {share:.1%} of {found.labelled} answers right "
        f"(95 %: {found.low:.1%} to {found.high:.1%})"
    )
