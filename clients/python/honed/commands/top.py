"""`honed top`: a live view of a server, from its Watch stream and its metrics."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import sleep
from typing import Annotated

import typer

from honed.client import Client
from honed.commands.options import Json, connect, new_app
from honed.commands.output import as_json, console
from honed.commands.scrape import Scrape, Window, scrape
from honed.commands.top_view import Frame
from honed.errors import HonedError
from honed.types import Model, ModelEvent

app = new_app()

_WINDOW_SCRAPES = 6  # five intervals: quick to follow, calm enough to read
_RETRY_S = 1.0
_SCRAPE_TIMEOUT_S = 1.0


@app.command()
def top(
    ctx: typer.Context,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Metrics of the server; if left out, on the port that follows the target's.",
        ),
    ] = "",
    interval_s: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two looks.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one look, and end.")] = False,
    json: Json = False,
) -> None:
    """Watch traffic, latency and learning live.

    q or Ctrl-C ends it. Without a terminal, as with --once, it looks at one interval and ends.
    """
    with connect(ctx) as client:
        models = {model.name: model for model in client.list_models()}
        traffic = _TrafficSeen(metrics or _metrics_url(client.target))
        if once or json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            traffic.look()
            sleep(interval_s)
            traffic.look()
            frame = Frame(client.target, models, {}, traffic.window, traffic.trouble)
            if json:
                typer.echo(as_json(frame.values()))
            else:
                console().print(frame.tables())
            return
        with suppress(KeyboardInterrupt):
            _live(client, models, traffic, interval_s)


def _live(
    client: Client, models: Mapping[str, Model], traffic: "_TrafficSeen", interval_s: float
) -> None:
    from rich.live import Live

    with (
        _ModelsSeen(client, models) as seen,
        Live(console=console(), screen=True, auto_refresh=False) as live,
        _keyboard() as pressed,
    ):
        while True:
            traffic.look()
            trouble = "\n".join(filter(None, (seen.trouble, traffic.trouble)))
            frame = Frame(client.target, seen.models, seen.events, traffic.window, trouble)
            live.update(frame.tables(), refresh=True)
            if pressed(interval_s) == "q":
                return


def _metrics_url(target: str) -> str:
    host, _, port = target.rpartition(":")
    return f"http://{host}:{int(port) + 1}/metrics" if host and port.isdigit() else ""


class _TrafficSeen:
    """The last scrapes of a metrics endpoint."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._scrapes: deque[Scrape] = deque(maxlen=_WINDOW_SCRAPES)
        self.trouble = ""

    @property
    def window(self) -> Window | None:
        """From the oldest scrape to the newest, None if there are not two."""
        return Window(self._scrapes[0], self._scrapes[-1]) if len(self._scrapes) > 1 else None

    def look(self) -> None:
        """Scrapes once more; without an answer the past counts no longer."""
        try:
            self._scrapes.append(scrape(self._url, _SCRAPE_TIMEOUT_S))
            self.trouble = ""
        except (OSError, ValueError) as error:
            self._scrapes.clear()
            where = self._url or "an address that is not known"
            self.trouble = f"no metrics from {where} ({error}): give --metrics URL"


class _ModelsSeen:
    """Follows the models in a thread of its own, until its block ends."""

    def __init__(self, client: Client, models: Mapping[str, Model]) -> None:
        self.models = dict(models)
        self.events: dict[str, ModelEvent] = {}
        self.trouble = ""
        self._client = client
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)

    def _follow(self) -> None:
        while not self._ended.wait(_RETRY_S if self.trouble else 0.0):
            try:
                with self._client.watch() as events:
                    for event in events:
                        self._note(event)
            except HonedError as error:
                self.trouble = error.message

    def _note(self, event: ModelEvent) -> None:
        """Replaces the maps, so that a look sees each of them whole."""
        name, self.trouble = event.model.name, ""
        others = {key: model for key, model in self.models.items() if key != name}
        self.models = others if event.kind == "deleted" else {**others, name: event.model}
        if event.kind != "snapshot":
            self.events = {**self.events, name: event}

    def __enter__(self) -> "_ModelsSeen":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()


@contextmanager
def _keyboard() -> Iterator[Callable[[float], str]]:
    """Yields a wait for a key: it returns the key, or "" after so many seconds."""
    import select
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return sys.stdin.read(1) if ready else ""

    tty.setcbreak(descriptor)
    try:
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
