"""The encoders in memory: opened, verified and warmed once, shared by all models that name them."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from honed_adapt.encoder_store import EncoderDamaged, open_encoder
from honed_server import validate
from honed_server.encoders.onnx import OnnxEncoder
from honed_server.errors import NotFound, NotReady
from honed_server.generations import LoadedEncoder
from honed_server.tokenizer import Tokenizer

_DIGEST = re.compile(r"[0-9a-f]{64}")


class EncoderPool:
    """Loads encoders off the event loop and drops those that no generation uses.

    Args:
        home: Data folder with `encoders/<digest>/`.
        executor: Where loading happens.
        in_use: Digests that generations name now.
        cores: Cores that a lone request may use.
    """

    def __init__(
        self, home: Path, executor: Executor, in_use: Callable[[], set[str]], cores: int
    ) -> None:
        self._home = home
        self._executor = executor
        self._in_use = in_use
        self._cores = cores
        self._loaded: dict[str, LoadedEncoder] = {}
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

    async def get(self, digest: str) -> LoadedEncoder:
        """The encoder of that digest, ready to serve.

        Raises:
            NotReady: It is not on disk, or damaged; the message names the file.
        """
        async with self._loading:
            if digest not in self._loaded:
                loop = asyncio.get_running_loop()
                try:
                    loaded = await loop.run_in_executor(self._executor, self._load, digest)
                except EncoderDamaged as error:
                    raise NotReady(str(error), reason="ENCODER_DAMAGED") from error
                self.drop_unused()
                self._loaded[digest] = loaded
            return self._loaded[digest]

    def drop_unused(self) -> None:
        """Frees the encoders that no generation uses."""
        used = self._in_use()
        self._loaded = {digest: one for digest, one in self._loaded.items() if digest in used}

    def _load(self, digest: str) -> LoadedEncoder:
        files = open_encoder(self._home, digest)
        encoder = OnnxEncoder(files)
        if self._cores > 1:
            # Spinning threads answer a lone text in 0.57 of the time; nothing else runs then.
            encoder = encoder.widened(self._cores, spin=True)
        return LoadedEncoder.of(encoder, Tokenizer(files))
