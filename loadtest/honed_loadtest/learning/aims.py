"""What issue 6 wants of learning, and whether results reach it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import eq, ge, le
from typing import Any

from honed_loadtest.learning.catalogue import HONED
from honed_loadtest.learning.streams import ADVERSARY

Run = Mapping[str, Any]
Aim = dict[str, Any]

_AT_LEAST, _AT_MOST, _JUST = ">=", "<=", "="
_SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {_AT_LEAST: ge, _AT_MOST: le, _JUST: eq}

_FINAL = {"banking77": 0.933, "clinc150": 0.948}
_OOS = {"clinc150": 0.972}
_FORGETTING = 0.025
_FIRST = {"stream_first": ("accuracy before learning", 0.70), "first": ("test accuracy", 0.85)}
_RECENT, _RECENT_YEARS = 0.66, ("2017", "2018")
_TUNED = {"banking77": 0.945, "clinc150": 0.965, "arxiv_stream": 0.70}
_GAINED = {"medical_abstracts": 0.03, "kdconv_zh": 0.05}
_LOST = {"noisy": 0.03, "adversarial": 0.02}
_DELETION = 1e-9
_SERVED_MS = 50.0
_FALSE = 0.05


def aims(results: Mapping[str, Any]) -> list[Aim]:
    """Each aim that the results say something of: what is wanted, what was found, if reached."""
    found = {one["stream"]: one["summary"] for one in results["runs"] if one["name"] == HONED}
    return [
        *_classic(found), *_spoilt(found), *_time_order(results), *_rounds(results),
        *_product(results),
    ]  # fmt: skip


def _classic(found: Mapping[str, Run]) -> Iterator[Aim]:
    for name, least in _FINAL.items():
        for form in ("random", "class-incremental", "late-class"):
            title = f"{name}, {form}: test accuracy at the end"
            yield from _of(title, found, f"{name}/{form}", "final", _AT_LEAST, least)
        title, stream = f"{name}, class-incremental: forgetting", f"{name}/class-incremental"
        yield from _of(title, found, stream, "forgetting", _AT_MOST, _FORGETTING)
    for name, least in _OOS.items():
        title = f"{name}: out-of-scope AUROC"
        yield from _of(title, found, f"{name}/out-of-scope", "auroc", _AT_LEAST, least)
    for number, (what, least) in _FIRST.items():
        title = f"banking77, first 1,000 labels: {what}"
        yield from _of(title, found, "banking77/random", number, _AT_LEAST, least)


def _spoilt(found: Mapping[str, Run]) -> Iterator[Aim]:
    for form, most in _LOST.items():
        for name in _FINAL:
            clean, spoilt = found.get(f"{name}/random"), found.get(f"{name}/{form}")
            if clean and spoilt and clean["final"] and spoilt["final"]:
                lost = round(clean["final"]["mean"] - spoilt["final"]["mean"], 4)
                yield _aim(f"{name}, {form}: test accuracy lost", _AT_MOST, most, lost)
            if form == "adversarial" and spoilt:
                title = f"{name}, adversarial: submitters named"
                yield _aim(title, _JUST, [ADVERSARY], spoilt["suspects"])


def _time_order(results: Mapping[str, Any]) -> Iterator[Aim]:
    for one in results["runs"]:
        if one["name"] == HONED and one["stream"] == "arxiv_stream/by-date" and one["recent"]:
            title = "arxiv_stream, 2017-18: accuracy before learning"
            yield _aim(title, _AT_LEAST, _RECENT, one["recent"])


def _rounds(results: Mapping[str, Any]) -> Iterator[Aim]:
    for one in results["rounds"]:
        data, tuned = one["data"], one["periodic"]
        if data in _TUNED:
            yield _aim(f"{data}: accuracy after a round", _AT_LEAST, _TUNED[data], tuned)
        if data in _GAINED:
            gain = round(tuned - one["instant"], 4)
            yield _aim(f"{data}: accuracy gained by a round", _AT_LEAST, _GAINED[data], gain)


def _product(results: Mapping[str, Any]) -> Iterator[Aim]:
    errors = [
        one["deletion_error"]
        for one in results["runs"]
        if one["name"] == HONED and one["deletion_error"] is not None
    ]
    if errors:
        title = f"deletion against a fresh build, worst of {len(errors)} streams"
        yield _aim(title, _AT_MOST, _DELETION, max(errors))
    product = results["product"]
    if product:
        served = product["label_to_served"]["p50_ms"]
        size = f"{product['labels']} classes, {product['features']} features"
        yield _aim(f"label to served, {size}: median, ms", _AT_MOST, _SERVED_MS, served)
        for name, found in product["false_promotions"].items():
            share = found["lives_with_one"] / found["lives"]
            title = f"models with a false promotion, {name.replace('_', ' ')}: share"
            yield _aim(title, _AT_MOST, _FALSE, share)


def _of(
    title: str, found: Mapping[str, Run], stream: str, number: str, sign: str, wanted: float
) -> Iterator[Aim]:
    """An aim about the mean of a number, if the stream has it."""
    run = found.get(stream)
    if run and run[number]:
        yield _aim(title, sign, wanted, run[number]["mean"])


def _aim(title: str, sign: str, wanted: Any, found: Any) -> Aim:
    reached = _SIGNS[sign](found, wanted)
    return {"aim": title, "sign": sign, "wanted": wanted, "found": found, "reached": bool(reached)}


def recent(runs: Sequence[Run]) -> float | None:
    """Accuracy over the years 2017 and 2018 together; None where the stream has none of them."""
    shares = []
    for run in runs:
        years = [(run["eras"][y], run["era_labels"][y]) for y in _RECENT_YEARS if y in run["eras"]]
        count = sum(labels for _, labels in years)
        if count:
            shares.append(sum(share * labels for share, labels in years) / count)
    return round(sum(shares) / len(shares), 4) if shares else None
