"""The encoders in memory: opened, verified and warmed once, shared by all models that name them.

A swap to another encoder waits here while one is loaded beside serving, in a thread of low priority
that never holds the interpreter for long: a thread that is preempted with it would stop all others.
In memory are the encoders that serve and one more.
"""

import asyncio
import re
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from honed_adapt.encoders.integers import open_integers
from honed_adapt.encoders.store import (
    EncoderDamaged,
    EncoderFiles,
    Precision,
    open_encoder,
)
from honed_server import heap
from honed_server.edge import validate
from honed_server.edge.errors import NotFound, NotReady
from honed_server.encoders.devices import Device
from honed_server.encoders.timing import Side, least, measure, measure_beside, wide_gain
from honed_server.serving.cost import CostModel
from honed_server.serving.generations import Encoder, EncoderKey, LoadedEncoder
from honed_server.serving.tokenizer import Tokenizer

A = TypeVar("A")
T = TypeVar("T")

# A wide session costs memory, and a core while it spins: it must be this much faster.
_LEAST_GAIN = 1.1
_DIGEST = re.compile(r"[0-9a-f]{64}")


class EncoderPool:
    """Loads encoders off the event loop and drops those that no generation uses.

    Args:
        home: Data folder with `encoders/<digest>/`.
        loader: Where encoders are verified, built and warmed: one thread that yields to serving.
        executor: Where is done what holds locks that serving needs, such as reading a tokenizer,
            which holds the interpreter for 15 ms.
        in_use: Encoders that generations name now.
        device: Where they run; a lone request may use the cores of all its workers.
        sized: Puts batch sizes that were set in the place of those that were measured.
    """

    def __init__(
        self,
        home: Path,
        loader: Executor,
        executor: Executor,
        in_use: Callable[[], set[EncoderKey]],
        device: Device,
        sized: Callable[[CostModel], CostModel] = lambda cost: cost,
    ) -> None:
        self._home = home
        self._loader = loader
        self._executor = executor
        self._in_use = in_use
        self._device = device
        self._wide_threads = 1
        self._narrow: weakref.WeakSet[Encoder] = weakref.WeakSet()
        self._sized = sized
        self._loaded: dict[EncoderKey, LoadedEncoder] = {}
        self._loading = asyncio.Lock()

    def check_known(self, digest: str, field: str) -> None:
        """Raises NotFound unless an encoder of that digest was imported into the data folder."""
        folder = self._home / "encoders" / digest
        if not (_DIGEST.fullmatch(digest) and folder.is_dir()):
            raise NotFound(
                f"this server has no encoder {validate.shown(digest)}; leave {field} empty for its "
                "default encoder, or see Models.Get of a model whose encoder you want",
                reason="UNKNOWN_ENCODER",
                field=field,
            )

    async def get(self, digest: str, precision: Precision = "fp32") -> LoadedEncoder:
        """The encoder of that digest in that precision, ready to serve.

        A device that has no integers has one precision for each encoder, whichever is asked for.

        Raises:
            NotReady: It is not on disk, or damaged; the message names the file.
        """
        async with self._loading:
            if precision != "int8" or not self._device.integers:
                precision = "fp32"
            key = (digest, precision)
            if key not in self._loaded:
                self.drop_unused()
                try:
                    self._loaded[key] = await self._load(digest, precision)
                except EncoderDamaged as error:
                    raise NotReady(str(error), reason="ENCODER_DAMAGED") from error
            return self._loaded[key]

    async def beside(self, work: Callable[[A], T], argument: A) -> T:
        """Encodes many texts, or scores them, without being in the way of serving."""
        return await asyncio.get_running_loop().run_in_executor(self._loader, work, argument)

    async def least(self, sides: Sequence[Side]) -> tuple[float, ...]:
        """The least seconds that each of these takes for one text, see `timing.py`.

        Raises:
            HeadNotFinite: A head's logits are not finite.
        """
        return await self.beside(partial(least, seconds=self._device.seconds), sides)

    def drop_unused(self) -> None:
        """Frees the encoders that no generation uses."""
        used = self._in_use()
        self._loaded = {key: one for key, one in self._loaded.items() if one.key in used}

    def widen(self) -> None:
        """Makes the wide sessions that are missing; call it when serving is nearly idle.

        A session's threads keep the priority of the thread that made them, and these will serve:
        so it cannot be made by the loader, and it is not missed while requests rarely come alone.
        """
        with suppress(RuntimeError):  # at the server's end
            while self._narrow:
                self._executor.submit(self._narrow.pop().widen, self._wide_threads)

    async def _load(self, digest: str, precision: Precision) -> LoadedEncoder:
        loop = asyncio.get_running_loop()
        opening = open_integers if precision == "int8" else open_encoder
        files = await loop.run_in_executor(self._loader, opening, self._home, digest)
        shared = (one.tokenizer for one in self._loaded.values())
        tokenizer = next((one for one in shared if one.digest == files.tokenizer_digest), None)
        if tokenizer is None:
            tokenizer = await loop.run_in_executor(self._executor, Tokenizer, files)
        known = next(iter(self._loaded.values()), None)
        if known is None:
            # Before the first nothing serves: the machine is idle, and there is nobody to yield to.
            encoder, cost = await loop.run_in_executor(self._executor, self._first, files)
        else:
            encoder, cost = await loop.run_in_executor(self._loader, self._later, files, known)
            self._narrow.add(encoder)
        weakref.finalize(encoder, self._freed).atexit = False
        return LoadedEncoder(encoder, tokenizer, cost)

    def _first(self, files: EncoderFiles) -> tuple[Encoder, CostModel]:
        """The first encoder and its costs; finds out whether wide sessions are worth having."""
        encoder, workers = self._device.load(files), self._device.workers
        cost = self._sized(measure(encoder, workers, self._device.shapes))
        if workers > 1:
            encoder.widen(workers)
            if wide_gain(encoder) >= _LEAST_GAIN:
                self._wide_threads = workers
            else:
                encoder.widen(1)
        return encoder, cost

    def _later(self, files: EncoderFiles, known: LoadedEncoder) -> tuple[Encoder, CostModel]:
        """Another encoder and its costs: while the known one serves little can be measured."""
        encoder = self._device.load(files)
        return encoder, measure_beside(encoder, known.encoder, known.cost)

    def _freed(self) -> None:
        """The last batch of an encoder is done: gives its memory back to the system."""
        with suppress(RuntimeError):  # after the server's end the process gives all of it back
            # Trimming holds the locks of all arenas: a thread that yields would make others wait.
            self._executor.submit(heap.trim)
