"""The values about explanations, reviews and suspects, under the rules of `types.py`."""

from dataclasses import dataclass

from honed.types import FeedbackRecord


@dataclass(frozen=True, slots=True)
class Influence:
    """One label of feedback behind an answer.

    Attributes:
        feedback_id: Names the entry.
        text: Its text; empty where texts are not kept.
        label: Its label.
        submitter: Who submitted it.
        similarity: Cosine of the two texts' vectors, -1 to 1.
        influence: How much it raises the logit of the explained label; negative: lowers it.
    """

    feedback_id: str
    text: str
    label: str
    submitter: str
    similarity: float
    influence: float


@dataclass(frozen=True, slots=True)
class TokenAttribution:
    """How much one word counts.

    Attributes:
        text: The word as it stands in the text.
        start: Where it begins, in bytes of the UTF-8 text.
        end: Where it ends.
        attribution: How much the log probability of the explained label falls without it.
    """

    text: str
    start: int
    end: int
    attribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a text is answered as it is, by what serves now.

    Attributes:
        model: Model that answers.
        version: Version that answers.
        revision: Revision that answers.
        label: Label that is explained.
        probability: Its probability.
        influential: Feedback whose removal would change the label's logit most, by size.
        nearest: Feedback whose texts are nearest.
        tokens: Words in the order of the text, if asked.
    """

    model: str
    version: int
    revision: int
    label: str
    probability: float
    influential: tuple[Influence, ...]
    nearest: tuple[Influence, ...]
    tokens: tuple[TokenAttribution, ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How often answers were right.

    Attributes:
        labelled: Answers that were labelled, the newest ones.
        right: Those that were right.
        low: Lower end of the 95 % interval (Wilson).
        high: Its upper end.
    """

    labelled: int
    right: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One answer that is worth a label.

    Attributes:
        prediction_id: The answer.
        text: Its text.
        label: Label that was answered.
        probability: Its probability.
        kind: What to submit the label as: "audit" if it was drawn at random; else "unspecified":
            correction or confirmation, by whether the answer was right.
        margin: Margin between the two best labels now, 0 to 1: low is unsure.
    """

    prediction_id: str
    text: str
    label: str
    probability: float
    kind: str
    margin: float


@dataclass(frozen=True, slots=True)
class Review:
    """What to label next, and how often labelled answers were right.

    Attributes:
        items: Most worth a label first; audits are mixed in at random places.
        audited: Accuracy on audited traffic, without bias.
        chosen: Accuracy on what people chose to label, which says nothing of traffic.
    """

    items: tuple[ReviewItem, ...]
    audited: Accuracy
    chosen: Accuracy


@dataclass(frozen=True, slots=True)
class Suspect:
    """A label that the others do not bear out.

    Attributes:
        record: The label.
        probability: Its probability by a head that was solved without it.
        suggested_label: The best other label of such a head.
        suggested_probability: Its probability.
    """

    record: FeedbackRecord
    probability: float
    suggested_label: str
    suggested_probability: float


@dataclass(frozen=True, slots=True)
class SubmitterReport:
    """What a submitter's labels are worth.

    Attributes:
        submitter: Who.
        labels: Labels in effect.
        weight_share: Share of all weight in effect that is theirs.
        agreement: Share of their labels that heads solved without them agree with.
        agreement_low: Lower end of its 95 % interval.
        agreement_high: Upper end.
        suspicious: Whether they agree less than the others do, beyond chance.
        quarantined: Labels of theirs in quarantine.
        capped_share: Share of their submitted weight that the influence cap took.
    """

    submitter: str
    labels: int
    weight_share: float
    agreement: float
    agreement_low: float
    agreement_high: float
    suspicious: bool
    quarantined: int
    capped_share: float


@dataclass(frozen=True, slots=True)
class Suspects:
    """Doubtful labels, and what submitters are worth.

    Attributes:
        suspects: Most doubtful first.
        submitters: By how much weight they have, most first.
    """

    suspects: tuple[Suspect, ...]
    submitters: tuple[SubmitterReport, ...]
