"""What `honed bench` was asked for, fixed before a run; results repeat it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of a run. None leaves the choice to the scenario.

    Attributes:
        target: Address of a running server; None starts one for the run.
        server_flags: Settings of the server that is started, as `honed serve` takes them.
        models: Models to ask on a running server.
        texts: File of the texts to ask, one a line or a CSV file with a `text` column.
        labels: CSV file of `text` and `label` to submit to a running server.
        rows: Rows of Banking77 that a started server learns first; 0 for all.
        shape: Shape of the load, see `profile.parsed`; "" for one rate.
        speed: How many times faster than recorded a trace is replayed.
        rate_per_s: Rate of open loops; None takes `load_share` of the peak measured just before.
        load_share: Share of the peak.
        peak_per_s: Peak to take for granted; None measures it.
        overload_factor: Peaks offered in `overload`.
        concurrency: Callers of the closed loops.
        seconds: Measured seconds of each arm in each round.
        warm_s: Seconds of load before each arm that do not count.
        rounds: Interleaved rounds.
        timeout_s: Deadline of each request.
        processes: Client processes.
        seed: Of orders and arrivals.
        swaps_per_s: Heads offered a second in `swap`.
        labels_per_s: Labels submitted a second in `learn` and `mix`.
        mix_models: Models that `mix` creates on a started server.
        zipf: Exponent of their popularity.
        bound_ms: Latency bound of `mlperf` at its 99th percentile.
        logs: Folder for LoadGen's own logs; None keeps none.
        trace: JSONL file of the requests that `simulate` replays; None draws them.
        bulk_share: Part of the drawn requests that is bulk.
        tenants: Tenants that send them; the k-th sends 1/k as many as the first.
        slow: Seconds that a simulated run takes for each predicted one.
    """

    target: str | None = None
    server_flags: str = ""
    models: tuple[str, ...] = ()
    texts: str | None = None
    labels: str | None = None
    rows: int = 1000
    shape: str = ""
    speed: float = 1.0
    rate_per_s: float | None = None
    load_share: float = 0.7
    peak_per_s: float | None = None
    overload_factor: float = 2.0
    concurrency: tuple[int, ...] = (1, 8, 32)
    seconds: float = 20.0
    warm_s: float = 2.0
    rounds: int | None = None
    timeout_s: float | None = None
    processes: int = 2
    seed: int = 0
    swaps_per_s: float = 20.0
    labels_per_s: float = 20.0
    mix_models: int = 20
    zipf: float = 1.0
    bound_ms: float = 250.0
    logs: str | None = None
    trace: str | None = None
    bulk_share: float = 0.0
    tenants: int = 1
    slow: float = 1.0
