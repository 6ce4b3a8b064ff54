"""The values about models that callers hold, under the rules of `types.py`, which has them too."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Policy:
    """What is demanded of a model's candidates, and when rounds of fine-tuning start.

    Where 0 is no choice of its own it means the server's default, as in a new `Policy`.

    Attributes:
        promotion: What promotes a candidate that is no worse: "default" (better on audits, or the
            first to know a wanted label), "superior" (better on audits), or "manual" (a person).
        alpha: Share of false promotions that is borne over the life of the model.
        loss_share: Share of anchor answers that a candidate may lose on balance.
        canary_share: Share of traffic that a candidate on trial answers, 0 to 0.5.
        keep_worse: Whether a promoted version that proves worse stays nevertheless.
        audit_share: Share of answers drawn as audits for the review queue.
        out_of_scope_false_alarms: Share of known texts that may be called out of scope.
        coverage: Share of prediction sets that shall hold the right label.
        round_labels: New labels that start a round; 0 for none.
        round_interval_s: Seconds after which new labels start a round; 0 for never.
        round_on_drift: Whether a drift alarm starts a round.
        own_encoder: Whether rounds give this model an encoder of its own.
        p99_ratio: Times as long as before that a text may take with a candidate.
    """

    promotion: str = "default"
    alpha: float = 0.0
    loss_share: float = 0.0
    canary_share: float = 0.0
    keep_worse: bool = False
    audit_share: float = 0.0
    out_of_scope_false_alarms: float = 0.0
    coverage: float = 0.0
    round_labels: int = 0
    round_interval_s: float = 0.0
    round_on_drift: bool = False
    own_encoder: bool = False
    p99_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A comparison that goes on as audits come in.

    Attributes:
        version: The version that is compared with what serves.
        stage: "shadow" or "canary" for a candidate, "watch" for the version before.
        wins: Audits that only `version` answered rightly.
        losses: Audits that only what serves answered rightly.
        total: Audits in all.
        e_better: Evidence that `version` is better, by audits alone.
        e_needed: Evidence that decides.
        over_cap: Audits that do not count because their submitter has had their part of the votes.
    """

    version: int = 0
    stage: str = ""
    wins: int = 0
    losses: int = 0
    total: int = 0
    e_better: float = 1.0
    e_needed: float = 0.0
    over_cap: int = 0


@dataclass(frozen=True, slots=True)
class Expert:
    """One way of learning from the same labels.

    Attributes:
        name: Its name.
        weight: Its share in what serves, 0 to 1.
        log_loss: Mean log loss over recent audits, each answered before it was learned.
        votes: Audits that it was scored on.
    """

    name: str
    weight: float
    log_loss: float
    votes: int


@dataclass(frozen=True, slots=True)
class Learning:
    """What the instant lane learns with, and how good it is.

    Attributes:
        experts: Those whose mix serves, and those that run beside.
        features: Random features beside the vector; 0 while there are few labels.
        width: Width of their kernel.
        ridge: Ridge penalty.
        labels: Labels in effect.
        audited_accuracy: Accuracy on audited traffic, without bias; of the newest 1,000 audits.
        audits: Audits behind it.
        calibration_error: Expected calibration error over 15 bins, of held-out labels; None while
            there are none.
        brier: Brier score of held-out labels; None while there are none.
    """

    experts: tuple[Expert, ...] = ()
    features: int = 0
    width: float = 0.0
    ridge: float = 0.0
    labels: int = 0
    audited_accuracy: float = 0.0
    audits: int = 0
    calibration_error: float | None = None
    brier: float | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """Whether traffic or errors have changed.

    Attributes:
        alarm: What has changed: "error", "embedding", "embedding, error", or empty.
        since: Since when.
        alarms: Alarms so far.
        error: Share of wrong answers in the present window of audited answers.
        window: Answers in that window.
    """

    alarm: str = ""
    since: datetime | None = None
    alarms: int = 0
    error: float = 0.0
    window: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """A named endpoint. `revision` below `log_position` means that learning lags behind.

    `suspect_from` and `suspect_to` bound the log range under suspicion after a rollback (0: none);
    `adapt_state` is "running", "starting" or "down"; `max_tokens` is the longest text (0: an older
    server, which does not say). `own_head_version` holds the head that the model was imported with
    (0: it started empty), `learned_weight` says how much learned labels count beside it (1 without
    such a head), and `learned_evidence` the prequential evidence for that weight, in nats.
    `precision` is what answers are computed in, "fp32" or "int8". `learning` says how it learns,
    `drift` whether traffic or errors have changed. `policy` says what promotes, and `trial` what is
    compared with what serves (None: nothing). `settled` says whether what serves stays as it is
    until something is said: all feedback is learned, and nothing larger is being made of it.
    """

    name: str
    version: int
    revision: int
    label_set_version: int
    labels: tuple[str, ...]
    encoder_digest: str
    hidden_size: int
    temperature: float
    closed_labels: bool
    adaptation_paused: bool
    suspect_from: int
    suspect_to: int
    log_position: int
    anchor_examples: int
    create_time: datetime | None
    adapt_state: str
    max_tokens: int = 0
    own_head_version: int = 0
    learned_weight: float = 1.0
    learned_evidence: float = 0.0
    precision: str = "fp32"
    learning: Learning = Learning()
    drift: Drift = Drift()
    policy: Policy = Policy()
    trial: Trial | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable, durable version of a model.

    `state` is "candidate", "active", "retired", "refused" or "damaged"; `tainted_position` is the
    log position of a later deletion of feedback that it had learned (0: none).
    """

    version: int
    state: str
    parent: int
    encoder_digest: str
    log_position: int
    num_labels: int
    create_time: datetime | None
    source: str
    manifest_sha256: str
    tainted_position: int


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision about a model; `numbers_json` holds the numbers behind it, a JSON object."""

    decision_id: str
    kind: str
    outcome: str
    version: int
    actor: str
    reason: str
    numbers_json: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """Something that happened to a model, and the model after it.

    `kind` is "snapshot" (the state when the watch began), "revision", "version", "rollback",
    "paused", "resumed", "created", "deleted", "quarantined", "precision", "policy", "round" or
    "drift".
    """

    kind: str
    model: Model
    time: datetime | None


@dataclass(frozen=True, slots=True)
class Export:
    """A model that was written to disk as a folder that transformers loads.

    Attributes:
        model: Name of the model.
        version: Version that was exported.
        revision: Revision of that version.
        files: Paths inside the folder, "/" between names.
    """

    model: str
    version: int
    revision: int
    files: tuple[str, ...]
