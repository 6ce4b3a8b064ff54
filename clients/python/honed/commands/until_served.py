"""The wait between the last acknowledgement of an import and the revision that has learned it."""

from functools import partial

from honed.client import Client
from honed.commands.patience import Patience
from honed.commands.progress import Shown, progress
from honed.errors import InvalidRequest, Unavailable
from honed.types import Model


def wait_until_served(client: Client, model: str, position: int, patience_s: float) -> Model:
    """Watches a model until a revision serves that has considered the log up to `position`.

    Raises:
        InvalidRequest: Learning is paused.
        HonedError: The server, or its learning, was away for more than `patience_s` seconds.
    """
    with progress(f"{model} learns") as shown:
        patience = Patience(patience_s, shown.say)
        return patience.call(partial(_watch, client, model, position, shown))


def _watch(client: Client, model: str, position: int, shown: Shown) -> Model:
    first = None
    with client.watch(model) as events:
        for event in events:
            now: Model = event.model
            first = now.revision if first is None else first
            if now.revision >= position:
                return now
            if now.adaptation_paused:
                raise InvalidRequest(
                    f"the labels are recorded, but {model} has paused learning; "
                    f"go on with `honed models resume {model}`",
                    "ADAPTATION_PAUSED",
                    "FAILED_PRECONDITION",
                )
            if now.adapt_state == "down":
                raise Unavailable(
                    "the labels are recorded, but learning is down; see the server's log",
                    "ADAPT_DOWN",
                    "UNAVAILABLE",
                )
            shown(now.revision - first, position - first)
    raise Unavailable(f"the watch of {model} ended", "WATCH_ENDED", "UNAVAILABLE")
