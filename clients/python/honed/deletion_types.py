"""Deletions as callers see them: what is gone, and what is not gone yet."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class TaintedVersion:
    """A version that was learned from deleted feedback.

    Attributes:
        version: Its number.
        in_encoder: Whether its encoder's weights were trained on it, which only another
            fine-tuning round undoes.
        active: Whether it serves.
        retire_time: When it is taken out of service at the latest.
        model: Whose it is: another model's if its encoder was trained on labels of this one too.
            Empty from a server that does not say it.
    """

    version: int
    in_encoder: bool
    active: bool
    retire_time: datetime | None
    model: str


@dataclass(frozen=True, slots=True)
class DeletionRecord:
    """A deletion that can be checked.

    Attributes:
        position: Log position of the deletion; 0 if there was nothing to delete.
        time: When.
        requested_by: Who asked for it.
        submitter: Who was to be forgotten, empty if it named something else.
        feedback_ids: The entries that it erased, at most 10,000 of them.
        served_revision: First revision that served without them, 0 while none has.
        difference: Largest relative difference between what the instant lane says without them and
            a fresh build from the labels that are left; None until it is computed.
        tainted: Versions learned from them that are still on disk or serve, those of other models
            whose encoders were trained on them too.
        complete: Whether nothing is left.
    """

    position: int
    time: datetime | None
    requested_by: str
    submitter: str
    feedback_ids: tuple[str, ...]
    served_revision: int
    difference: float | None
    tainted: tuple[TaintedVersion, ...]
    complete: bool
