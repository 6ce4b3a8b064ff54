"""Calls of the Models service: create, look, decide who serves, watch."""

from collections.abc import Iterable

from honed import _rpcs
from honed._connection import Connection, Watch
from honed._convert import value_from
from honed.types import Decision, Model, Version
from honed_proto.v1 import models_pb2


class ModelsCalls:
    """Models and versions, the part of `Client` that speaks to `honed.v1.Models`.

    `requested_by` names who asks, for the record; `timeout_s` is the deadline in seconds, the
    client's if None.
    """

    _connection: Connection

    def create_model(
        self,
        name: str,
        labels: Iterable[str] = (),
        closed_labels: bool = False,
        encoder_digest: str = "",
        timeout_s: float | None = None,
    ) -> Model:
        """Creates a model that has learned nothing yet.

        Args:
            name: 1 to 64 of a-z, 0-9, '-', '_' and '.'; never to be used again once deleted.
            labels: Labels to declare.
            closed_labels: Whether to refuse all others.
            encoder_digest: Encoder to use; the server's default if empty.
            timeout_s: Deadline in seconds; the client's if None.
        """
        request = models_pb2.CreateModelRequest(
            name=name, labels=labels, closed_labels=closed_labels, encoder_digest=encoder_digest
        )
        return value_from(self._connection.call(_rpcs.CREATE, request, timeout_s), Model)

    def get_model(self, name: str, timeout_s: float | None = None) -> Model:
        """Describes one model."""
        request = models_pb2.GetModelRequest(name=name)
        return value_from(self._connection.call(_rpcs.GET, request, timeout_s), Model)

    def list_models(self, timeout_s: float | None = None) -> list[Model]:
        """Describes all models, in order of name."""
        request = models_pb2.ListModelsRequest()
        response = self._connection.call(_rpcs.LIST_MODELS, request, timeout_s)
        return [value_from(model, Model) for model in response.models]

    def delete_model(
        self, name: str, requested_by: str = "", timeout_s: float | None = None
    ) -> int:
        """Removes a model and forgets its feedback; returns how many entries were erased."""
        request = models_pb2.DeleteModelRequest(name=name, requested_by=requested_by)
        return self._connection.call(_rpcs.DELETE_MODEL, request, timeout_s).forgotten_feedback

    def list_versions(self, model: str, timeout_s: float | None = None) -> list[Version]:
        """Lists the versions of a model, oldest first."""
        versions = self._versions(model, timeout_s).versions
        return [value_from(version, Version) for version in versions]

    def list_decisions(self, model: str, timeout_s: float | None = None) -> list[Decision]:
        """Lists the newest 1,000 decisions about a model, oldest first."""
        decisions = self._versions(model, timeout_s).decisions
        return [value_from(decision, Decision) for decision in decisions]

    def _versions(self, model: str, timeout_s: float | None) -> models_pb2.ListVersionsResponse:
        request = models_pb2.ListVersionsRequest(model=model)
        return self._connection.call(_rpcs.LIST_VERSIONS, request, timeout_s)

    def promote(
        self,
        model: str,
        version: int = 0,
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Model:
        """Makes a version serve, over the gate; 0 makes the serving revision a version."""
        request = models_pb2.PromoteRequest(model=model, version=version, requested_by=requested_by)
        return value_from(self._connection.call(_rpcs.PROMOTE, request, timeout_s), Model)

    def rollback(
        self,
        model: str,
        version: int = 0,
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Model:
        """Serves an earlier version, 0 the one before, and pauses adaptation."""
        request = models_pb2.RollbackRequest(
            model=model, version=version, requested_by=requested_by
        )
        return value_from(self._connection.call(_rpcs.ROLLBACK, request, timeout_s), Model)

    def pause(self, model: str, requested_by: str = "", timeout_s: float | None = None) -> Model:
        """Stops learning; the serving revision stays, labels are still recorded."""
        request = models_pb2.PauseAdaptationRequest(model=model, requested_by=requested_by)
        return value_from(self._connection.call(_rpcs.PAUSE, request, timeout_s), Model)

    def resume(
        self,
        model: str,
        exclude_suspected: bool = False,
        exclude_submitter: str = "",
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Model:
        """Learns again after a pause or a rollback.

        Args:
            model: Name of the model.
            exclude_suspected: Whether to leave out the feedback under suspicion.
            exclude_submitter: Leave out what this submitter said in the range under suspicion.
            requested_by: Who asks.
            timeout_s: Deadline in seconds; the client's if None.
        """
        request = models_pb2.ResumeAdaptationRequest(
            model=model,
            exclude_suspected=exclude_suspected,
            exclude_submitter=exclude_submitter,
            requested_by=requested_by,
        )
        return value_from(self._connection.call(_rpcs.RESUME, request, timeout_s), Model)

    def watch(self, model: str = "", timeout_s: float | None = None) -> Watch:
        """Streams what happens to a model, or to all: first the present state, then changes.

        Args:
            model: Name of the model; empty means all.
            timeout_s: End of the stream in seconds from now; never if None.
        """
        return self._connection.watch(models_pb2.WatchRequest(model=model), timeout_s)
