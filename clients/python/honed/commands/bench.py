"""`honed bench SCENARIO`: load on a server, and what its callers feel.

Says only what may be asked for: `honed_loadtest`, which needs the extra `bench`, does the work. It
is imported by name, since the SDK must not depend on it. The parameters have the names of
`honed_loadtest.options.Options`.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from honed.commands.failure import needs_extra
from honed.commands.options import Address, Json, new_app

app = new_app()


def _number(flag: str, text: str) -> Any:
    return typer.Option(flag, min=0.001, help=text)


def _count(text: str) -> Any:
    return typer.Option(min=1, help=text)


def _file(text: str) -> Any:
    return typer.Option(dir_okay=False, metavar="FILE", help=text)


Scenario = Annotated[
    str, typer.Argument(help="steady, closed, swap, learn, overload, mix, mlperf or simulate.")
]
Target = Annotated[
    str | None, typer.Option(help="A running server; else one is started.", metavar="HOST:PORT")
]
ServerFlags = Annotated[
    str, typer.Option(help="Settings of the server that is started.", metavar="FLAGS")
]
Compare = Annotated[
    tuple[str, str] | None,
    typer.Option(help="Two servers in turn, each HOST:PORT or FLAGS.", metavar="A B"),
]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="Model of a running server; repeatable.")
]
Texts = Annotated[Path | None, _file("Texts to ask: one a line, or CSV with `text`.")]
Labels = Annotated[Path | None, _file("Labels to submit: CSV of `text`, `label`.")]
Rows = Annotated[
    int, typer.Option(min=0, help="Rows that a started server learns first; 0 for all.")
]
Shape = Annotated[str, typer.Option(help="step:100x10,200x10 | spike:100,400x2@10 | trace:FILE")]
Speed = Annotated[float, _number("--speed", "How much faster a trace is replayed.")]
Rate = Annotated[float | None, _number("--rate", "Requests a second.")]
LoadShare = Annotated[float, _number("--load-share", "Without a rate: share of the peak.")]
Peak = Annotated[float | None, _number("--peak", "Peak in answers a second; else it is measured.")]
OverloadFactor = Annotated[float, _number("--overload-factor", "Peaks offered in `overload`.")]
Concurrency = Annotated[list[int], _count("Callers of a closed loop; repeatable.")]
Seconds = Annotated[float, _number("--seconds", "Of each arm in each round.")]
Warm = Annotated[float, typer.Option("--warm-s", min=0, help="Warm-up of each.")]
Rounds = Annotated[int | None, _count("Interleaved rounds.")]
Deadline = Annotated[float | None, _number("--deadline-s", "Deadline of each request.")]
Processes = Annotated[int, _count("Client processes.")]
SwapsPerS = Annotated[float, _number("--swaps-per-s", "In `swap`.")]
LabelsPerS = Annotated[float, _number("--labels-per-s", "In `learn` and `mix`.")]
MixModels = Annotated[int, _count("Models that `mix` creates.")]
Zipf = Annotated[float, typer.Option(min=0, help="Exponent of their popularity.")]
Bound = Annotated[float, _number("--bound-ms", "p99 bound of `mlperf`.")]
Logs = Annotated[
    Path | None, typer.Option(file_okay=False, help="Folder for the logs of `mlperf`.")
]
Trace = Annotated[Path | None, _file("Requests that `simulate` replays, one JSON object a line.")]
BulkShare = Annotated[
    float, typer.Option("--bulk-share", min=0, max=1, help="Part of the requests of `simulate`.")
]
Tenants = Annotated[int, _count("Tenants of `simulate`; the k-th asks 1/k as often.")]
Slow = Annotated[float, _number("--slow", "How many times slower than measured `simulate` runs.")]
Seed = Annotated[int, typer.Option(min=0, help="Of orders and arrivals.")]
Out = Annotated[Path | None, _file("Write the JSON object here.")]
Html = Annotated[Path | None, _file("Write a page here.")]


@app.command()
def bench(
    ctx: typer.Context,
    scenario: Scenario,
    target: Target = None,
    server_flags: ServerFlags = "",
    compare: Compare = None,
    models: Models = None,
    texts: Texts = None,
    labels: Labels = None,
    rows: Rows = 1000,
    shape: Shape = "",
    speed: Speed = 1.0,
    rate_per_s: Rate = None,
    load_share: LoadShare = 0.7,
    peak_per_s: Peak = None,
    overload_factor: OverloadFactor = 2.0,
    concurrency: Concurrency = [1, 8, 32],  # noqa: B006  (Typer copies it)
    seconds: Seconds = 20.0,
    warm_s: Warm = 2.0,
    rounds: Rounds = None,
    timeout_s: Deadline = None,
    processes: Processes = 2,
    swaps_per_s: SwapsPerS = 20.0,
    labels_per_s: LabelsPerS = 20.0,
    mix_models: MixModels = 20,
    zipf: Zipf = 1.0,
    bound_ms: Bound = 250.0,
    logs: Logs = None,
    trace: Trace = None,
    bulk_share: BulkShare = 0.0,
    tenants: Tenants = 1,
    slow: Slow = 1.0,
    seed: Seed = 0,
    json: Json = False,
    out: Out = None,
    html: Html = None,
) -> None:
    """Put load on a server and measure what its callers feel.

    Without --target a server is started over a fresh data folder: it learns Banking77 if
    HONED_DATA has it, the example otherwise. Exit code 1: the result says why it is not valid.
    `simulate` needs no server: it replays requests against the queue, in simulated time.
    """
    shown = {"scenario", "compare", "json", "out", "html"}
    settings = {name: value for name, value in ctx.params.items() if name not in shown}
    settings["target"] = target or _root_target(ctx)
    with needs_extra("bench"):
        harness = import_module("honed_loadtest.command")
    raise typer.Exit(harness.run(scenario, settings, compare, json, out, html))


def _root_target(ctx: typer.Context) -> str | None:
    """The server of `honed --target ... bench`. That of the environment is not put under load."""
    source, address = ctx.find_root().get_parameter_source("target"), ctx.find_object(Address)
    if source is None or source.name != "COMMANDLINE" or address is None:
        return None
    return address.target
