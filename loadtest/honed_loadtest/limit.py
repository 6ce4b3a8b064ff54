"""What the encoder alone does, measured as contracts for comparison ask: at its best, with company.

Shared by the figures that say how near serving comes to it.
"""

from collections.abc import Sequence

from honed_loadtest.burner import burning
from honed_loadtest.encoder_alone import EncoderAlone, Order, Products
from honed_loadtest.load import Outcome

THREADS = 2


class Limit:
    """The encoder-only limit: the best of several batch shapes, found once.

    Meanwhile this process burns as much CPU as the load clients did.

    Args:
        encoder: What is measured.
        busy: What the clients did when the server was as busy as it gets.
        shapes: Texts a batch to choose from.
        seconds: For each of them.
        padded: Another graph, see `Order`.
    """

    def __init__(
        self,
        encoder: EncoderAlone,
        busy: Outcome,
        shapes: Sequence[int],
        seconds: float,
        *,
        padded: str = "",
    ) -> None:
        self._encoder, self._padded = encoder, padded
        self.cores_burnt, self._bursts_per_s = busy.cpu_share, busy.per_s
        self.scan = {texts: self._run(texts, seconds) for texts in shapes}
        self.texts = max(self.scan, key=lambda texts: self.scan[texts])

    def per_s(self, seconds: float) -> float:
        """Texts a second in the best shape."""
        return self._run(self.texts, seconds)

    def roofline_per_s(self, seconds: float) -> float:
        """Texts a second if they were nothing but the matrix products of such a batch."""
        tokens = round(self.texts * self._encoder.tokens_a_text)
        with burning(self.cores_burnt, self._bursts_per_s):
            flop_per_s = self._encoder.flop_per_s(Products(THREADS, tokens, seconds))
        return flop_per_s / self._encoder.flop_a_text

    def _run(self, texts: int, seconds: float) -> float:
        with burning(self.cores_burnt, self._bursts_per_s):
            return self._encoder.run(Order(THREADS, texts, seconds, padded=self._padded))[0]
