"""Labels as they arrive: whether a model takes them, also several for one text, each by its share.

It stands beside `labels.py`, which reads the rest of an item.
"""

from math import fsum

from honed_adapt.shares import Shares, shared
from honed_proto.v1 import feedback_pb2 as pb
from honed_server.edge import validate
from honed_server.edge.errors import InvalidRequest
from honed_server.models.registry import ModelRow

MAX_SHARES = 16
LEAST_SHARE = 1e-6
_ROUNDING = 1e-6


def known_label(model: ModelRow, label: str, field: str) -> str:
    """Returns a label that the model accepts; raises InvalidRequest with the nearest name."""
    validate.label(label, field)
    if model.closed_labels and label not in model.declared_labels:
        hint = validate.suggestion(label, list(model.declared_labels))
        raise InvalidRequest(
            f"model {model.name!r} has closed labels and does not know {label!r}{hint}",
            reason="UNKNOWN_LABEL",
            field=field,
        )
    return label


def read_shares(model: ModelRow, item: pb.FeedbackItem, at: str) -> Shares:
    """The labels that an item shares its text among, largest first; one that has all is no sharing.

    Raises:
        InvalidRequest: AMBIGUOUS_LABEL if there is a label beside them, BAD_SHARES if they are no
            distribution, or what `known_label` says of one of them.
    """
    if item.label:
        raise InvalidRequest(
            f"{at} has a label and shares; send one of them",
            reason="AMBIGUOUS_LABEL",
            field=f"{at}.shares",
        )
    if len(item.shares) > MAX_SHARES:
        raise _bad(at, f"names {len(item.shares)} labels; name at most {MAX_SHARES}")
    for i, one in enumerate(item.shares):
        known_label(model, one.label, f"{at}.shares[{i}].label")
        if not LEAST_SHARE <= one.share <= 1:
            where = f"{at}.shares[{i}].share"
            raise InvalidRequest(
                f"{where} is {one.share:g}; it must be {LEAST_SHARE:f} to 1",
                reason="BAD_SHARES",
                field=where,
            )
    names = [one.label for one in item.shares]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _bad(at, f"names {twice!r} twice; add its shares up")
    total = fsum(one.share for one in item.shares)
    if abs(total - 1) > _ROUNDING:
        raise _bad(at, f"sum to {total:g}; they must sum to 1")
    return shared((one.label, one.share) for one in item.shares)


def _bad(at: str, fault: str) -> InvalidRequest:
    return InvalidRequest(f"{at}.shares {fault}", reason="BAD_SHARES", field=f"{at}.shares")
