"""What an exported model says of itself: `honed.json` for machines, README.md for people.

Pure. It counts feedback and names labels, versions and decisions; it holds no text that anybody
sent, and nobody's name.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from string import Template
from typing import Any

from honed_adapt.encoders.export import is_stock
from honed_adapt.encoders.store import EncoderFiles
from honed_adapt.feedback.log import Record, State
from honed_adapt.head import Head
from honed_server.models.registry import DecisionRow, VersionRow

_TEMPLATES = Path(__file__).with_name("cards")
# Outcomes of decisions that make the version that they name serve.
_SERVES = frozenset({"created", "promoted", "activated"})
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$])")


@dataclass(frozen=True, slots=True)
class Exported:
    """What is exported.

    Attributes:
        version: The version on record.
        revision: Log position up to which the head has learned.
        head: The head.
        encoder: What it reads.
        metrics: Numbers about the head by name.
    """

    version: VersionRow
    revision: int
    head: Head
    encoder: EncoderFiles
    metrics: Mapping[str, float]


def facts(
    exported: Exported,
    records: Sequence[Record],
    effective: Sequence[Record],
    lineage: Sequence[VersionRow],
    decisions: Sequence[DecisionRow],
) -> dict[str, Any]:
    """The card as a JSON value.

    Args:
        exported: The subject.
        records: All entries of the model.
        effective: The labels in effect behind the head.
        lineage: The version and those that it grew from, newest first.
        decisions: All decisions about the model, oldest first.
    """
    version, head, encoder = exported.version, exported.head, exported.encoder
    by_label = Counter(record.label for record in effective)
    return {
        "honed_version": installed("honed"),
        "model": version.model,
        "version": version.version,
        "revision": exported.revision,
        "exported": _time(datetime.now(UTC).timestamp()),
        "encoder": {
            "digest": encoder.digest,
            "model_type": encoder.architecture.model_type,
            "hidden_size": encoder.hidden,
            **asdict(encoder.settings),
        },
        **head.settings(),
        "labels": [{"label": label, "texts": by_label[label]} for label in head.labels],
        "feedback": _feedback([r for r in records if r.position <= exported.revision]),
        "metrics": dict(exported.metrics),
        "lineage": [_ancestor(row, decisions) for row in lineage],
    }


def card(facts: Mapping[str, Any], encoder: EncoderFiles, head: Head) -> str:
    """README.md: the facts as a model card of the Hugging Face Hub."""
    load = "stock.md" if is_stock(encoder, head) else "own_code.md"
    numbers = dict(facts["metrics"])
    for decision in facts["lineage"][0]["decisions"][:1]:  # the one that made it a version
        numbers |= decision["numbers"]
    tables = {
        "labels": [[_plain(one["label"]), one["texts"]] for one in facts["labels"]],
        "feedback": [
            [kind, *(states.get(_name(state), 0) for state in State)]
            for kind, states in facts["feedback"].items()
        ],
        "metrics": [[name, f"{value:.6g}"] for name, value in numbers.items()],
        "lineage": [
            [
                one["version"], one["source"], one["log_position"], one["recorded"],
                "; ".join(f"{d['kind']} {d['outcome']} {d['time']}" for d in one["decisions"]),
            ]
            for one in facts["lineage"]
        ],
    }  # fmt: skip
    return Template(_template("card.md")).substitute(
        {
            **facts,
            **facts["encoder"],
            **{name: _rows(rows) for name, rows in tables.items()},
            "load": _template(load).strip(),
            "num_labels": len(facts["labels"]),
            "temperature": f"{facts['temperature']:.4g}",
        }
    )


def _feedback(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Entries by kind and state."""
    counted = Counter((_name(record.kind), _name(record.state)) for record in records)
    kinds = sorted({kind for kind, _ in counted})
    return {kind: {s: n for (k, s), n in sorted(counted.items()) if k == kind} for kind in kinds}


def _ancestor(row: VersionRow, decisions: Sequence[DecisionRow]) -> dict[str, Any]:
    """A version and what was decided for it, without who decided and how they put it."""
    return {
        "version": row.version,
        "source": row.source,
        "log_position": row.log_position,
        "recorded": _time(row.created),
        "decisions": [
            {
                "kind": one.kind,
                "outcome": one.outcome,
                "time": _time(one.time),
                "numbers": dict(one.numbers),
            }
            for one in decisions
            if one.version == row.version and one.outcome in _SERVES
        ],
    }


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _rows(rows: Sequence[Sequence[Any]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _plain(name: str) -> str:
    """A name as Markdown shows it, whatever signs it has."""
    return _MARKUP.sub(r"\\\1", name)


def _name(value: Any) -> str:
    return str(value.name).lower()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
