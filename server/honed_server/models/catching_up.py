"""A candidate of a fine-tuning round catches up with the log before it serves.

Its head has learned up to where its round read the log. Labels that came since are served by the
old encoder's lane and would be lost by a swap, so the adapt process learns all of them over the new
encoder, too (`honed_adapt/process/ahead.py`), and offers that head first, ahead of each revision
that serves. It counts while it is no older than what serves, and than the last deletion.

A head from elsewhere may know what the log does not, so it serves as it was judged.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic

from honed_adapt.encoders.lineage import read_lineage
from honed_adapt.process import messages
from honed_adapt.process.findings import Unreadable
from honed_server.edge.errors import NotReady
from honed_server.models.ahead import Ahead
from honed_server.models.catalogue import Catalogue, Entry

_LOOK_S = 1.0
# What was caught up is kept for so long after nobody has waited for it: it may be asked for again.
_KEPT_S = 60.0


class CatchingUp:
    """Has candidates catch up. Event loop only.

    Args:
        catalogue: The models.

    Attributes:
        on_caught_up: Told when a candidate of a model has, or may begin to.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.on_caught_up: Callable[[Entry], None] = lambda _entry: None

    async def needed(self, entry: Entry, digest: str, position: int) -> bool:
        """Whether a version lacks labels that serve and can be learned over its encoder.

        Args:
            entry: The model.
            digest: The version's encoder.
            position: Log position up to which it has learned.
        """
        made = await asyncio.to_thread(read_lineage, self._catalogue.home, digest)
        return made is not None and self._lacks(entry, digest, position)

    def found(self, entry: Entry, digest: str) -> messages.Revision | None:
        """The head over an encoder that lacks nothing that serves, if there is one."""
        ahead = entry.ahead
        offer = None if ahead is None or ahead.digest != digest else ahead.offer
        if offer is None or offer.epoch != entry.epoch:
            return None
        # An adapt process that has just begun is ahead of what the one before it has offered.
        serves = max(self._catalogue.serving(entry.row.name).revision, entry.deletion_position)
        return offer if offer.revision >= serves else None

    def want(self, entry: Entry, digest: str) -> Ahead | None:
        """Has a candidate over an encoder catch up; None while somebody waits for another one."""
        ahead = entry.ahead
        if ahead is not None and not ahead.fault:  # else the encoder may have been mended
            if ahead.digest == digest:
                return ahead
            if ahead.holders:
                return None
        entry.ahead = Ahead(digest)
        self._catalogue.tell_adapt(self._catalogue.models_message())
        return entry.ahead

    def fault(self, entry: Entry, digest: str) -> str:
        """Why a candidate over an encoder cannot catch up, as was found last; empty if it may."""
        ahead = entry.ahead
        return "" if ahead is None or ahead.digest != digest else ahead.fault

    def drop(self, entry: Entry) -> None:
        """Has nothing learned ahead any more, unless somebody waits for it."""
        if entry.ahead is not None and not entry.ahead.holders:
            entry.ahead = None
            self._catalogue.tell_adapt(self._catalogue.models_message())

    @asynccontextmanager
    async def waiting(
        self,
        entry: Entry,
        digest: str,
        position: int,
        *,
        deadline: float,
        wanted: Callable[[], bool],
    ) -> AsyncIterator[None]:
        """Waits until a candidate has caught up, and keeps it so; gives up at the deadline.

        Args:
            entry: The model; the caller must not hold its lock.
            digest: The candidate's encoder.
            position: Log position up to which it has learned.
            deadline: On the monotonic clock.
            wanted: Whether to go on waiting.

        Raises:
            NotReady: The adapt process cannot read the encoder.
        """
        held: Ahead | None = None
        try:
            while (
                wanted()
                and monotonic() < deadline
                and await self.needed(entry, digest, position)
                and self.found(entry, digest) is None
            ):
                if held is None or held is not entry.ahead:
                    held = self.want(entry, digest)
                    if held is not None:
                        held.holders += 1
                await _offered(held, min(_LOOK_S, deadline - monotonic()))
                if held is not None and held.fault:
                    raise NotReady(f"it cannot catch up: {held.fault}", reason="ENCODER_DAMAGED")
            yield
        finally:
            if held is not None:
                held.holders -= 1
                asyncio.get_running_loop().call_later(_KEPT_S, self._expire, entry, held)
                self.on_caught_up(entry)  # a trial may have waited for its turn

    async def take(self, offer: messages.Revision) -> messages.Verdict:
        """Keeps an offered head for the candidate that waits for it.

        Raises:
            HeadError: It must not be served.
            NotReady: Its encoder is not here or is damaged.
        """
        entry, digest = self._catalogue.entries.get(offer.model), offer.next_encoder
        ahead = None if entry is None else entry.ahead
        if entry is None or ahead is None or ahead.digest != digest or offer.epoch != entry.epoch:
            why = "no candidate over this encoder is to catch up"
            return messages.Verdict(offer.model, offer.revision, "refused", why)
        if not ahead.hidden:
            ahead.hidden = (await self._catalogue.pool.get(digest)).encoder.hidden
        offer.head.validate(ahead.hidden)
        first = self.found(entry, digest) is None
        ahead.offer = offer
        ahead.came.set()
        if first:
            self.on_caught_up(entry)
        return messages.Verdict(offer.model, offer.revision, "ahead", "it waits for its candidate")

    def hear(self, found: Unreadable) -> None:
        """Gives up on a candidate that cannot catch up, until it is wanted again."""
        entry = self._catalogue.entries.get(found.model)
        ahead = None if entry is None else entry.ahead
        if entry is None or ahead is None or ahead.digest != found.encoder_digest:
            return
        ahead.fault = found.why
        ahead.came.set()
        self._catalogue.tell_adapt(self._catalogue.models_message())  # not to try it each time
        self.on_caught_up(entry)

    def _expire(self, entry: Entry, held: Ahead) -> None:
        if entry.ahead is held and not held.holders:
            self.drop(entry)
            self.on_caught_up(entry)

    def _lacks(self, entry: Entry, digest: str, position: int) -> bool:
        serving = self._catalogue.serving(entry.row.name)
        return (
            not entry.row.paused
            and serving.loaded.encoder.digest != digest
            and serving.revision > position
        )


async def _offered(ahead: Ahead | None, patience_s: float) -> None:
    if ahead is None:
        await asyncio.sleep(patience_s)
        return
    ahead.came.clear()
    with suppress(TimeoutError):
        await asyncio.wait_for(ahead.came.wait(), patience_s)
