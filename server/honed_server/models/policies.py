"""The policy of each model: on record, as callers see it, and what the gate demands by it."""

import json
from concurrent.futures import Future
from dataclasses import replace

import apsw

from honed_adapt.gate.evidence import Demands
from honed_adapt.gate.policy import Policy, PolicyError, Promotion
from honed_adapt.gate.trials import alpha_of
from honed_proto.v1 import models_pb2 as pb
from honed_server.edge.errors import InvalidRequest
from honed_server.models.registry import DecisionRow, Registry
from honed_server.models.registry_rows import record_decision

_PROMOTIONS: dict[int, Promotion] = {
    pb.Policy.PROMOTION_UNSPECIFIED: "default",
    pb.Policy.PROMOTION_DEFAULT: "default",
    pb.Policy.PROMOTION_SUPERIOR: "superior",
    pb.Policy.PROMOTION_MANUAL: "manual",
}
# What means "the server's default" when it is 0; elsewhere 0 is a choice.
_DEFAULTED = (
    "alpha", "loss_share", "audit_share", "out_of_scope_false_alarms", "coverage", "p99_ratio",
)  # fmt: skip
_PLAIN = ("canary_share", "keep_worse", "round_labels", "round_on_drift", "own_encoder")


class Policies:
    """The policies of all models. Reads are from memory; event loop only.

    Args:
        registry: Where they are on record.
        default: For models that were given none.
    """

    def __init__(self, registry: Registry, default: Policy) -> None:
        self._database = registry.database
        self._default = default
        sql = "SELECT model, policy FROM policies"
        self._set = self._database.read(
            lambda db: {model: Policy.of(json.loads(text)) for model, text in db.execute(sql)}
        )

    def of(self, model: str) -> Policy:
        """What holds for a model."""
        return self._set.get(model, self._default)

    def record(self, model: str, policy: Policy, record: DecisionRow) -> Future[None]:
        """Records another policy, which holds from now on; the decision has its settings."""
        text = json.dumps(policy.as_dict())

        def write(db: apsw.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO policies VALUES (?, ?)", (model, text))
            record_decision(db, record)

        self._set[model] = policy
        return self._database.write(write)

    def asked_for(self, message: pb.Policy) -> Policy:
        """The policy that a caller asks for; zeros that mean so are the server's defaults.

        Raises:
            InvalidRequest: A setting is out of its range; names the field.
        """
        if message.promotion not in _PROMOTIONS:
            raise _invalid("promotion", f"promotion {message.promotion} is none that is known")
        chosen = {name: getattr(message, name) for name in _PLAIN}
        chosen |= {name: value for name in _DEFAULTED if (value := getattr(message, name))}
        try:
            return replace(
                self._default,
                promotion=_PROMOTIONS[message.promotion],
                round_interval_s=message.round_interval.ToNanoseconds() / 1e9,
                **chosen,
            )
        except PolicyError as error:
            raise _invalid(error.field.removesuffix("_s"), str(error)) from error


def policy_message(policy: Policy) -> pb.Policy:
    """A policy as callers see it: every setting, none left to defaults."""
    names = (*_DEFAULTED, *_PLAIN)
    message = pb.Policy(
        promotion=f"PROMOTION_{policy.promotion.upper()}",
        **{name: getattr(policy, name) for name in names},
    )
    if policy.round_interval_s:
        message.round_interval.FromNanoseconds(int(policy.round_interval_s * 1e9))
    return message


def demands_of(policy: Policy, number: int) -> Demands:
    """What the gate demands of the `number`-th candidate of a model."""
    return Demands(
        promotion=policy.promotion,
        e_better=1 / alpha_of(number, policy.alpha),
        e_worse=1 / policy.alpha,
        loss_share=policy.loss_share,
        alpha=policy.alpha,
        p99_ratio=policy.p99_ratio,
    )


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, reason="BAD_POLICY", field=f"policy.{field}")
