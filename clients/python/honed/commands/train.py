"""`honed train`: fine-tune on a file of labels, on this machine, and report.

`honed_server.rounds.offline` does the work, imported by name: the SDK must not depend on it.
No server is needed but for `--publish`.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from honed.commands.failure import needs_extra
from honed.commands.options import Json, ModelName, address_of, connect, new_app
from honed.commands.output import as_json, print_table, printable
from honed.commands.progress import progress
from honed.commands.rows import hard_label, read_feedback
from honed.errors import HonedError, InvalidRequest

app = new_app()

_SHOWN_CONFUSIONS = 10


@app.command()
def train(
    ctx: typer.Context,
    model: ModelName,
    data: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Labels to learn.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, metavar="DIR", help="Folder to write; MODEL-tuned without."),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option("--from", exists=True, file_okay=False, metavar="DIR", help="Base encoder."),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Labels for the report."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train all weights.")] = False,
    epochs: Annotated[int, typer.Option(min=0, help="At most so many; 0 for the default.")] = 0,
    trials: Annotated[int, typer.Option(min=0, help="Trials of hyper-parameters before.")] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="None begins after so many.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    publish: Annotated[
        bool, typer.Option("--publish", help="Send it to the server as a candidate of MODEL.")
    ] = False,
    json: Json = False,
) -> None:
    """Fine-tune here, on a file of labels: a report and a folder.

    The folder is one that transformers loads and that `honed models create --from` takes.
    """
    labels, judged = _pairs(data), [] if test is None else _pairs(test)
    folder = out or Path(f"{model}-tuned")
    with needs_extra("train"):
        offline = import_module("honed_server.rounds.offline")
    report = _run(offline, labels, judged, {
        "model": model, "out": folder, "base": base, "full": full, "epochs": epochs,
        "trials": trials, "minutes": minutes, "seed": seed,
    })  # fmt: skip
    if publish:
        report = {**report, "published": _publish(ctx, model, folder)}
    if json:
        typer.echo(as_json({**report, "folder": str(folder)}))
    else:
        _show(report, folder)


def _pairs(path: Path) -> list[tuple[str, str]]:
    pairs = []
    for row in read_feedback(path):
        if isinstance(row.item, HonedError):
            raise row.item
        pairs.append((row.item.text, hard_label(row.item, "honed train")))
    return pairs


def _run(offline: Any, labels: Any, test: Any, settings: dict[str, Any]) -> dict[str, Any]:
    with progress("training") as shown:
        recipe = offline.Recipe(
            **settings,
            step=shown,
            tell=shown.say,
        )
        try:
            report: dict[str, Any] = offline.run(recipe, labels, test)
        except (offline.TrainingError, ValueError) as error:
            raise InvalidRequest(str(error), "CANNOT_TRAIN", "INVALID_ARGUMENT") from error
    return report


def _publish(ctx: typer.Context, model: str, folder: Path) -> dict[str, Any]:
    """Sends the folder; says what the gate made of it."""
    with connect(ctx) as client, progress(f"sending {folder.name}", "bytes") as shown:
        client.import_model(model, folder, as_candidate=True, progress=shown)
        gate = [one for one in client.list_decisions(model) if one.kind == "gate"][-1]
    return {
        "target": address_of(ctx).target,
        "version": gate.version,
        "outcome": gate.outcome,
        "reason": gate.reason,
    }


def _show(report: dict[str, Any], folder: Path) -> None:
    classes = report["classes"].items()
    print_table(
        "classes",
        ("label", "precision", "recall", "F1", "texts"),
        ((label, c["precision"], c["recall"], c["f1"], c["support"]) for label, c in classes),
    )
    if report["confusion"]:
        shown = report["confusion"][:_SHOWN_CONFUSIONS]
        print_table("most confused", ("label", "answered", "times"), shown)
    typer.echo(
        f"accuracy {report['accuracy']:.4f} on {report['rows']} texts, macro F1 "
        f"{report['macro_f1']:.4f}, calibration error {report['calibration_error']:.4f}, "
        f"Brier {report['brier']:.4f}"
    )
    typer.echo(
        "the instant lane, with the same labels as feedback: "
        f"{report['closed_form']['accuracy']:.4f} over the tuned encoder, "
        f"{report['base_closed_form']['accuracy']:.4f} over the base"
    )
    typer.echo(
        f"{report['kind']}, seed {report['seed']}: epoch {report['best_epoch']} of "
        f"{len(report['epochs'])} was kept, {report['cpu_s']:.0f} s of CPU; in {folder}"
    )
    if (sent := report.get("published")) is not None:
        typer.echo(printable(f"version {sent['version']} is {sent['outcome']}: {sent['reason']}"))
