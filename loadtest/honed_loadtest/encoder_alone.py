"""The encoder without a server: the limit that serving is compared with.

`EncoderAlone` starts `encoder_process.py` and orders measurements from it: the limit must be that
of the same encoder, with the same settings, in a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Order:
    """One measurement: threads that share a session run batches of so many texts.

    Texts are tokenised beforehand.

    Attributes:
        threads: That run batches at the same time.
        texts: Of each batch.
        seconds: For how long.
        wide: Whether each batch runs on a session that has a spinning thread per core, as the
            server runs a lone request.
        padded: Another graph to run, of `input_ids` and `attention_mask`, each (rows, tokens); all
            texts must then be of equal length. "" runs the server's packed graph.
    """

    threads: int
    texts: int
    seconds: float
    wide: bool = False
    padded: str = ""


@dataclass(frozen=True, slots=True)
class Products:
    """Measures the matrix products of the encoder alone, see `roofline.py`.

    Attributes:
        threads: That run them at the same time.
        tokens: Rows of each product.
        seconds: For how long.
    """

    threads: int
    tokens: int
    seconds: float


class EncoderAlone:
    """A process with an encoder in it, idle between orders.

    Args:
        folder: `encoders/<digest>` in a data folder.
        texts: What it encodes, in turn for ever.

    Attributes:
        tokens_a_text: Their mean length.
        flop_a_text: The work of a text, in the mean.
    """

    def __init__(self, folder: Path, texts: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "honed_loadtest.encoder_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        facts = self._ask(
            {"home": str(folder.parents[1]), "digest": folder.name, "texts": list(texts)}
        )
        self.tokens_a_text: float = facts["tokens_a_text"]
        self.flop_a_text: float = facts["flop_a_text"]

    def run(self, order: Order) -> tuple[float, list[float]]:
        """Texts a second, and the seconds of each batch."""
        per_s, spans = self._ask({"order": asdict(order)})
        return per_s, spans

    def flop_per_s(self, products: Products) -> float:
        """Floating point operations a second in nothing but matrix products."""
        per_s: float = self._ask({"products": asdict(products)})
        return per_s

    def _ask(self, question: object) -> Any:
        assert self._process.stdin is not None, "stdin is a pipe"
        assert self._process.stdout is not None, "stdout is a pipe"
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=60)
