import datetime

from google.protobuf import duration_pb2 as _duration_pb2
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
    __slots__ = ("name", "version", "revision", "label_set_version", "labels", "encoder_digest", "hidden_size", "temperature", "closed_labels", "adaptation_paused", "suspect_from", "suspect_to", "log_position", "anchor_examples", "create_time", "adapt_state", "max_tokens", "own_head_version", "learned_weight", "learned_evidence", "precision", "policy", "learning", "trial", "drift", "settled")
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
    POLICY_FIELD_NUMBER: _ClassVar[int]
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
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
    policy: Policy
    learning: Learning
    trial: Trial
    drift: Drift
    settled: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., label_set_version: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., encoder_digest: _Optional[str] = ..., hidden_size: _Optional[int] = ..., temperature: _Optional[float] = ..., closed_labels: bool = ..., adaptation_paused: bool = ..., suspect_from: _Optional[int] = ..., suspect_to: _Optional[int] = ..., log_position: _Optional[int] = ..., anchor_examples: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., adapt_state: _Optional[str] = ..., max_tokens: _Optional[int] = ..., own_head_version: _Optional[int] = ..., learned_weight: _Optional[float] = ..., learned_evidence: _Optional[float] = ..., precision: _Optional[str] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., learning: _Optional[_Union[Learning, _Mapping]] = ..., trial: _Optional[_Union[Trial, _Mapping]] = ..., drift: _Optional[_Union[Drift, _Mapping]] = ..., settled: bool = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("promotion", "alpha", "loss_share", "canary_share", "keep_worse", "audit_share", "out_of_scope_false_alarms", "coverage", "round_labels", "round_interval", "round_on_drift", "own_encoder", "p99_ratio")
    class Promotion(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PROMOTION_UNSPECIFIED: _ClassVar[Policy.Promotion]
        PROMOTION_DEFAULT: _ClassVar[Policy.Promotion]
        PROMOTION_SUPERIOR: _ClassVar[Policy.Promotion]
        PROMOTION_MANUAL: _ClassVar[Policy.Promotion]
    PROMOTION_UNSPECIFIED: Policy.Promotion
    PROMOTION_DEFAULT: Policy.Promotion
    PROMOTION_SUPERIOR: Policy.Promotion
    PROMOTION_MANUAL: Policy.Promotion
    PROMOTION_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    LOSS_SHARE_FIELD_NUMBER: _ClassVar[int]
    CANARY_SHARE_FIELD_NUMBER: _ClassVar[int]
    KEEP_WORSE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_SHARE_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_SCOPE_FALSE_ALARMS_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    ROUND_LABELS_FIELD_NUMBER: _ClassVar[int]
    ROUND_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    ROUND_ON_DRIFT_FIELD_NUMBER: _ClassVar[int]
    OWN_ENCODER_FIELD_NUMBER: _ClassVar[int]
    P99_RATIO_FIELD_NUMBER: _ClassVar[int]
    promotion: Policy.Promotion
    alpha: float
    loss_share: float
    canary_share: float
    keep_worse: bool
    audit_share: float
    out_of_scope_false_alarms: float
    coverage: float
    round_labels: int
    round_interval: _duration_pb2.Duration
    round_on_drift: bool
    own_encoder: bool
    p99_ratio: float
    def __init__(self, promotion: _Optional[_Union[Policy.Promotion, str]] = ..., alpha: _Optional[float] = ..., loss_share: _Optional[float] = ..., canary_share: _Optional[float] = ..., keep_worse: bool = ..., audit_share: _Optional[float] = ..., out_of_scope_false_alarms: _Optional[float] = ..., coverage: _Optional[float] = ..., round_labels: _Optional[int] = ..., round_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., round_on_drift: bool = ..., own_encoder: bool = ..., p99_ratio: _Optional[float] = ...) -> None: ...

class SetPolicyRequest(_message.Message):
    __slots__ = ("model", "policy", "requested_by")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    model: str
    policy: Policy
    requested_by: str
    def __init__(self, model: _Optional[str] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., requested_by: _Optional[str] = ...) -> None: ...

class Learning(_message.Message):
    __slots__ = ("experts", "features", "width", "ridge", "labels", "audited_accuracy", "audits", "calibration_error", "brier")
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    RIDGE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    AUDITED_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    AUDITS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_ERROR_FIELD_NUMBER: _ClassVar[int]
    BRIER_FIELD_NUMBER: _ClassVar[int]
    experts: _containers.RepeatedCompositeFieldContainer[Expert]
    features: int
    width: float
    ridge: float
    labels: int
    audited_accuracy: float
    audits: int
    calibration_error: float
    brier: float
    def __init__(self, experts: _Optional[_Iterable[_Union[Expert, _Mapping]]] = ..., features: _Optional[int] = ..., width: _Optional[float] = ..., ridge: _Optional[float] = ..., labels: _Optional[int] = ..., audited_accuracy: _Optional[float] = ..., audits: _Optional[int] = ..., calibration_error: _Optional[float] = ..., brier: _Optional[float] = ...) -> None: ...

class Expert(_message.Message):
    __slots__ = ("name", "weight", "log_loss", "votes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    LOG_LOSS_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    weight: float
    log_loss: float
    votes: int
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ..., log_loss: _Optional[float] = ..., votes: _Optional[int] = ...) -> None: ...

class Trial(_message.Message):
    __slots__ = ("version", "stage", "wins", "losses", "total", "e_better", "e_needed", "over_cap")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    WINS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    E_BETTER_FIELD_NUMBER: _ClassVar[int]
    E_NEEDED_FIELD_NUMBER: _ClassVar[int]
    OVER_CAP_FIELD_NUMBER: _ClassVar[int]
    version: int
    stage: str
    wins: int
    losses: int
    total: int
    e_better: float
    e_needed: float
    over_cap: int
    def __init__(self, version: _Optional[int] = ..., stage: _Optional[str] = ..., wins: _Optional[int] = ..., losses: _Optional[int] = ..., total: _Optional[int] = ..., e_better: _Optional[float] = ..., e_needed: _Optional[float] = ..., over_cap: _Optional[int] = ...) -> None: ...

class Drift(_message.Message):
    __slots__ = ("alarm", "since", "alarms", "error", "window")
    ALARM_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    alarm: str
    since: _timestamp_pb2.Timestamp
    alarms: int
    error: float
    window: int
    def __init__(self, alarm: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., alarms: _Optional[int] = ..., error: _Optional[float] = ..., window: _Optional[int] = ...) -> None: ...

class StartRoundRequest(_message.Message):
    __slots__ = ("model", "full", "trials", "seed", "requested_by")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    model: str
    full: bool
    trials: int
    seed: int
    requested_by: str
    def __init__(self, model: _Optional[str] = ..., full: bool = ..., trials: _Optional[int] = ..., seed: _Optional[int] = ..., requested_by: _Optional[str] = ...) -> None: ...

class CancelRoundRequest(_message.Message):
    __slots__ = ("round_id", "requested_by")
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    round_id: str
    requested_by: str
    def __init__(self, round_id: _Optional[str] = ..., requested_by: _Optional[str] = ...) -> None: ...

class ListRoundsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListRoundsResponse(_message.Message):
    __slots__ = ("rounds",)
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    rounds: _containers.RepeatedCompositeFieldContainer[Round]
    def __init__(self, rounds: _Optional[_Iterable[_Union[Round, _Mapping]]] = ...) -> None: ...

class Round(_message.Message):
    __slots__ = ("round_id", "models", "state", "kind", "trigger", "create_time", "end_time", "step", "steps", "remaining", "encoder_digest", "versions", "reason", "metrics_json")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Round.State]
        STATE_QUEUED: _ClassVar[Round.State]
        STATE_TRAINING: _ClassVar[Round.State]
        STATE_CHECKING: _ClassVar[Round.State]
        STATE_DONE: _ClassVar[Round.State]
        STATE_FAILED: _ClassVar[Round.State]
        STATE_CANCELLED: _ClassVar[Round.State]
    STATE_UNSPECIFIED: Round.State
    STATE_QUEUED: Round.State
    STATE_TRAINING: Round.State
    STATE_CHECKING: Round.State
    STATE_DONE: Round.State
    STATE_FAILED: Round.State
    STATE_CANCELLED: Round.State
    ROUND_ID_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    ENCODER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METRICS_JSON_FIELD_NUMBER: _ClassVar[int]
    round_id: str
    models: _containers.RepeatedScalarFieldContainer[str]
    state: Round.State
    kind: str
    trigger: str
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    step: int
    steps: int
    remaining: _duration_pb2.Duration
    encoder_digest: str
    versions: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    metrics_json: str
    def __init__(self, round_id: _Optional[str] = ..., models: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[Round.State, str]] = ..., kind: _Optional[str] = ..., trigger: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., encoder_digest: _Optional[str] = ..., versions: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ..., metrics_json: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("name", "files", "without_head", "labels", "closed_labels", "as_candidate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_HEAD_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_LABELS_FIELD_NUMBER: _ClassVar[int]
    AS_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    files: _containers.RepeatedCompositeFieldContainer[FileEntry]
    without_head: bool
    labels: _containers.RepeatedScalarFieldContainer[str]
    closed_labels: bool
    as_candidate: bool
    def __init__(self, name: _Optional[str] = ..., files: _Optional[_Iterable[_Union[FileEntry, _Mapping]]] = ..., without_head: bool = ..., labels: _Optional[_Iterable[str]] = ..., closed_labels: bool = ..., as_candidate: bool = ...) -> None: ...

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
        KIND_POLICY: _ClassVar[ModelEvent.Kind]
        KIND_ROUND: _ClassVar[ModelEvent.Kind]
        KIND_DRIFT: _ClassVar[ModelEvent.Kind]
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
    KIND_POLICY: ModelEvent.Kind
    KIND_ROUND: ModelEvent.Kind
    KIND_DRIFT: ModelEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    kind: ModelEvent.Kind
    model: Model
    time: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[_Union[ModelEvent.Kind, str]] = ..., model: _Optional[_Union[Model, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
