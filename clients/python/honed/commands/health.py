"""The standard gRPC health of a server, asked without the package that only the server needs."""

import grpc

_PATH = "/grpc.health.v1.Health/Check"
# A HealthCheckResponse is one enumeration, field 1, on the wire.
# Source: https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto
_WORDS = {b"\x08\x01": "serving", b"\x08\x02": "not serving"}


def server_health(target: str, timeout_s: float) -> str:
    """The health of the server as a whole: "serving", "not serving" or "unknown"."""
    # A web proxy from the environment would also be asked for 127.0.0.1.
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = channel.unary_unary(_PATH, request_serializer=bytes, response_deserializer=bytes)
        try:
            answer = check(b"", timeout=timeout_s)
        except grpc.RpcError:
            return "unknown"
    return _WORDS.get(answer, "unknown")
