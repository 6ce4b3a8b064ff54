"""Calls of the Inference service: texts -> predictions."""

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable

from honed import _rpcs
from honed._aio_stream import answer_each_async
from honed._batch import AsyncBatch, Batch
from honed._call import Both, Call, method
from honed._connection import AsyncConnection, Connection
from honed._convert import only, value_from
from honed._question import Priority, Question
from honed._stream import answer_each
from honed._window import Outcome, Window
from honed.errors import HonedError
from honed.types import Prediction, Replay
from honed_proto.v1 import inference_pb2


class InferenceCalls:
    """Classification, the part of both clients that speaks to `honed.v1.Inference`."""

    @method
    def predict(
        self,
        model: str,
        text: str,
        top_k: int = 1,
        logits: bool = False,
        embedding: bool = False,
        timeout_s: float | None = None,
        *,
        priority: Priority = "interactive",
        tenant: str = "",
        prediction_set: bool = False,
    ) -> Call[Prediction]:
        """Classifies one text; the arguments are those of `predict_many`.

        Example:
            >>> client.predict("support", "where is my order?").label
            'order_status'
        """
        asked = Question(model, top_k, logits, embedding, priority, tenant, prediction_set)
        return asked.about([text], timeout_s).map(only)

    @method
    def predict_many(
        self,
        model: str,
        texts: Iterable[str],
        top_k: int = 1,
        logits: bool = False,
        embedding: bool = False,
        timeout_s: float | None = None,
        *,
        priority: Priority = "interactive",
        tenant: str = "",
        prediction_set: bool = False,
    ) -> Call[list[Prediction | HonedError]]:
        """Classifies 1 to 256 texts in one call; each succeeds or fails by itself.

        Args:
            model: Name of the model.
            texts: The texts, up to 64 KiB of UTF-8 each; long ones are cut at the model's limit.
            top_k: How many scores to return for each text.
            logits: Whether to return the logits of all labels.
            embedding: Whether to return each text's vector.
            timeout_s: Deadline in seconds; the client's if None.
            priority: "bulk" when nobody waits for it: it gets what interactive work leaves, and at
                least a small share.
            tenant: Whose work it is, up to 128 bytes; busy servers share out evenly by tenant.
            prediction_set: Whether to return the labels that hold the right one with the coverage
                of the model's policy.

        Returns:
            The prediction or the error of each text, in order.

        Example:
            >>> answers = client.predict_many("support", ["where is my order?", " "])
            >>> [type(answer).__name__ for answer in answers]
            ['Prediction', 'InvalidRequest']
        """
        asked = Question(model, top_k, logits, embedding, priority, tenant, prediction_set)
        return asked.about(list(texts), timeout_s)

    @method
    def predict_stream(
        self,
        model: str,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        top_k: int = 1,
        window: int = 64,
        timeout_s: float | None = None,
        priority: Priority = "interactive",
        tenant: str = "",
    ) -> Both[Generator[Outcome, None, None], AsyncGenerator[Outcome, None]]:
        """Classifies any number of texts over one stream, several at a time.

        A stream that breaks is opened again, with the texts not yet answered, as long as
        `timeout_s` and the retry budget allow. Closing the iterator ends the stream.

        Args:
            model: Name of the model.
            texts: The texts, read on another thread or task, never more than `window` ahead;
                asynchronous iterables are for `AsyncClient` only.
            top_k: How many scores to return for each text.
            window: Most texts under way: sent and not answered, or answered and not yielded.
            timeout_s: Longest silence while an answer is due, in seconds; the client's if None.
            priority: As for `predict_many`.
            tenant: As for `predict_many`.

        Yields:
            The prediction or the error of each text, in order.

        Raises:
            Unavailable: The stream broke and could not be opened again.
            DeadlineExceeded: The server was silent for `timeout_s`.
            ValueError: `window` or `timeout_s` is not positive, or `priority` is unknown.

        Example:
            >>> texts = ["where is my order?", " "]
            >>> [type(answer).__name__ for answer in client.predict_stream("support", texts)]
            ['Prediction', 'InvalidRequest']
        """
        asked = Question(model, top_k, priority=priority, tenant=tenant)

        def under_way(connection: Connection | AsyncConnection) -> Window:
            silence_s = connection.timeout_s if timeout_s is None else timeout_s
            throttle = connection.throttles.of(asked.request([]))
            return Window(asked, window, silence_s, connection.budget, throttle)

        return Both(
            lambda client: answer_each(
                client._connection, under_way(client._connection), _blocking(texts)
            ),
            lambda client: answer_each_async(
                client._connection, under_way(client._connection), texts
            ),
        )

    @method
    def replay(
        self,
        prediction_id: str,
        *,
        text: str = "",
        top_k: int = 1,
        timeout_s: float | None = None,
    ) -> Call[Replay]:
        """Recomputes an old answer from what had been learned when it was given, and compares.

        Args:
            prediction_id: `Prediction.prediction_id` of the answer.
            text: Its text, where the server does not keep texts.
            top_k: How many scores to return.
            timeout_s: Deadline in seconds; the client's if None.

        Raises:
            NotFound: No such prediction.
            InvalidRequest: Its text was not kept, or labels behind it have been deleted since.

        Example:
            >>> answer = client.predict("support", "where is my order?")
            >>> client.replay(answer.prediction_id).matches
            True
        """
        request = inference_pb2.ReplayRequest(prediction_id=prediction_id, text=text, top_k=top_k)
        return Call(_rpcs.REPLAY, request, lambda answer: value_from(answer, Replay), timeout_s)

    @method
    def batched(
        self,
        model: str,
        *,
        top_k: int = 1,
        max_texts: int = 64,
        max_wait_s: float = 0.002,
        priority: Priority = "interactive",
        tenant: str = "",
    ) -> Both[Batch, AsyncBatch]:
        """Groups what many threads or tasks ask one by one into few calls.

        A text is sent at once when no call is under way; else it waits for that call to return,
        for `max_texts` of its kind, or for `max_wait_s`. Errors reach the caller they belong to;
        each call has the client's deadline.

        Args:
            model: Name of the model.
            top_k: How many scores to return for each text.
            max_texts: Most texts of one call, 1 to 256.
            max_wait_s: Longest time that a text waits to be sent, in seconds.
            priority: As for `predict_many`.
            tenant: As for `predict_many`.

        Returns:
            A context manager whose `predict(text)` answers; leaving it waits for what is asked.

        Raises:
            ValueError: `top_k`, `max_texts`, `max_wait_s` or `priority` is out of range.

        Example:
            >>> from concurrent.futures import ThreadPoolExecutor
            >>> with client.batched("support") as batch, ThreadPoolExecutor(8) as pool:
            ...     answers = list(pool.map(batch.predict, ["where is my order?"] * 8))
            >>> {answer.label for answer in answers}
            {'order_status'}
        """
        if not (1 <= max_texts <= 256 and max_wait_s >= 0):
            raise ValueError(
                f"max_texts must be 1 to 256 and max_wait_s not negative, not {max_texts} and "
                f"{max_wait_s}"
            )

        ask = Question(model, top_k, priority=priority, tenant=tenant).about
        return Both(
            lambda client: Batch(client, ask, max_texts, max_wait_s),
            lambda client: AsyncBatch(client, ask, max_texts, max_wait_s),
        )


def _blocking(texts: Iterable[str] | AsyncIterable[str]) -> Iterable[str]:
    if isinstance(texts, AsyncIterable):
        raise TypeError("an asynchronous iterable of texts is for AsyncClient; pass another one")
    return texts
