import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeedbackKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEEDBACK_KIND_UNSPECIFIED: _ClassVar[FeedbackKind]
    FEEDBACK_KIND_CORRECTION: _ClassVar[FeedbackKind]
    FEEDBACK_KIND_CONFIRMATION: _ClassVar[FeedbackKind]
    FEEDBACK_KIND_AUDIT: _ClassVar[FeedbackKind]
    FEEDBACK_KIND_RETRACTION: _ClassVar[FeedbackKind]

class FeedbackState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEEDBACK_STATE_UNSPECIFIED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_ACTIVE: _ClassVar[FeedbackState]
    FEEDBACK_STATE_RETRACTED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_QUARANTINED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_EXCLUDED: _ClassVar[FeedbackState]
    FEEDBACK_STATE_DELETED: _ClassVar[FeedbackState]
FEEDBACK_KIND_UNSPECIFIED: FeedbackKind
FEEDBACK_KIND_CORRECTION: FeedbackKind
FEEDBACK_KIND_CONFIRMATION: FeedbackKind
FEEDBACK_KIND_AUDIT: FeedbackKind
FEEDBACK_KIND_RETRACTION: FeedbackKind
FEEDBACK_STATE_UNSPECIFIED: FeedbackState
FEEDBACK_STATE_ACTIVE: FeedbackState
FEEDBACK_STATE_RETRACTED: FeedbackState
FEEDBACK_STATE_QUARANTINED: FeedbackState
FEEDBACK_STATE_EXCLUDED: FeedbackState
FEEDBACK_STATE_DELETED: FeedbackState

class FeedbackItem(_message.Message):
    __slots__ = ("idempotency_key", "prediction_id", "text", "label", "kind", "submitter", "weight", "event_time", "retracts", "shares")
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    RETRACTS_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    prediction_id: str
    text: str
    label: str
    kind: FeedbackKind
    submitter: str
    weight: float
    event_time: _timestamp_pb2.Timestamp
    retracts: str
    shares: _containers.RepeatedCompositeFieldContainer[LabelShare]
    def __init__(self, idempotency_key: _Optional[str] = ..., prediction_id: _Optional[str] = ..., text: _Optional[str] = ..., label: _Optional[str] = ..., kind: _Optional[_Union[FeedbackKind, str]] = ..., submitter: _Optional[str] = ..., weight: _Optional[float] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retracts: _Optional[str] = ..., shares: _Optional[_Iterable[_Union[LabelShare, _Mapping]]] = ...) -> None: ...

class LabelShare(_message.Message):
    __slots__ = ("label", "share")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    label: str
    share: float
    def __init__(self, label: _Optional[str] = ..., share: _Optional[float] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("model", "items", "wait_until_served")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    WAIT_UNTIL_SERVED_FIELD_NUMBER: _ClassVar[int]
    model: str
    items: _containers.RepeatedCompositeFieldContainer[FeedbackItem]
    wait_until_served: bool
    def __init__(self, model: _Optional[str] = ..., items: _Optional[_Iterable[_Union[FeedbackItem, _Mapping]]] = ..., wait_until_served: bool = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SubmitResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SubmitResult, _Mapping]]] = ...) -> None: ...

