"""The peers: how each is started, how it is asked, and with which settings it is measured.

`recommended` is what its own examples show. `best settings` served most here of those that were
tried (docs/load-testing.md). `sorted` adds what no setting does but each peer's API allows: the
user's function sorts a batch into groups of similar length, which spares most of the padding.
"""

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc

from honed_loadtest.calls import PREDICT
from honed_loadtest.peers.classifier import Order, Settings
from honed_loadtest.servers import MODEL
from honed_proto.v1 import inference_pb2 as pb

Question = tuple[str, str]
"""What a load client asks: a model and a text by gRPC, a path and a body by HTTP."""

_ASK_S = 30


@dataclass(frozen=True, slots=True)
class Grpc:
    """Speaks Honed's own protocol."""

    client = "honed_loadtest.load_client"

    def question(self, text: str) -> Question:
        """What a load client asks for a text."""
        return MODEL, text

    def label(self, target: str, text: str) -> str:
        """Asks once; raises OSError if nobody answers."""
        request = pb.PredictRequest(model=MODEL, texts=[text])
        with grpc.insecure_channel(target) as channel:
            call = channel.unary_unary(
                PREDICT, pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString
            )
            try:
                reply = call(request, timeout=_ASK_S)
            except grpc.RpcError as error:
                raise ConnectionError(str(error)) from error
        label: str = reply.items[0].prediction.scores[0].label
        return label


@dataclass(frozen=True, slots=True)
class Http:
    """Speaks HTTP and JSON.

    Attributes:
        path: where questions go.
        body: of a text's question.
        found: the label in an answer's body.
    """

    path: str
    body: Callable[[str], Any]
    found: Callable[[Any], str]
    client = "honed_loadtest.peers.http_client"

    def question(self, text: str) -> Question:
        """What a load client asks for a text."""
        return self.path, json.dumps(self.body(text))

    def label(self, target: str, text: str) -> str:
        """Asks once; raises OSError if nobody answers, or not with 200."""
        connection = http.client.HTTPConnection(target, timeout=_ASK_S)
        path, body = self.question(text)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            content = reply.read()
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()
        if reply.status != 200:
            raise ConnectionError(f"{reply.status} {content[:200]!r}")
        return self.found(json.loads(content))


_V2 = Http(
    "/v2/models/texts/infer",
    lambda text: {
        "inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}]
    },
    lambda reply: str(reply["outputs"][0]["data"][0]),
)


def _adapter(name: str) -> Callable[[Path, Order], list[str]]:
    return lambda folder, _: [f"{folder}/bin/python", "-m", f"honed_loadtest.peers.{name}.serve"]


def _bentoml(folder: Path, order: Order) -> list[str]:
    service = "honed_loadtest.peers.bentoml.serve:Texts"
    where = ["--host", "127.0.0.1", "--port", str(order.port)]
    return [f"{folder}/bin/bentoml", "serve", service, *where]


def _infinity(folder: Path, order: Order) -> list[str]:
    """Its own engine, torch, on the folder that Honed exported."""
    return [
        f"{folder}/bin/infinity_emb", "v2", "--model-id", f"{order.folder}/checkpoint",
        "--served-model-name", "texts", "--engine", "torch", "--device", "cpu",
        "--no-bettertransformer", "--batch-size", str(order.settings.batch),
        "--host", "127.0.0.1", "--port", str(order.port), "--log-level", "warning",
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """A server to compare with.

    Attributes:
        name: as people write it.
        folder: of its adapter and pins, beside this file.
        command: what to run, from its environment's folder and the order.
        wire: how it is asked.
        variants: its settings by name; the last, with which it serves most, is measured in every
            round, the others once.
        counts: whether it may be the best peer.
        variables: more for its environment.
    """

    name: str
    folder: str
    command: Callable[[Path, Order], list[str]]
    wire: Http | Grpc
    variants: Mapping[str, Settings]
    counts: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)


_RECOMMENDED, _BEST, _SORTED = "recommended", "best settings", "sorted"
# A worker for each core serves more than one with two threads, which serves a lone request sooner.
_PAIR = Settings(threads=1, workers=2, batch=16, wait_ms=0, group=8)

PEERS = (
    Peer(
        "LitServe", "litserve", _adapter("litserve"),
        Http("/predict", lambda text: {"text": text}, lambda reply: str(reply["label"])),
        {
            _RECOMMENDED: Settings(),
            _BEST: Settings(wait_ms=0),
            _SORTED: _PAIR,
        },
    ),
    Peer(
        "Ray Serve", "ray", _adapter("ray"),
        Http("/", lambda text: {"text": text}, lambda reply: str(reply["label"])),
        {
            _RECOMMENDED: Settings(),
            _BEST: Settings(wait_ms=0),
            _SORTED: _PAIR,
        },
        variables={"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
    ),
    Peer(
        "MLServer", "mlserver", _adapter("mlserver"), _V2,
        {
            _RECOMMENDED: Settings(),
            # Its worker processes do not start with the event loop that it requires (uvloop 0.23).
            _BEST: Settings(wait_ms=1),
            _SORTED: Settings(wait_ms=1, group=8),
        },
    ),
    Peer(
        "BentoML", "bentoml", _bentoml,
        Http("/predict", lambda text: {"texts": [text]}, lambda reply: str(reply[0]["label"])),
        {
            _RECOMMENDED: Settings(wait_ms=1000),
            _BEST: Settings(threads=1, workers=2, batch=16, wait_ms=1000),
            _SORTED: replace(_PAIR, wait_ms=1000),
        },
        variables={"BENTOML_DO_NOT_TRACK": "true"},
    ),
    Peer(
        "PyTriton", "pytriton", _adapter("pytriton"), _V2,
        {
            _RECOMMENDED: Settings(wait_ms=1),
            _BEST: Settings(wait_ms=0),
            _SORTED: _PAIR,
        },
    ),
    Peer(
        "infinity", "infinity", _infinity,
        Http(
            "/classify", lambda text: {"model": "texts", "input": [text]},
            lambda reply: str(reply["data"][0][0]["label"]),
        ),
        {_RECOMMENDED: Settings(), _BEST: Settings(batch=8)},
        variables={"INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"},
    ),
    Peer(
        "naive grpc.aio", "naive", _adapter("naive"), Grpc(),
        {
            "wait 5 ms": Settings(wait_ms=5),
            "no wait": Settings(wait_ms=0),
            _SORTED: _PAIR,
        },
        counts=False,
    ),
)  # fmt: skip
