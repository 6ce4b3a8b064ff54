"""What is answered: a prediction and its scores, and an old one computed anew.

See `honed.types`.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Score:
    """One label and how likely the model holds it to be.

    Attributes:
        label: Label name.
        probability: Calibrated probability, 0 to 1.
    """

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer, computed wholly by one version and revision of one model.

    Attributes:
        prediction_id: Names the answer in feedback.
        model: Model that answered.
        version: Durable version that answered: 1, 2, 3, ...
        revision: Log position up to which that version had learned.
        label_set_version: Number of the label set in use.
        scores: The `top_k` best labels, best first; never empty.
        text: The text that was asked about, remembered for feedback.
        num_tokens: Tokens computed.
        truncated: Whether the text was cut at the token limit.
        queue_time_s: Seconds from admission to the start of the batch.
        compute_time_s: Seconds of the batch that computed this answer.
        logits: If asked: logits of all labels in the order of `logit_labels`, else empty.
        logit_labels: If asked: all labels of the model, else empty.
        embedding: If asked: the vector of the text that the head reads, else empty.
        out_of_scope_score: How little the text looks like anything learned, by free energy and by
            the distance from the texts of the best label; higher is stranger.
        out_of_scope: Whether that is above the model's threshold.
        prediction_set: If asked: labels that hold the right one with the coverage of the model's
            policy, likeliest first; empty while too little is known to promise any.
    """

    prediction_id: str
    model: str
    version: int
    revision: int
    label_set_version: int
    scores: tuple[Score, ...]
    text: str
    num_tokens: int
    truncated: bool
    queue_time_s: float
    compute_time_s: float
    logits: tuple[float, ...] = ()
    logit_labels: tuple[str, ...] = ()
    embedding: tuple[float, ...] = ()
    out_of_scope_score: float = 0.0
    out_of_scope: bool = False
    prediction_set: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The best label."""
        return self.scores[0].label

    @property
    def probability(self) -> float:
        """Probability of the best label, 0 to 1."""
        return self.scores[0].probability


@dataclass(frozen=True, slots=True)
class Replay:
    """An old answer, and what the same version and revision say when computed anew.

    Attributes:
        prediction_id: Names the answer.
        model: Model that had answered.
        version: Version that had answered.
        revision: Revision that had answered.
        time: When.
        text: The text that had been asked about.
        label: Label that had been answered.
        probability: Its probability then, 0 to 1.
        scores: The best labels computed anew, best first.
        difference: Probability of `label` now less then, without sign.
        matches: Whether the label is the same and `difference` at most 1e-4.
        labels_learned: Labels learned anew for it; 0 if the version's head was read from disk.
    """

    prediction_id: str
    model: str
    version: int
    revision: int
    time: datetime | None
    text: str
    label: str
    probability: float
    scores: tuple[Score, ...]
    difference: float
    matches: bool
    labels_learned: int
