"""Learning beside serving: those who learn hear how busy the server is, and never stop."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event

from honed import Client
from honed_adapt.process.beside import ServerLine
from honed_adapt.process.budget import IDLE

CALLERS = 8
LONG = "where is the parcel that I ordered " * 10


@contextmanager
def saturated(client: Client, model: str) -> Iterator[None]:
    """More callers than workers, each of which asks again as soon as it is answered."""
    stop = Event()

    def ask() -> None:
        while not stop.is_set():
            client.predict_many(model, [LONG] * 4, timeout_s=60)

    with ThreadPoolExecutor(CALLERS) as pool:
        asking = [pool.submit(ask) for _ in range(CALLERS)]
        try:
            yield
        finally:
            stop.set()
        for each in asking:
            each.result()


def taught(client: Client, model: str) -> str:
    client.create_model(model)
    for text, label in (("where is my parcel", "delivery"), ("give me my money", "refund")):
        client.submit(model=model, text=text, label=label, wait=True, timeout_s=60)
    return model


def test_a_label_is_learned_and_served_while_the_server_is_saturated(client, name):
    model = taught(client, name)
    with saturated(client, model):
        for n in range(3):
            text = f"the card of number {n} was declined"
            ack = client.submit(model=model, text=text, label="card", wait=True, timeout_s=60)
            assert ack.served
            assert client.predict(model, text, timeout_s=60).revision >= ack.position
    assert client.predict(model, "the card of number 1 was declined").label == "card"


def test_a_trainer_hears_that_the_server_is_busy_and_that_it_is_not(server, client, name):
    model = taught(client, name)
    path = str(server.config.home / "adapt" / "server.sock")
    with closing(ServerLine(path, "trainer")) as line:
        assert line.share == IDLE
        with saturated(client, model):
            heard(line, lambda: line.share < 0.2)
        heard(line, lambda: line.share == IDLE)


def heard(line: ServerLine, told) -> None:
    """Waits until the line has heard reports of which that is true."""
    while not told():
        line.pause()
        Event().wait(0.01)
