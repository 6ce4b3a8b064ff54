"""Several ways to do one thing, timed in turns and compared.

Each is timed as called (`eager_us`: with the host's work), and recorded in a CUDA graph: many calls
one after the other (`warm_us`) and a single one with an empty cache (`cold_us`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from honed_kernels.gpu.bench import Bench
from honed_kernels.gpu.device import Call
from honed_kernels.gpu.report import Outcome

OURS = "honed"
_ROUNDS = 3
_REPEATS = 20
_GRAPH_US = 2_000.0
_AGREE = 0.05
_FAR = 1e9  # apart at most: the results' JSON has neither NaN nor infinity
# Rivals that wait for the device, so that no graph can record them.
_WAITING = ("liger", "cut cross entropy")


class Absent(Exception):
    """A rival that is not installed here; says what is missing."""


Way = Callable[[], tuple[Tensor, ...]]
"""One way to do the thing; the first result must agree with ours."""

Maker = Callable[[], Way]
"""Sets one way up, importing what it needs."""


@dataclass(frozen=True, slots=True)
class Times:
    """Of one way; None is what was not measured, and `why` says why.

    Attributes:
        eager_us: microseconds as called, the cache warm.
        warm_us: in a graph of many calls, of one of them.
        cold_us: in a graph of one call with an empty cache; `Ceilings.launch_us` are in it.
        launches: pieces of work that a call gives the device.
        peak_bytes: of memory, results included.
        differs_by: largest difference of a result from ours, over 1 or our largest.
        why: what was not measured.
    """

    eager_us: float | None = None
    warm_us: float | None = None
    cold_us: float | None = None
    launches: int | None = None
    peak_bytes: int | None = None
    differs_by: float | None = None
    why: str = ""


GRAPHS = ("warm_us", "cold_us")
MODES = ("eager_us", *GRAPHS)


def compare(
    bench: Bench, ways: Mapping[str, Maker], *, bytes_moved: float, operations: float
) -> tuple[dict[str, Times], dict[str, Any]]:
    """Time all ways in turns.

    Args:
        bench: the device.
        ways: ours, by the name `OURS`, and the others.
        bytes_moved: that our way must read and write at least.
        operations: that it must do at least, in float16 or bfloat16.

    Returns:
        The times by name, and the figures of the case: the times, the least time that the ceilings
        allow, and ours as shares of both.
    """
    calls, found = _set_up(ways)
    prepared = {name: _modes(bench, call, name in _WAITING) for name, call in calls.items()}
    samples: dict[tuple[str, str], list[float]] = {}
    for _ in range(1 if bench.dry else _ROUNDS):
        for name, (modes, _) in prepared.items():
            for mode, (call, repeats) in modes.items():
                spent = bench.device.time(call, cold=mode == "cold_us") / repeats
                samples.setdefault((name, mode), []).append(spent)
    ours = calls[OURS]()[0]
    for name, call in calls.items():
        found[name] = Times(
            **{mode: median(samples[name, mode]) for mode in prepared[name][0]},
            launches=bench.device.launches(call),
            peak_bytes=bench.device.peak(call),
            differs_by=difference(call()[0], ours),
            why=prepared[name][1],
        )
    return found, _figures(bench, found, bytes_moved, operations)


def difference(one: Tensor, ours: Tensor) -> float:
    """Largest difference of a result from ours, over 1 or our largest; NaN is far from all."""
    one, ours = one.float(), ours.float()
    apart = (one - ours).abs().max() / ours.abs().max().clamp_min(1)
    return float(apart.nan_to_num(nan=_FAR).clamp_max(_FAR))


def ratios(times: Mapping[str, Times], others: Sequence[str]) -> dict[str, float]:
    """How many times as fast as the fastest of the others ours is, in each mode that has both."""
    found = {}
    for mode in MODES:
        ours = getattr(times[OURS], mode)
        theirs = [spent for name in others if (spent := getattr(times[name], mode)) is not None]
        if ours and theirs:
            found[mode] = min(theirs) / ours
    return found


def least(found: Mapping[str, float], modes: Sequence[str] = GRAPHS) -> float | None:
    """The least of the ratios in some modes; by default those of a server, which replays graphs."""
    return min((ratio for mode, ratio in found.items() if mode in modes), default=None)


def timed(values: dict[str, Any]) -> Outcome:
    """Of a comparison: a way that gives other results than ours makes it a failure."""
    apart = [name for name, way in values["ways"].items() if (way["differs_by"] or 0) > _AGREE]
    why = f"other results than ours: {', '.join(apart)}" if apart else ""
    return Outcome(values, "failed" if apart else "done", why)


def _set_up(ways: Mapping[str, Maker]) -> tuple[dict[str, Way], dict[str, Times]]:
    """Ours must work; a rival that does not is told of."""
    calls, found = {OURS: ways[OURS]()}, {}
    for name, make in ways.items():
        if name == OURS:
            continue
        try:
            call = make()
            call()
            calls[name] = call
        except Absent as absent:
            found[name] = Times(why=f"absent: {absent}")
        except Exception as error:  # noqa: BLE001 - what fails in a rival is a result
            found[name] = Times(why=f"failed: {type(error).__name__}: {str(error)[:300]}")
    return calls, found


def _modes(bench: Bench, call: Call, waits: bool) -> tuple[dict[str, tuple[Call, int]], str]:
    """What to time in each mode, and how many calls it makes."""
    modes = {"eager_us": (call, 1)}
    if waits:
        return modes, "no graph: it waits for the device"
    call()
    once_us = bench.device.time(call)
    repeats = 1 if bench.dry else max(1, min(_REPEATS, int(_GRAPH_US / once_us)))

    def many() -> None:
        for _ in range(repeats):
            call()

    try:
        modes["cold_us"] = (bench.device.capture(call), 1)
        modes["warm_us"] = (bench.device.capture(many), repeats)
    except Exception as error:  # noqa: BLE001 - what no graph can record is timed as called
        return {"eager_us": modes["eager_us"]}, f"no graph: {str(error)[:300]}"
    return modes, ""


def _figures(
    bench: Bench, times: Mapping[str, Times], bytes_moved: float, operations: float
) -> dict[str, Any]:
    ceilings = bench.ceilings
    by_bytes = bytes_moved / ceilings.bytes_per_s * 1e6
    by_operations = operations / ceilings.operations_per_s[torch.bfloat16] * 1e6
    ours = times[OURS].cold_us or times[OURS].eager_us
    assert ours, "ours was timed"
    return {
        "bytes": bytes_moved,
        "operations": operations,
        "floor_us": max(by_bytes, by_operations),
        "share_of_copy": by_bytes / ours,
        "share_of_product": by_operations / ours,
        "times_as_fast_as_the_fastest": ratios(times, [name for name in times if name != OURS]),
        "ways": {name: asdict(one) for name, one in times.items()},
    }