class SubmitResult(_message.Message):
    __slots__ = ("ack", "error")
    ACK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ack: FeedbackAck
    error: _status_pb2.Status
    def __init__(self, ack: _Optional[_Union[FeedbackAck, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class FeedbackAck(_message.Message):
    __slots__ = ("feedback_id", "position", "already_recorded", "served", "served_version", "served_revision", "quarantined")
    FEEDBACK_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ALREADY_RECORDED_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    SERVED_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVED_REVISION_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    feedback_id: str
    position: int
    already_recorded: bool
    served: bool
    served_version: int
    served_revision: int
    quarantined: bool
    def __init__(self, feedback_id: _Optional[str] = ..., position: _Optional[int] = ..., already_recorded: bool = ..., served: bool = ..., served_version: _Optional[int] = ..., served_revision: _Optional[int] = ..., quarantined: bool = ...) -> None: ...

class ListFeedbackRequest(_message.Message):
    __slots__ = ("model", "page_size", "page_token", "label", "submitter")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    page_token: str
    label: str
    submitter: str
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., label: _Optional[str] = ..., submitter: _Optional[str] = ...) -> None: ...

class ListFeedbackResponse(_message.Message):
    __slots__ = ("records", "next_page_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[FeedbackRecord]
    next_page_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[FeedbackRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class FeedbackRecord(_message.Message):
    __slots__ = ("feedback_id", "position", "idempotency_key", "prediction_id", "text", "label", "kind", "submitter", "weight", "event_time", "recorded_time", "state", "predicted_label", "predicted_version", "predicted_revision", "retracts", "deleted_position", "deleted_by", "deleted_time", "shares")
    FEEDBACK_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    RECORDED_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_LABEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    RETRACTS_FIELD_NUMBER: _ClassVar[int]
    DELETED_POSITION_FIELD_NUMBER: _ClassVar[int]
    DELETED_BY_FIELD_NUMBER: _ClassVar[int]
    DELETED_TIME_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    feedback_id: str
    position: int
    idempotency_key: str
    prediction_id: str
    text: str
    label: str
    kind: FeedbackKind
    submitter: str
    weight: float
    event_time: _timestamp_pb2.Timestamp
    recorded_time: _timestamp_pb2.Timestamp
    state: FeedbackState
    predicted_label: str
    predicted_version: int
    predicted_revision: int
    retracts: str
    deleted_position: int
    deleted_by: str
    deleted_time: _timestamp_pb2.Timestamp
    shares: _containers.RepeatedCompositeFieldContainer[LabelShare]
    def __init__(self, feedback_id: _Optional[str] = ..., position: _Optional[int] = ..., idempotency_key: _Optional[str] = ..., prediction_id: _Optional[str] = ..., text: _Optional[str] = ..., label: _Optional[str] = ..., kind: _Optional[_Union[FeedbackKind, str]] = ..., submitter: _Optional[str] = ..., weight: _Optional[float] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recorded_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[FeedbackState, str]] = ..., predicted_label: _Optional[str] = ..., predicted_version: _Optional[int] = ..., predicted_revision: _Optional[int] = ..., retracts: _Optional[str] = ..., deleted_position: _Optional[int] = ..., deleted_by: _Optional[str] = ..., deleted_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., shares: _Optional[_Iterable[_Union[LabelShare, _Mapping]]] = ...) -> None: ...

class DeleteFeedbackRequest(_message.Message):
    __slots__ = ("model", "feedback_ids", "requested_by", "submitter", "recorded_from", "recorded_until")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FROM_FIELD_NUMBER: _ClassVar[int]
    RECORDED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    model: str
    feedback_ids: _containers.RepeatedScalarFieldContainer[str]
    requested_by: str
    submitter: str
    recorded_from: _timestamp_pb2.Timestamp
    recorded_until: _timestamp_pb2.Timestamp
    def __init__(self, model: _Optional[str] = ..., feedback_ids: _Optional[_Iterable[str]] = ..., requested_by: _Optional[str] = ..., submitter: _Optional[str] = ..., recorded_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recorded_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeleteFeedbackResponse(_message.Message):
    __slots__ = ("results", "position", "served_version", "served_revision", "tainted_versions", "deleted", "record")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    SERVED_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVED_REVISION_FIELD_NUMBER: _ClassVar[int]
    TAINTED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[DeleteResult]
    position: int
    served_version: int
    served_revision: int
    tainted_versions: _containers.RepeatedScalarFieldContainer[int]
    deleted: int
    record: DeletionRecord
    def __init__(self, results: _Optional[_Iterable[_Union[DeleteResult, _Mapping]]] = ..., position: _Optional[int] = ..., served_version: _Optional[int] = ..., served_revision: _Optional[int] = ..., tainted_versions: _Optional[_Iterable[int]] = ..., deleted: _Optional[int] = ..., record: _Optional[_Union[DeletionRecord, _Mapping]] = ...) -> None: ...

class ListDeletionsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListDeletionsResponse(_message.Message):
    __slots__ = ("deletions",)
    DELETIONS_FIELD_NUMBER: _ClassVar[int]
    deletions: _containers.RepeatedCompositeFieldContainer[DeletionRecord]
    def __init__(self, deletions: _Optional[_Iterable[_Union[DeletionRecord, _Mapping]]] = ...) -> None: ...

class DeletionRecord(_message.Message):
    __slots__ = ("position", "time", "requested_by", "submitter", "feedback_ids", "served_revision", "difference", "tainted", "complete")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_BY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_IDS_FIELD_NUMBER: _ClassVar[int]
    SERVED_REVISION_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    TAINTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    position: int
    time: _timestamp_pb2.Timestamp
    requested_by: str
    submitter: str
    feedback_ids: _containers.RepeatedScalarFieldContainer[str]
    served_revision: int
    difference: float
    tainted: _containers.RepeatedCompositeFieldContainer[TaintedVersion]
    complete: bool
    def __init__(self, position: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., requested_by: _Optional[str] = ..., submitter: _Optional[str] = ..., feedback_ids: _Optional[_Iterable[str]] = ..., served_revision: _Optional[int] = ..., difference: _Optional[float] = ..., tainted: _Optional[_Iterable[_Union[TaintedVersion, _Mapping]]] = ..., complete: bool = ...) -> None: ...

class TaintedVersion(_message.Message):
    __slots__ = ("version", "in_encoder", "active", "retire_time", "model")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IN_ENCODER_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    version: int
    in_encoder: bool
    active: bool
    retire_time: _timestamp_pb2.Timestamp
    model: str
    def __init__(self, version: _Optional[int] = ..., in_encoder: bool = ..., active: bool = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class ReviewRequest(_message.Message):
    __slots__ = ("model", "size", "audit_share")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    AUDIT_SHARE_FIELD_NUMBER: _ClassVar[int]
    model: str
    size: int
    audit_share: float
    def __init__(self, model: _Optional[str] = ..., size: _Optional[int] = ..., audit_share: _Optional[float] = ...) -> None: ...

class ReviewResponse(_message.Message):
    __slots__ = ("items", "audited", "chosen")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    AUDITED_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ReviewItem]
    audited: Accuracy
    chosen: Accuracy
    def __init__(self, items: _Optional[_Iterable[_Union[ReviewItem, _Mapping]]] = ..., audited: _Optional[_Union[Accuracy, _Mapping]] = ..., chosen: _Optional[_Union[Accuracy, _Mapping]] = ...) -> None: ...

class ReviewItem(_message.Message):
    __slots__ = ("prediction_id", "text", "label", "probability", "kind", "margin")
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    text: str
    label: str
    probability: float
    kind: FeedbackKind
    margin: float
    def __init__(self, prediction_id: _Optional[str] = ..., text: _Optional[str] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ..., kind: _Optional[_Union[FeedbackKind, str]] = ..., margin: _Optional[float] = ...) -> None: ...

class Accuracy(_message.Message):
    __slots__ = ("labelled", "right", "low", "high")
    LABELLED_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    labelled: int
    right: int
    low: float
    high: float
    def __init__(self, labelled: _Optional[int] = ..., right: _Optional[int] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class SuspectsRequest(_message.Message):
    __slots__ = ("model", "size")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    model: str
    size: int
    def __init__(self, model: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class SuspectsResponse(_message.Message):
    __slots__ = ("suspects", "submitters")
    SUSPECTS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTERS_FIELD_NUMBER: _ClassVar[int]
    suspects: _containers.RepeatedCompositeFieldContainer[Suspect]
    submitters: _containers.RepeatedCompositeFieldContainer[SubmitterReport]
    def __init__(self, suspects: _Optional[_Iterable[_Union[Suspect, _Mapping]]] = ..., submitters: _Optional[_Iterable[_Union[SubmitterReport, _Mapping]]] = ...) -> None: ...

class Suspect(_message.Message):
    __slots__ = ("record", "probability", "suggested_label", "suggested_probability")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_LABEL_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    record: FeedbackRecord
    probability: float
    suggested_label: str
    suggested_probability: float
    def __init__(self, record: _Optional[_Union[FeedbackRecord, _Mapping]] = ..., probability: _Optional[float] = ..., suggested_label: _Optional[str] = ..., suggested_probability: _Optional[float] = ...) -> None: ...

class SubmitterReport(_message.Message):
    __slots__ = ("submitter", "labels", "weight_share", "agreement", "agreement_low", "agreement_high", "suspicious", "quarantined", "capped_share")
    SUBMITTER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_SHARE_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_LOW_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_HIGH_FIELD_NUMBER: _ClassVar[int]
    SUSPICIOUS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    CAPPED_SHARE_FIELD_NUMBER: _ClassVar[int]
    submitter: str
    labels: int
    weight_share: float
    agreement: float
    agreement_low: float
    agreement_high: float
    suspicious: bool
    quarantined: int
    capped_share: float
    def __init__(self, submitter: _Optional[str] = ..., labels: _Optional[int] = ..., weight_share: _Optional[float] = ..., agreement: _Optional[float] = ..., agreement_low: _Optional[float] = ..., agreement_high: _Optional[float] = ..., suspicious: bool = ..., quarantined: _Optional[int] = ..., capped_share: _Optional[float] = ...) -> None: ...

class DeleteResult(_message.Message):
    __slots__ = ("tombstone", "error")
    TOMBSTONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    tombstone: FeedbackRecord
    error: _status_pb2.Status
    def __init__(self, tombstone: _Optional[_Union[FeedbackRecord, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class ImportAnchorRequest(_message.Message):
    __slots__ = ("model", "examples", "replace")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    model: str
    examples: _containers.RepeatedCompositeFieldContainer[AnchorExample]
    replace: bool
    def __init__(self, model: _Optional[str] = ..., examples: _Optional[_Iterable[_Union[AnchorExample, _Mapping]]] = ..., replace: bool = ...) -> None: ...

class AnchorExample(_message.Message):
    __slots__ = ("text", "label")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    text: str
    label: str
    def __init__(self, text: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class ImportAnchorResponse(_message.Message):
    __slots__ = ("imported", "total", "unknown_labels")
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_LABELS_FIELD_NUMBER: _ClassVar[int]
    imported: int
    total: int
    unknown_labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, imported: _Optional[int] = ..., total: _Optional[int] = ..., unknown_labels: _Optional[_Iterable[str]] = ...) -> None: ...
