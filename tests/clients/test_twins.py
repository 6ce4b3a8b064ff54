"""`Client` and `AsyncClient` are one interface: same names, signatures, words and errors."""

import asyncio
import inspect

import pytest

import honed
from clients.scripted import ScriptedServer
from honed import AsyncClient, Client
from honed_proto.v1 import inference_pb2, models_pb2


def _public(kind: type) -> dict[str, object]:
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


def test_both_clients_have_the_same_members() -> None:
    assert _public(Client).keys() == _public(AsyncClient).keys()


@pytest.mark.parametrize("name", [*_public(Client), "__init__"])
def test_each_member_has_one_signature_and_one_description(name: str) -> None:
    one, other = getattr(Client, name), getattr(AsyncClient, name)
    assert inspect.getdoc(one) == inspect.getdoc(other)
    if callable(one):
        assert inspect.signature(one) == inspect.signature(other)


def test_every_method_is_described_by_its_own_words() -> None:
    for name, member in _public(Client).items():
        assert inspect.getdoc(member), name


def test_a_cancelled_task_is_cancelled_and_not_failed(server: ScriptedServer) -> None:
    async def ask() -> None:
        async with AsyncClient(server.target) as client, asyncio.timeout(0.1):
            await client.get_model("support")

    server.on("Models.Get", server.stall)
    with pytest.raises(TimeoutError):
        asyncio.run(ask())


def test_closing_ends_calls_in_progress_with_an_error(server: ScriptedServer) -> None:
    async def ask() -> object:
        client = AsyncClient(server.target)
        asked = asyncio.ensure_future(client.get_model("support"))
        await asyncio.sleep(0.1)
        await client.close()
        with pytest.raises(honed.Unavailable, match="closed"):
            await client.get_model("support")
        return await asyncio.gather(asked, return_exceptions=True)

    server.on("Models.Get", server.stall)
    (error,) = asyncio.run(ask())
    assert isinstance(error, honed.Unavailable)


def test_closing_the_client_is_an_error_of_its_watches(
    server: ScriptedServer, client: Client
) -> None:
    server.on("Models.Watch", [models_pb2.ModelEvent(model=models_pb2.Model(name="support"))])
    watch = client.watch()
    assert next(watch).model.name == "support"
    client.close()
    with pytest.raises(honed.Unavailable):
        next(watch)


def test_tasks_share_one_client(server: ScriptedServer) -> None:
    async def ask() -> set[str]:
        async with AsyncClient(server.target) as client:
            models = await asyncio.gather(*(client.get_model("support") for _ in range(20)))
        return {model.name for model in models}

    server.on("Models.Get", models_pb2.Model(name="support"))
    assert asyncio.run(ask()) == {"support"}


def test_one_client_serves_one_event_loop_after_another_call_of_it(server: ScriptedServer) -> None:
    score = inference_pb2.Score(label="a", probability=1)
    item = inference_pb2.PredictItem(prediction=inference_pb2.Prediction(scores=[score]))
    server.on("Inference.Predict", inference_pb2.PredictResponse(items=[item]))

    async def ask() -> str:
        async with AsyncClient(server.target) as client:
            return (await client.predict("support", "hello")).label

    assert [asyncio.run(ask()) for _ in range(2)] == ["a", "a"]
