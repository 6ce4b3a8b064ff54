"""What the channels of both clients have in common: options, retries, and a callable per call."""

import json
from collections.abc import Callable
from typing import Any

from honed import _retry, _rpcs

_MAX_MESSAGE_BYTES = 32 * 1024 * 1024


def _service_config() -> str:
    """Lets gRPC repeat harmless calls that found no server: three attempts, jittered backoff.

    gRPC keeps the call's deadline over all attempts and sends the very same bytes, so a repeated
    Submit carries the same idempotency keys. Overload is never retried.
    """
    repeatable = [
        {"service": rpc.service, "method": rpc.method} for rpc in _rpcs.ALL if rpc.repeatable
    ]
    policy = {
        "maxAttempts": _retry.ATTEMPTS,
        "initialBackoff": f"{_retry.FIRST_BACKOFF_S}s",
        "maxBackoff": f"{_retry.MAX_BACKOFF_S}s",
        "backoffMultiplier": _retry.BACKOFF_FACTOR,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    budget = {"maxTokens": _retry.BUDGET_TOKENS, "tokenRatio": _retry.TOKENS_PER_SUCCESS}
    return json.dumps(
        {
            "methodConfig": [{"name": repeatable, "retryPolicy": policy}],
            "retryThrottling": budget,
        }
    )


def channel_options() -> list[tuple[str, str | int]]:
    """The gRPC channel arguments of every Honed client."""
    return [
        ("grpc.service_config", _service_config()),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        # gRPC gives up retrying a request that does not fit its buffer (256 KiB if not said).
        ("grpc.per_rpc_retry_buffer_size", _MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # A web proxy from the environment would also be asked for 127.0.0.1.
        ("grpc.enable_http_proxy", 0),
    ]


def callables(channel: Any) -> dict[str, Callable[..., Any]]:
    """What makes each call over a `grpc.Channel` or `grpc.aio.Channel`, by path."""
    return {
        rpc.path: getattr(channel, rpc.shape)(
            rpc.path,
            request_serializer=rpc.request.SerializeToString,
            response_deserializer=rpc.response.FromString,
        )
        for rpc in _rpcs.ALL
    }
