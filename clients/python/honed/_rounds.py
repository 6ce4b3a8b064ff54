"""Calls of the Models service about fine-tuning rounds: start, cancel, list."""

from honed import _rpcs
from honed._call import Call, method
from honed._convert import round_from
from honed.round_types import Round
from honed_proto.v1 import models_pb2


class RoundCalls:
    """Fine-tuning, the part of both clients that asks for it."""

    @method
    def start_round(
        self,
        model: str,
        *,
        full: bool = False,
        trials: int = 0,
        seed: int = 0,
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Call[Round]:
        """Starts a fine-tuning round in the background; watch the model or list rounds to see it.

        Args:
            model: Name of the model; those of the same encoder are trained with it, unless its
                policy says `own_encoder`.
            full: Whether to train all weights instead of a low-rank adapter.
            trials: Trials of hyper-parameters before, at most 1,000; 0 for none. They are all that
                bounds the search: it has no limit of time.
            seed: Of everything random; 0 draws one, which is recorded.
            requested_by: Who asks.
            timeout_s: Deadline in seconds; the client's if None.

        Raises:
            InvalidRequest: Something is missing, and the message says what: the server has not
                installed honed[train], the model is paused, a round is under way, or as many
                encoders serve as `max_encoders` allows.
        """
        request = models_pb2.StartRoundRequest(
            model=model, full=full, trials=trials, seed=seed, requested_by=requested_by
        )
        return Call(_rpcs.START_ROUND, request, round_from, timeout_s)

    @method
    def cancel_round(
        self, round_id: str, requested_by: str = "", timeout_s: float | None = None
    ) -> Call[Round]:
        """Stops a round that has not ended; what it had done is thrown away."""
        request = models_pb2.CancelRoundRequest(round_id=round_id, requested_by=requested_by)
        return Call(_rpcs.CANCEL_ROUND, request, round_from, timeout_s)

    @method
    def list_rounds(self, model: str = "", timeout_s: float | None = None) -> Call[list[Round]]:
        """Lists the newest 100 rounds of a model, or of all if it is empty, newest first."""
        request = models_pb2.ListRoundsRequest(model=model)
        return Call(
            _rpcs.LIST_ROUNDS,
            request,
            lambda answer: [round_from(one) for one in answer.rounds],
            timeout_s,
        )
