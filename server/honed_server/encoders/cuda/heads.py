"""The heads of all models that share an encoder, on the device, found by the weights they have.

Each head has a number of its own for as long as anybody holds its weights, rather than one for its
model: a batch that was formed before a swap still finds the head that it names.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import torch

from honed_kernels.bank import Bank
from honed_kernels.head import HeadWeights
from honed_kernels.memory import MAX_LABELS, Cosine
from honed_kernels.ops.grouped_head import grouped_head
from honed_kernels.table import HeadTable
from honed_server.encoders.cuda.graphs import Graphs

NO_NUMBER = -1

_DTYPE = torch.float32  # a head is small: there is nothing to gain by rounding it


class Heads:
    """Puts heads into a device's table when a batch first asks for them. One thread at a time.

    Args:
        hidden: length of a vector.
        graphs: the device.
    """

    def __init__(self, hidden: int, graphs: Graphs) -> None:
        self._grown: list[Bank] = []
        self._table = HeadTable(
            hidden,
            device=graphs.device,
            dtype=_DTYPE,
            serving=graphs.serving,
            copying=graphs.copying,
            on_growth=self._grown.append,
        )
        self._numbers: weakref.WeakKeyDictionary[HeadWeights, int] = weakref.WeakKeyDictionary()
        self._gone: deque[int] = deque()

    @property
    def bank(self) -> Bank:
        """What graphs read."""
        return self._table.bank

    def number(self, weights: HeadWeights) -> int:
        """What a row carries as head_id; NO_NUMBER if the table does not take the head.

        It does not take too many labels, nor features of another projection than the first. It may
        find the table full: see `switch`.
        """
        number = self._numbers.get(weights)
        if number is None:
            if len(weights.bias) > MAX_LABELS or not self._table.takes(weights):
                return NO_NUMBER
            while self._gone:
                self._table.close(self._gone.popleft())
            number = self._numbers[weights] = self._table.open()
            self._table.publish(number, self._table.put(weights, version=0))
            # Whoever drops the last reference does no more than this, in whatever thread it is.
            weakref.finalize(weights, self._gone.append, number).atexit = False
        return number

    def grown(self) -> bool:
        """Whether a larger bank waits to be switched to: some heads are only there."""
        return bool(self._grown)

    def switch(self) -> None:
        """Serve from the largest bank, once no graph of another one will be replayed."""
        self._table.switch(self._grown[-1])
        self._grown.clear()


def warm(hidden: int, graphs: Graphs, top_k: int) -> None:
    """Compile what batches run once the table has grown a layer for heads with features.

    No graph does: the table has none before the first such head, and batches that wait for new
    graphs would stall for the compiler. The row asks for no head, so nothing is computed.

    Args:
        hidden: length of a vector.
        graphs: the device.
        top_k: labels that batches ask for.
    """
    front = Cosine(np.zeros((hidden, 1), np.float32), np.zeros(1, np.float32))
    stream, device = graphs.serving, graphs.device  # one stream: the memory is free when it is done

    def answer() -> None:
        table = HeadTable(
            hidden,
            models=1,
            slots=2,
            device=device,
            dtype=_DTYPE,
            front=front,
            serving=stream,
            copying=stream,
        )
        vector = torch.zeros(1, hidden, device=device)
        head_id = torch.full((1,), NO_NUMBER, dtype=torch.int32, device=device)
        grouped_head(vector, head_id, table.bank, top_k=top_k)

    stream.run(answer)
