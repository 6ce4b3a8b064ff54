"""Calls of the Models service: create, look, decide who serves, watch."""

from collections.abc import Coroutine, Iterable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from honed import _rpcs
from honed._call import Both, Call, method
from honed._convert import model_from, policy_message, value_from
from honed._download import Download, export_folder, export_folder_async
from honed._upload import Progress, Upload, import_folder, import_folder_async
from honed._watch import AsyncWatch, Watch
from honed.types import Decision, Export, Model, Policy, Version
from honed_proto.v1 import models_pb2


class ModelsCalls:
    """Models and versions, the part of both clients that speaks to `honed.v1.Models`.

    `requested_by` names who asks, for the record; `timeout_s` is the deadline in seconds, the
    client's if None.
    """

    @method
    def create_model(
        self,
        name: str,
        labels: Iterable[str] = (),
        closed_labels: bool = False,
        encoder_digest: str = "",
        timeout_s: float | None = None,
    ) -> Call[Model]:
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
        return Call(_rpcs.CREATE, request, model_from, timeout_s)

    @method
    def import_model(
        self,
        name: str,
        folder: str | PathLike[str],
        *,
        without_head: bool = False,
        labels: Iterable[str] = (),
        closed_labels: bool = False,
        as_candidate: bool = False,
        progress: Progress | None = None,
        timeout_s: float = 600.0,
    ) -> Both[Model, Coroutine[Any, Any, Model]]:
        """Creates a model from a fine-tuned Hugging Face folder; its head becomes version 1.

        Args:
            name: As for `create_model`.
            folder: Holds config.json, tokenizer.json and model.safetensors (`save_pretrained`).
            without_head: Whether to use the encoder only, and start without a head.
            labels: With `without_head`: labels to declare.
            closed_labels: Whether to refuse labels other than the head's own, or those declared.
            as_candidate: Whether `name` is a model that is there already: the folder becomes a
                candidate version of it, which must pass the gate.
            progress: Is called with bytes sent and in total, maybe on another thread; what it
                raises ends the import.
            timeout_s: Deadline in seconds, for sending and for the work of the server.

        Raises:
            OSError: A needed file is missing or cannot be read.
            InvalidRequest: Honed cannot serve this checkpoint; the message says why.
            Conflict: The name was used before.

        Example:
            >>> model = client.import_model("own", checkpoint)
            >>> (model.own_head_version, model.learned_weight)
            (1, 0.0)
        """
        start = models_pb2.ImportModelStart(
            name=name,
            without_head=without_head,
            labels=labels,
            closed_labels=closed_labels,
            as_candidate=as_candidate,
        )
        prepare = partial(Upload, start, Path(folder), progress)
        return Both(
            lambda client: import_folder(client._connection, prepare, timeout_s),
            lambda client: import_folder_async(client._connection, prepare, timeout_s),
        )

    @method
    def export_model(
        self,
        name: str,
        folder: str | PathLike[str],
        *,
        version: int = 0,
        progress: Progress | None = None,
        timeout_s: float = 600.0,
    ) -> Both[Export, Coroutine[Any, Any, Export]]:
        """Writes a model as a folder that transformers loads, with a model card.

        The folder appears when every file has come and has the announced SHA-256.

        Args:
            name: Name of the model.
            folder: Where to write it; must not exist, or be empty.
            version: Version to export; 0 means the revision that serves now.
            progress: Is called with bytes received and in total, maybe on another thread; what it
                raises ends the export.
            timeout_s: Deadline in seconds.

        Raises:
            FileExistsError: The folder is not empty.
            ServerError: What came is not what was announced.

        Example:
            >>> export = client.export_model("support", folder)
            >>> "model.safetensors" in export.files
            True
        """
        request = models_pb2.ExportModelRequest(model=name, version=version)
        prepare = partial(Download, Path(folder), progress)
        return Both(
            lambda client: export_folder(client._connection, request, prepare, timeout_s),
            lambda client: export_folder_async(client._connection, request, prepare, timeout_s),
        )

    @method
    def get_model(self, name: str, timeout_s: float | None = None) -> Call[Model]:
        """Describes one model."""
        request = models_pb2.GetModelRequest(name=name)
        return Call(_rpcs.GET, request, model_from, timeout_s)

    @method
    def list_models(self, timeout_s: float | None = None) -> Call[list[Model]]:
        """Describes all models, in order of name."""
        request = models_pb2.ListModelsRequest()
        return Call(
            _rpcs.LIST_MODELS,
            request,
            lambda answer: [model_from(model) for model in answer.models],
            timeout_s,
        )

    @method
    def delete_model(
        self, name: str, requested_by: str = "", timeout_s: float | None = None
    ) -> Call[int]:
        """Removes a model and forgets its feedback; returns how many entries were erased."""
        request = models_pb2.DeleteModelRequest(name=name, requested_by=requested_by)
        return Call(
            _rpcs.DELETE_MODEL, request, lambda answer: answer.forgotten_feedback, timeout_s
        )

    @method
    def list_versions(self, model: str, timeout_s: float | None = None) -> Call[list[Version]]:
        """Lists the versions of a model, oldest first."""
        return _versions(model, timeout_s).map(
            lambda answer: [value_from(version, Version) for version in answer.versions]
        )

    @method
    def list_decisions(self, model: str, timeout_s: float | None = None) -> Call[list[Decision]]:
        """Lists the newest 1,000 decisions about a model, oldest first."""
        return _versions(model, timeout_s).map(
            lambda answer: [value_from(decision, Decision) for decision in answer.decisions]
        )

    @method
    def promote(
        self,
        model: str,
        version: int = 0,
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Call[Model]:
        """Makes a version serve, over the gate; 0 makes the serving revision a version."""
        request = models_pb2.PromoteRequest(model=model, version=version, requested_by=requested_by)
        return Call(_rpcs.PROMOTE, request, model_from, timeout_s)

    @method
    def rollback(
        self,
        model: str,
        version: int = 0,
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Call[Model]:
        """Serves an earlier version, 0 the one before, and pauses adaptation."""
        request = models_pb2.RollbackRequest(
            model=model, version=version, requested_by=requested_by
        )
        return Call(_rpcs.ROLLBACK, request, model_from, timeout_s)

    @method
    def pause(
        self, model: str, requested_by: str = "", timeout_s: float | None = None
    ) -> Call[Model]:
        """Stops learning; the serving revision stays, labels are still recorded."""
        request = models_pb2.PauseAdaptationRequest(model=model, requested_by=requested_by)
        return Call(_rpcs.PAUSE, request, model_from, timeout_s)

    @method
    def resume(
        self,
        model: str,
        exclude_suspected: bool = False,
        exclude_submitter: str = "",
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Call[Model]:
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
        return Call(_rpcs.RESUME, request, model_from, timeout_s)

    @method
    def set_policy(
        self,
        model: str,
        policy: Policy,
        requested_by: str = "",
        timeout_s: float | None = None,
    ) -> Call[Model]:
        """Replaces the policy of a model: what promotes, who watches, when rounds start.

        To change one setting, start from the present ones.

        Raises:
            InvalidRequest: A setting is out of its range; the message names it.

        Example:
            >>> from dataclasses import replace
            >>> policy = client.get_model("support").policy
            >>> client.set_policy("support", replace(policy, alpha=0.01)).policy.alpha
            0.01
        """
        request = models_pb2.SetPolicyRequest(
            model=model, policy=policy_message(policy), requested_by=requested_by
        )
        return Call(_rpcs.SET_POLICY, request, model_from, timeout_s)

    @method
    def watch(self, model: str = "", timeout_s: float | None = None) -> Both[Watch, AsyncWatch]:
        """Streams what happens to a model, or to all: first the present state, then changes.

        Args:
            model: Name of the model; empty means all.
            timeout_s: End of the stream in seconds from now; never if None.
        """
        request = models_pb2.WatchRequest(model=model)
        return Both(
            lambda client: Watch(client._connection, request, timeout_s),
            lambda client: AsyncWatch(client._connection, request, timeout_s),
        )


def _versions(model: str, timeout_s: float | None) -> Call[models_pb2.ListVersionsResponse]:
    request = models_pb2.ListVersionsRequest(model=model)
    return Call(_rpcs.LIST_VERSIONS, request, lambda answer: answer, timeout_s)
