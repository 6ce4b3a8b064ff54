"""The naive server: `grpc.aio`, a queue, and a thread that runs what lies in it.

What a good engineer writes in an hour, with Honed's own messages. It is shown beside the peers and
does not count as one.
"""

import asyncio

import grpc

from honed_loadtest.calls import PREDICT
from honed_loadtest.peers.classifier import Classifier, Order
from honed_proto.v1 import inference_pb2 as pb

Waiting = asyncio.Queue[tuple[str, asyncio.Future[tuple[str, float]]]]


async def _batches(order: Order, waiting: Waiting) -> None:
    classify = Classifier(order)
    while True:
        batch = [await waiting.get()]
        if order.settings.wait_ms:
            await asyncio.sleep(order.settings.wait_ms / 1e3)
        while len(batch) < order.settings.batch and not waiting.empty():
            batch.append(waiting.get_nowait())
        answers = await asyncio.to_thread(classify, [text for text, _ in batch])
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)


async def _serve(order: Order) -> None:
    waiting: Waiting = asyncio.Queue()

    async def predict(request: pb.PredictRequest, _: object) -> pb.PredictResponse:
        future = asyncio.get_running_loop().create_future()
        waiting.put_nowait((request.texts[0], future))
        label, score = await future
        answer = pb.Prediction(scores=[pb.Score(label=label, probability=score)])
        return pb.PredictResponse(items=[pb.PredictItem(prediction=answer)])

    server = grpc.aio.server()
    service, _, method = PREDICT[1:].partition("/")
    handler = grpc.unary_unary_rpc_method_handler(
        predict, pb.PredictRequest.FromString, pb.PredictResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {method: handler})]
    )
    server.add_insecure_port(f"127.0.0.1:{order.port}")
    await server.start()
    await asyncio.gather(
        server.wait_for_termination(),
        *(_batches(order, waiting) for _ in range(order.settings.workers)),
    )


if __name__ == "__main__":
    asyncio.run(_serve(Order.given()))
