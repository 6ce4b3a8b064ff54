import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_INTERACTIVE: _ClassVar[Priority]
    PRIORITY_BULK: _ClassVar[Priority]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_INTERACTIVE: Priority
PRIORITY_BULK: Priority

class PredictRequest(_message.Message):
    __slots__ = ("model", "texts", "top_k", "include_logits", "include_embedding", "request_id", "priority", "tenant", "include_set")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_LOGITS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_SET_FIELD_NUMBER: _ClassVar[int]
    model: str
    texts: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    include_logits: bool
    include_embedding: bool
    request_id: str
    priority: Priority
    tenant: str
    include_set: bool
    def __init__(self, model: _Optional[str] = ..., texts: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., include_logits: bool = ..., include_embedding: bool = ..., request_id: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., tenant: _Optional[str] = ..., include_set: bool = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("items", "request_id", "error")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[PredictItem]
    request_id: str
    error: _status_pb2.Status
    def __init__(self, items: _Optional[_Iterable[_Union[PredictItem, _Mapping]]] = ..., request_id: _Optional[str] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class PredictItem(_message.Message):
    __slots__ = ("prediction", "error")
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    prediction: Prediction
    error: _status_pb2.Status
    def __init__(self, prediction: _Optional[_Union[Prediction, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("label", "probability")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    label: str
    probability: float
    def __init__(self, label: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("prediction_id", "model", "version", "revision", "label_set_version", "scores", "logits", "logit_labels", "embedding", "num_tokens", "truncated", "queue_time", "compute_time", "out_of_scope_score", "out_of_scope", "prediction_set")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LABEL_SET_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    LOGIT_LABELS_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    NUM_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_TIME_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_SCOPE_SCORE_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_SCOPE_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_SET_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    model: str
    version: int
    revision: int
    label_set_version: int
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    logits: bytes
    logit_labels: _containers.RepeatedScalarFieldContainer[str]
    embedding: bytes
    num_tokens: int
    truncated: bool
    queue_time: _duration_pb2.Duration
    compute_time: _duration_pb2.Duration
    out_of_scope_score: float
    out_of_scope: bool
    prediction_set: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, prediction_id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., label_set_version: _Optional[int] = ..., scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., logits: _Optional[bytes] = ..., logit_labels: _Optional[_Iterable[str]] = ..., embedding: _Optional[bytes] = ..., num_tokens: _Optional[int] = ..., truncated: bool = ..., queue_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., compute_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., out_of_scope_score: _Optional[float] = ..., out_of_scope: bool = ..., prediction_set: _Optional[_Iterable[str]] = ...) -> None: ...

class ReplayRequest(_message.Message):
    __slots__ = ("prediction_id", "text", "top_k")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    text: str
    top_k: int
    def __init__(self, prediction_id: _Optional[str] = ..., text: _Optional[str] = ..., top_k: _Optional[int] = ...) -> None: ...

class ReplayResponse(_message.Message):
    __slots__ = ("prediction_id", "model", "version", "revision", "time", "text", "label", "probability", "scores", "difference", "matches", "labels_learned")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    LABELS_LEARNED_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    model: str
    version: int
    revision: int
    time: _timestamp_pb2.Timestamp
    text: str
    label: str
    probability: float
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    difference: float
    matches: bool
    labels_learned: int
    def __init__(self, prediction_id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., text: _Optional[str] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ..., scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., difference: _Optional[float] = ..., matches: bool = ..., labels_learned: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model", "text", "label", "top_k", "include_tokens")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    text: str
    label: str
    top_k: int
    include_tokens: bool
    def __init__(self, model: _Optional[str] = ..., text: _Optional[str] = ..., label: _Optional[str] = ..., top_k: _Optional[int] = ..., include_tokens: bool = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("model", "version", "revision", "label", "probability", "influential", "nearest", "tokens")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    INFLUENTIAL_FIELD_NUMBER: _ClassVar[int]
    NEAREST_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    revision: int
    label: str
    probability: float
    influential: _containers.RepeatedCompositeFieldContainer[Influence]
    nearest: _containers.RepeatedCompositeFieldContainer[Influence]
    tokens: _containers.RepeatedCompositeFieldContainer[TokenAttribution]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ..., influential: _Optional[_Iterable[_Union[Influence, _Mapping]]] = ..., nearest: _Optional[_Iterable[_Union[Influence, _Mapping]]] = ..., tokens: _Optional[_Iterable[_Union[TokenAttribution, _Mapping]]] = ...) -> None: ...

class Influence(_message.Message):
    __slots__ = ("feedback_id", "text", "label", "submitter", "similarity", "influence")
    FEEDBACK_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    INFLUENCE_FIELD_NUMBER: _ClassVar[int]
    feedback_id: str
    text: str
    label: str
    submitter: str
    similarity: float
    influence: float
    def __init__(self, feedback_id: _Optional[str] = ..., text: _Optional[str] = ..., label: _Optional[str] = ..., submitter: _Optional[str] = ..., similarity: _Optional[float] = ..., influence: _Optional[float] = ...) -> None: ...

class TokenAttribution(_message.Message):
    __slots__ = ("text", "start", "end", "attribution")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    text: str
    start: int
    end: int
    attribution: float
    def __init__(self, text: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., attribution: _Optional[float] = ...) -> None: ...
