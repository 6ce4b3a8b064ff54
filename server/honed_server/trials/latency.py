"""Measures what a long text costs with a candidate and with what serves, before the gate judges.

The gate's limit is on the 99th percentile: the text is as long as that of the texts which the model
was asked of late, under each side's own tokenizer, and both answer it in turn, in the thread that
yields to serving. On the CPU what the head takes is part of it.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import numpy as np

from honed_adapt.encoders.checkpoint import EncoderUnsupported
from honed_adapt.encoders.store import architecture_of
from honed_adapt.gate.evidence import Latency
from honed_adapt.head import Head
from honed_adapt.scoring import weights_of
from honed_kernels.head import HeadNotFinite
from honed_server.edge.errors import NotReady
from honed_server.models.catalogue import Catalogue, Entry
from honed_server.serving.generations import Encoder, LoadedEncoder
from honed_server.serving.predictions import PredictionLog
from honed_server.serving.tokenizer import Tokenizer

_LOOKED_AT = 1_000  # answers whose lengths are looked at
_QUANTILE = 0.99
_USUAL_TOKENS = 32  # of a text of usual length, where no text is known


class Latencies:
    """Compares candidates with what serves.

    Args:
        catalogue: The models.
        predictions: Knows what they were asked.
    """

    def __init__(self, catalogue: Catalogue, predictions: PredictionLog) -> None:
        self._catalogue = catalogue
        self._predictions = predictions

    async def compare(self, entry: Entry, head: Head, loaded: LoadedEncoder) -> Latency | None:
        """What a long text costs with a head and with what serves; some tenths of a second.

        Not under the entry's lock, since labels would wait.

        Args:
            entry: The model.
            head: What is offered.
            loaded: Its encoder.

        Returns:
            None where one side cannot answer: it has no labels, or its logits are not finite.

        Raises:
            NotReady: An encoder's files are damaged.
        """
        c, name = self._catalogue, entry.row.name
        serving = c.serving(name)
        if not (serving.head.num_labels and head.num_labels):
            return None
        self._predictions.flush()
        texts = await asyncio.to_thread(self._asked, name)
        before, after = await self._alike(serving.loaded, loaded)
        old, new = [
            await c.pool.beside(partial(_long, one.tokenizer), texts)
            for one in (serving.loaded, loaded)
        ]
        weights = await asyncio.to_thread(weights_of, head)  # its projection may have to be made
        sides = (before, serving.weights, old), (after, weights, new)
        try:
            return Latency(new, *await c.pool.least(sides))
        except HeadNotFinite:
            return None

    def _asked(self, model: str) -> list[str]:
        """Texts by which lengths are judged: those of the last answers, else the anchor set's."""
        asked = [row.text for row in self._predictions.latest(model, _LOOKED_AT) if row.text]
        return asked or [text for text, _ in self._catalogue.log.anchors(model)]

    async def _alike(self, old: LoadedEncoder, new: LoadedEncoder) -> tuple[Encoder, Encoder]:
        """The encoders to compare: one for both if they have the same shape, else in one precision.

        Every encoder begins in float32, so what has proven itself in integers would look faster
        than any that could follow it.

        Raises:
            NotReady: An encoder's files are damaged.
        """
        first, second = old.encoder, new.encoder
        if first.digest == second.digest or await self._same_shape(first.digest, second.digest):
            return first, first
        if first.precision != second.precision:
            get = self._catalogue.pool.get
            first, second = [
                one if one.precision == "fp32" else (await get(one.digest)).encoder
                for one in (first, second)
            ]
        return first, second

    async def _same_shape(self, *digests: str) -> bool:
        home = self._catalogue.home
        try:
            first, second = [await asyncio.to_thread(architecture_of, home, d) for d in digests]
        except EncoderUnsupported as error:
            raise NotReady(str(error), reason="ENCODER_DAMAGED") from error
        return first == second


def _long(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """Tokens of the text that is as long as 99 of 100."""
    if not texts:
        return _USUAL_TOKENS
    sizes = [tokens.ids.size for tokens in tokenizer.tokenise(texts)]
    return int(np.quantile(sizes, _QUANTILE, method="higher"))
