import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VersionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_STATE_UNSPECIFIED: _ClassVar[VersionState]
    VERSION_STATE_CANDIDATE: _ClassVar[VersionState]
    VERSION_STATE_ACTIVE: _ClassVar[VersionState]
    VERSION_STATE_RETIRED: _ClassVar[VersionState]
    VERSION_STATE_REFUSED: _ClassVar[VersionState]
    VERSION_STATE_DAMAGED: _ClassVar[VersionState]
VERSION_STATE_UNSPECIFIED: VersionState
VERSION_STATE_CANDIDATE: VersionState
VERSION_STATE_ACTIVE: VersionState
VERSION_STATE_RETIRED: VersionState
VERSION_STATE_REFUSED: VersionState
VERSION_STATE_DAMAGED: VersionState

class Model(_message.Message):
    __slots__ = ("name", "version", "revision", "label_set_version", "labels", "encoder_digest", "hidden_size", "temperature", "closed_labels", "adaptation_paused", "suspect_from", "suspect_to", "log_position", "anchor_examples", "create_time", "adapt_state", "max_tokens", "own_head_version", "learned_weight", "learned_evidence", "precision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LABEL_SET_VERSION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    CLOSED_LABELS_FIELD_NUMBER: _ClassVar[int]
    ADAPTATION_PAUSED_FIELD_NUMBER: _ClassVar[int]
    SUSPECT_FROM_FIELD_NUMBER: _ClassVar[int]
    SUSPECT_TO_FIELD_NUMBER: _ClassVar[int]
    LOG_POSITION_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ADAPT_STATE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OWN_HEAD_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEARNED_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    LEARNED_EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    revision: int
    label_set_version: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    encoder_digest: str
    hidden_size: int
    temperature: float
    closed_labels: bool
    adaptation_paused: bool
    suspect_from: int
    suspect_to: int
    log_position: int
    anchor_examples: int
    create_time: _timestamp_pb2.Timestamp
    adapt_state: str
    max_tokens: int
    own_head_version: int
    learned_weight: float
    learned_evidence: float
    precision: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., label_set_version: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., encoder_digest: _Optional[str] = ..., hidden_size: _Optional[int] = ..., temperature: _Optional[float] = ..., closed_labels: bool = ..., adaptation_paused: bool = ..., suspect_from: _Optional[int] = ..., suspect_to: _Optional[int] = ..., log_position: _Optional[int] = ..., anchor_examples: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., adapt_state: _Optional[str] = ..., max_tokens: _Optional[int] = ..., own_head_version: _Optional[int] = ..., learned_weight: _Optional[float] = ..., learned_evidence: _Optional[float] = ..., precision: _Optional[str] = ...) -> None: ...

class CreateModelRequest(_message.Message):
    __slots__ = ("name", "encoder_digest", "labels", "closed_labels")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    encoder_digest: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    closed_labels: bool
    def __init__(self, name: _Optional[str] = ..., encoder_digest: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., closed_labels: bool = ...) -> None: ...

