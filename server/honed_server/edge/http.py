"""Metrics and health over HTTP, in a thread of its own: liveness never depends on load."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from honed_server.edge.metrics import Metrics

Check = Callable[[], tuple[bool, str]]


class HttpEndpoint:
    """Serves /metrics, /livez and /readyz from `start` to `close`.

    Args:
        address: Host and port; port 0 takes a free one.
        metrics: What /metrics shows.
        alive: Whether the process can still do its work, and why not.
        ready: Whether every model serves, and what is missing.

    Raises:
        OSError: The port is taken.
    """

    def __init__(
        self, address: tuple[str, int], metrics: Metrics, alive: Check, ready: Check
    ) -> None:
        try:
            self._server = ThreadingHTTPServer(address, _handler(metrics, alive, ready))
        except OSError as error:
            raise OSError(
                f"metrics and health cannot listen on {address[0]}:{address[1]}: {error.strerror}; "
                "choose --http-port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Starts answering."""
        self._thread.start()

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(metrics: Metrics, alive: Check, ready: Check) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._answer(200, metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
                case "/livez":
                    self._answer_check(alive())
                case "/readyz":
                    self._answer_check(ready())
                case _:
                    self._answer(404, b"try /metrics, /livez or /readyz\n")

        def _answer_check(self, result: tuple[bool, str]) -> None:
            good, text = result
            self._answer(200 if good else 503, f"{text}\n".encode())

        def _answer(self, code: int, body: bytes, kind: str = "text/plain") -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Scrapes are not news."""

    return Handler
