"""Calls that look behind answers and labels: why, what to label next, what to doubt."""

from honed import _rpcs
from honed._call import Call, method
from honed._convert import value_from
from honed.review_types import Explanation, Review, Suspects
from honed_proto.v1 import feedback_pb2, inference_pb2


class InsightCalls:
    """Explanations, reviews and suspects, a part of both clients."""

    @method
    def explain(
        self,
        model: str,
        text: str,
        *,
        label: str = "",
        top_k: int = 5,
        tokens: bool = False,
        timeout_s: float | None = None,
    ) -> Call[Explanation]:
        """Says which feedback and which words of a text most move its answer now.

        Args:
            model: Name of the model.
            text: The text.
            label: The label to explain; the one that is answered if empty.
            top_k: How many labels of feedback to return in each list, 1 to 100.
            tokens: Whether to say how much each word counts: one more answer for each.
            timeout_s: Deadline in seconds; the client's if None.

        Raises:
            Unavailable: The adapt process is down or busy.

        Example:
            >>> why = client.explain("support", "where is my order?", tokens=True)
            >>> (why.label, [word.text for word in why.tokens])
            ('order_status', ['where', 'is', 'my', 'order'])
        """
        request = inference_pb2.ExplainRequest(
            model=model, text=text, label=label, top_k=top_k, include_tokens=tokens
        )
        return Call(_rpcs.EXPLAIN, request, lambda reply: value_from(reply, Explanation), timeout_s)

    @method
    def review(
        self,
        model: str,
        size: int = 20,
        *,
        audit_share: float | None = None,
        timeout_s: float | None = None,
    ) -> Call[Review]:
        """Proposes which answers to label next, and says how often labelled ones were right.

        Label all proposals of kind "audit", whatever they are, and submit them with that kind:
        only then is the accuracy on traffic unbiased.

        Args:
            model: Name of the model.
            size: How many to propose, 1 to 256.
            audit_share: Share of them that is drawn at random, 0 to 1; a quarter if None.
            timeout_s: Deadline in seconds; the client's if None.

        Example:
            >>> answer = client.predict("support", "my parcel came damaged")
            >>> type(client.review("support", size=8)).__name__
            'Review'
        """
        request = feedback_pb2.ReviewRequest(model=model, size=size, audit_share=audit_share)
        return Call(_rpcs.REVIEW, request, lambda reply: value_from(reply, Review), timeout_s)

    @method
    def suspects(
        self, model: str, size: int = 20, *, timeout_s: float | None = None
    ) -> Call[Suspects]:
        """Ranks labels by how little the others bear them out, and reports on submitters.

        Args:
            model: Name of the model.
            size: How many labels to return, 1 to 1,000.
            timeout_s: Deadline in seconds; the client's if None.

        Raises:
            Unavailable: The adapt process is down or busy.

        Example:
            >>> doubtful = client.suspects("support", size=3)
            >>> len(doubtful.suspects)
            3
        """
        request = feedback_pb2.SuspectsRequest(model=model, size=size)
        return Call(_rpcs.SUSPECTS, request, lambda reply: value_from(reply, Suspects), timeout_s)
