"""What stands against a fine-tuning round: decided before anybody waits for it."""

from dataclasses import dataclass
from importlib.util import find_spec

from honed_server.edge.errors import NotReady

_NEEDED = ("torch", "transformers", "peft")
_SEARCH_NEEDS = ("optuna",)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when a round is asked for.

    Attributes:
        learns: Whether there is an adapt process.
        paused: Whether learning is paused for the model.
        labels: Labels that it knows.
        under_way: Its round that has not ended, None if there is none.
        rounds: Rounds that have not ended, of all models: each may add an encoder.
        encoders: Encoders that serve now.
        max_encoders: Most that may.
    """

    learns: bool
    paused: bool
    labels: int
    under_way: str | None
    rounds: int
    encoders: int
    max_encoders: int


def check(model: str, facts: Facts, *, trials: int) -> None:
    """Raises NotReady with what stands against a round for a model, if anything does."""
    no = f"no round for model {model!r}: "
    needed = (*_NEEDED, *_SEARCH_NEEDS) if trials else _NEEDED
    if missing := [name for name in needed if find_spec(name) is None]:
        raise NotReady(
            f"{no}fine-tuning needs {', '.join(missing)}; install honed[train] on the server",
            reason="TRAINING_UNAVAILABLE",
        )
    if not facts.learns:
        raise NotReady(
            f"{no}this server does not learn; start it with adapt = true", reason="LEARNING_OFF"
        )
    if facts.paused:
        raise NotReady(f"{no}it is paused; resume it first", reason="PAUSED")
    if facts.labels < 2:
        raise NotReady(f"{no}it knows fewer than two labels; teach it first", reason="FEW_LABELS")
    if facts.under_way is not None:
        raise NotReady(
            f"{no}round {facts.under_way} is under way; wait, or cancel it",
            reason="ROUND_UNDER_WAY",
        )
    if facts.encoders + facts.rounds >= facts.max_encoders:
        rounds = f" and rounds under way may add {facts.rounds}" if facts.rounds else ""
        raise NotReady(
            f"{no}max_encoders allows {facts.max_encoders}, {facts.encoders} serve{rounds};"
            f" {'wait, ' if rounds else ''}raise it, or let models share an encoder",
            reason="TOO_MANY_ENCODERS",
        )