class FileEntry(_message.Message):
    __slots__ = ("path", "size", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    size: int
    sha256: str
    def __init__(self, path: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("path", "data")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    path: str
    data: bytes
    def __init__(self, path: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class ImportModelRequest(_message.Message):
    __slots__ = ("start", "chunk")
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    start: ImportModelStart
    chunk: FileChunk
    def __init__(self, start: _Optional[_Union[ImportModelStart, _Mapping]] = ..., chunk: _Optional[_Union[FileChunk, _Mapping]] = ...) -> None: ...

class ImportModelStart(_message.Message):
    __slots__ = ("name", "files", "without_head", "labels", "closed_labels")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_HEAD_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    files: _containers.RepeatedCompositeFieldContainer[FileEntry]
    without_head: bool
    labels: _containers.RepeatedScalarFieldContainer[str]
    closed_labels: bool
    def __init__(self, name: _Optional[str] = ..., files: _Optional[_Iterable[_Union[FileEntry, _Mapping]]] = ..., without_head: bool = ..., labels: _Optional[_Iterable[str]] = ..., closed_labels: bool = ...) -> None: ...

class ExportModelRequest(_message.Message):
    __slots__ = ("model", "version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class ExportModelResponse(_message.Message):
    __slots__ = ("start", "chunk")
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    start: ExportModelStart
    chunk: FileChunk
    def __init__(self, start: _Optional[_Union[ExportModelStart, _Mapping]] = ..., chunk: _Optional[_Union[FileChunk, _Mapping]] = ...) -> None: ...

class ExportModelStart(_message.Message):
    __slots__ = ("model", "version", "revision", "files")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    revision: int
    files: _containers.RepeatedCompositeFieldContainer[FileEntry]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., files: _Optional[_Iterable[_Union[FileEntry, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ("name", "requested_by")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    name: str
    requested_by: str
    def __init__(self, name: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class DeleteModelResponse(_message.Message):
    __slots__ = ("forgotten_feedback",)
    FORGOTTEN_FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    forgotten_feedback: int
    def __init__(self, forgotten_feedback: _Optional[int] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions", "decisions")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[Version]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    def __init__(self, versions: _Optional[_Iterable[_Union[Version, _Mapping]]] = ..., decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ...) -> None: ...

class Version(_message.Message):
    __slots__ = ("version", "state", "parent", "encoder_digest", "log_position", "num_labels", "create_time", "source", "manifest_sha256", "tainted_position")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LOG_POSITION_FIELD_NUMBER: _ClassVar[int]
    NUM_LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    TAINTED_POSITION_FIELD_NUMBER: _ClassVar[int]
    version: int
    state: VersionState
    parent: int
    encoder_digest: str
    log_position: int
    num_labels: int
    create_time: _timestamp_pb2.Timestamp
    source: str
    manifest_sha256: str
    tainted_position: int
    def __init__(self, version: _Optional[int] = ..., state: _Optional[_Union[VersionState, str]] = ..., parent: _Optional[int] = ..., encoder_digest: _Optional[str] = ..., log_position: _Optional[int] = ..., num_labels: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., tainted_position: _Optional[int] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("decision_id", "kind", "outcome", "version", "actor", "reason", "numbers_json", "time")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_JSON_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    decision_id: str
    kind: str
    outcome: str
    version: int
    actor: str
    reason: str
    numbers_json: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, decision_id: _Optional[str] = ..., kind: _Optional[str] = ..., outcome: _Optional[str] = ..., version: _Optional[int] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., numbers_json: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("model", "version", "requested_by")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    requested_by: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., requested_by: _Optional[str] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("model", "version", "requested_by")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    requested_by: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., requested_by: _Optional[str] = ...) -> None: ...

class PauseAdaptationRequest(_message.Message):
    __slots__ = ("model", "requested_by")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    model: str
    requested_by: str
    def __init__(self, model: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class ResumeAdaptationRequest(_message.Message):
    __slots__ = ("model", "exclude_suspected", "exclude_submitter", "requested_by")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_SUSPECTED_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    model: str
    exclude_suspected: bool
    exclude_submitter: str
    requested_by: str
    def __init__(self, model: _Optional[str] = ..., exclude_suspected: bool = ..., exclude_submitter: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ModelEvent(_message.Message):
    __slots__ = ("kind", "model", "time")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ModelEvent.Kind]
        KIND_SNAPSHOT: _ClassVar[ModelEvent.Kind]
        KIND_REVISION: _ClassVar[ModelEvent.Kind]
        KIND_VERSION: _ClassVar[ModelEvent.Kind]
        KIND_ROLLBACK: _ClassVar[ModelEvent.Kind]
        KIND_PAUSED: _ClassVar[ModelEvent.Kind]
        KIND_RESUMED: _ClassVar[ModelEvent.Kind]
        KIND_CREATED: _ClassVar[ModelEvent.Kind]
        KIND_DELETED: _ClassVar[ModelEvent.Kind]
        KIND_QUARANTINED: _ClassVar[ModelEvent.Kind]
        KIND_PRECISION: _ClassVar[ModelEvent.Kind]
    KIND_UNSPECIFIED: ModelEvent.Kind
    KIND_SNAPSHOT: ModelEvent.Kind
    KIND_REVISION: ModelEvent.Kind
    KIND_VERSION: ModelEvent.Kind
    KIND_ROLLBACK: ModelEvent.Kind
    KIND_PAUSED: ModelEvent.Kind
    KIND_RESUMED: ModelEvent.Kind
    KIND_CREATED: ModelEvent.Kind
    KIND_DELETED: ModelEvent.Kind
    KIND_QUARANTINED: ModelEvent.Kind
    KIND_PRECISION: ModelEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    kind: ModelEvent.Kind
    model: Model
    time: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[_Union[ModelEvent.Kind, str]] = ..., model: _Optional[_Union[Model, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
