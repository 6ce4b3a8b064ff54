"""What `honed top` shows: the traffic of a server and its models, as values and as tables."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from honed.commands.output import as_table, cell, printable
from honed.commands.scrape import Window
from honed.commands.status import behind, learning
from honed.types import Model, ModelEvent

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True, slots=True)
class Traffic:
    """Rates and quantiles over the last seconds; None where nothing was observed.

    Latencies are those of Predict calls; of a stream only its texts and its queue are counted.
    """

    requests_per_s: float
    texts_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    queue_p99_ms: float | None
    queued_tokens: float
    texts_per_batch: float | None
    tokens_per_batch: float | None
    rejected_per_s: float
    expired_per_s: float
    labels_per_s: float
    label_to_served_p50_ms: float | None
    label_to_served_p99_ms: float | None


def traffic(window: Window) -> Traffic:
    """Reads the traffic off two scrapes."""

    def ms(name: str, q: float, **labels: str) -> float | None:
        seconds = window.quantile(f"honed_{name}_seconds", q, **labels)
        return 1000 * seconds if seconds is not None else None

    return Traffic(
        requests_per_s=window.rate("honed_requests_total", method="Predict"),
        texts_per_s=window.rate("honed_batch_texts_sum"),
        p50_ms=ms("request", 0.5, method="Predict"),
        p99_ms=ms("request", 0.99, method="Predict"),
        queue_p99_ms=ms("queue", 0.99),
        queued_tokens=window.gauge("honed_queued_tokens"),
        texts_per_batch=window.mean("honed_batch_texts"),
        tokens_per_batch=window.mean("honed_batch_tokens"),
        rejected_per_s=window.rate("honed_requests_total", code="RESOURCE_EXHAUSTED"),
        expired_per_s=window.rate("honed_expired_total"),
        labels_per_s=window.rate("honed_feedback_total"),
        label_to_served_p50_ms=ms("label_to_served", 0.5),
        label_to_served_p99_ms=ms("label_to_served", 0.99),
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """One look at a server.

    Attributes:
        target: Address of the server.
        models: Its models, by name.
        events: The last event of each model that had one.
        window: The last scrapes of its metrics, None if there are not two of them.
        trouble: What cannot be shown and why; empty if all is well.
    """

    target: str
    models: Mapping[str, Model]
    events: Mapping[str, ModelEvent]
    window: Window | None
    trouble: str = ""

    def values(self) -> dict[str, object]:
        """For machines."""
        return {
            "target": self.target,
            "traffic": asdict(traffic(self.window)) if self.window else None,
            "models": [
                {
                    "name": model.name,
                    "version": model.version,
                    "revision": model.revision,
                    "behind": behind(model),
                    "labels": len(model.labels),
                    "labels_per_s": self._labels_per_s(model.name),
                    "learning": learning(model),
                    "last_event": event.kind if event else None,
                }
                for model, event in self._rows()
            ],
            "trouble": self.trouble,
        }

    def tables(self) -> "Group":
        """For people."""
        from rich.console import Group

        columns = ("model", "version", "revision", "behind", "labels", "labels/s", "learning")
        rows = (
            (
                model.name,
                model.version,
                model.revision,
                behind(model),
                len(model.labels),
                self._labels_per_s(model.name),
                learning(model),
                f"{event.kind} {event.time:%H:%M:%S}" if event and event.time else None,
            )
            for model, event in self._rows()
        )
        lines = _sentences(traffic(self.window)) if self.window else ("no traffic to show",)
        return Group(
            f"Honed at {self.target}\n",
            *map(printable, (*lines, self.trouble)),
            as_table((*columns, "last event"), rows),
        )

    def _rows(self) -> Iterable[tuple[Model, ModelEvent | None]]:
        return ((self.models[name], self.events.get(name)) for name in sorted(self.models))

    def _labels_per_s(self, model: str) -> float | None:
        return self.window.rate("honed_feedback_total", model=model) if self.window else None


def _sentences(seen: Traffic) -> Iterator[str]:
    """The traffic, one line for each question that people have."""
    for title, facts in (
        (
            "traffic",
            {
                "requests/s": seen.requests_per_s,
                "texts/s": seen.texts_per_s,
                "rejected/s": seen.rejected_per_s,
                "expired/s": seen.expired_per_s,
            },
        ),
        (
            "latency",
            {"p50 ms": seen.p50_ms, "p99 ms": seen.p99_ms, "queue p99 ms": seen.queue_p99_ms},
        ),
        (
            "batches",
            {
                "texts": seen.texts_per_batch,
                "tokens": seen.tokens_per_batch,
                "queued tokens": seen.queued_tokens,
            },
        ),
        (
            "labels",
            {
                "labels/s": seen.labels_per_s,
                "to served p50 ms": seen.label_to_served_p50_ms,
                "to served p99 ms": seen.label_to_served_p99_ms,
            },
        ),
    ):
        yield f"{title:<10}" + "   ".join(f"{name} {cell(fact)}" for name, fact in facts.items())
