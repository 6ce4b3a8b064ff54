"""Which head answers for which model, switched on the device while captured graphs replay.

A graph reads a model's head through an int32 pointer in device memory. A new head is copied into a
free slot on one stream; between two replays the pointer is switched on the stream that serves, and
the next replay answers with it: nothing is captured or compiled again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Literal

import torch

from honed_kernels.bank import Bank
from honed_kernels.fourier import Projection
from honed_kernels.head import HeadWeights
from honed_kernels.memory import Cosine, Dense, Shape
from honed_kernels.staging import Layer, on_host, stage
from honed_kernels.streams import Event, Stream, stream_of


class TableFull(RuntimeError):
    """There is no room and the table may not grow: make it with `on_growth`, or larger."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A head in the table for which no row is answered yet.

    Attributes:
        key: what the table knows it by.
        written: when its copy is complete.
    """

    key: object
    written: Event


class HeadTable:
    """The heads of all models behind one encoder on one device.

    `put` and `discard` may be called by any thread. `publish`, `close` and `switch` only by the
    thread that launches batches, between two of them: all batches run on one stream, `serving`.
    No call waits for the device.

    A row's head is `head_id`, the number of its model (`open`); which head that is, is decided on
    the device when the batch runs, and `Scores.version` tells. Rows of a model without a head get
    status NO_HEAD.

    Growth: when a head finds no room, the table makes a bigger bank, copies all heads and calls
    `on_growth(bank)` on the thread that asked. The bank before goes on serving and learning heads
    that fit it. Capture graphs on the new one (its pointers are -1 until it serves), then `switch`.
    The cosine layer grows too, from nothing, with heads that have features.

    Args:
        hidden: length of a pooled vector.
        models: numbers for models.
        slots: heads at once. Allow two a model: the one that answers and the next.
        max_labels: labels of a head; decides, with `dtype`, which kernel is compiled.
        device: where it lies.
        dtype: of the weights: float16, bfloat16 or float32. Biases and sums are float32.
        front: the layer that heads may have in front: a shared cosine layer or projection, or the
            greatest size of a dense layer of each head's own.
        serving: where batches run. By default the current stream.
        copying: where heads are copied. By default a new stream.
        on_growth: see above. Without it the table does not grow.

    Raises:
        ValueError: if a size, the dtype or the cosine layer is not possible.
    """

    def __init__(
        self,
        hidden: int,
        *,
        models: int = 1_024,
        slots: int = 64,
        max_labels: int = 256,
        device: torch.device | str = "cuda",
        dtype: torch.dtype = torch.float16,
        front: Cosine | Projection | int | None = None,
        serving: Stream | None = None,
        copying: Stream | None = None,
        on_growth: Callable[[Bank], None] | None = None,
    ) -> None:
        self._device = torch.device(device)
        self._pin = self._device.type == "cuda"
        self._serving = serving or stream_of(self._device, new=False)
        self._copying = copying or stream_of(self._device, new=True)
        self._on_growth = on_growth
        self._layer = Layer(front, hidden)
        shared = isinstance(front, (Cosine, Projection))
        size = len(front.phase) if isinstance(front, (Cosine, Projection)) else front or 0
        shape = Shape(hidden, models, slots, max_labels, size, shared, dtype)
        self._lock = Lock()
        self._unpublished: set[object] = set()
        self._numbers = deque(range(models))
        self._open: set[int] = set()
        self._banks = [self._allocate(shape)]
        # Banks that serve no more, and when their last reader is done: only then may the memory go.
        self._leaving: list[tuple[Bank, Event]] = []
        self._serving.wait(self._copying.record())

    @property
    def bank(self) -> Bank:
        """The bank that serves; graphs hold its addresses."""
        return self._banks[0]

    def open(self) -> int:
        """Return a number for a model: the `head_id` of its rows until `close`.

        Raises:
            TableFull: if all are taken and the table may not grow.
        """
        with self._lock:
            models = self._banks[-1].shape.models
            grown = None
            if not self._numbers:
                grown = self._grow(replace(self._banks[-1].shape, models=2 * models))
                self._numbers.extend(range(models, 2 * models))
            model = self._numbers.popleft()
            self._open.add(model)
        self._announce(grown)
        return model

    def put(
        self,
        head: HeadWeights,
        *,
        version: int,
        activation: Literal["softmax", "sigmoid"] = "softmax",
        front: Dense | Literal["cosine"] | None = None,
    ) -> Placed:
        """Start copying a head into a free slot.

        Args:
            head: softmax or sigmoid of (features @ weight.T + bias) / temperature. A bias of -inf
                switches a label off. With one label, softmax is 1 and sigmoid is a yes or no.
            version: what `Scores.version` shows of it.
            activation: sigmoid decides each label by itself.
            front: a layer of this head's own, or the table's cosine layer.

        Raises:
            ValueError: if the head fits not the encoder, the layer in front or the dtype; `takes`.
            TableFull: if there is no room and the table may not grow.
        """
        shape, pin = self.bank.shape, self._pin
        staged = stage(shape, head, version=version, activation=activation, front=front, pin=pin)
        if not self.takes(head):
            raise ValueError("the head's features are not of this table's projection")
        needs = len(head.bias), head.features.count if head.features else 0
        with self._lock:
            self._forget()
            self._layer.adopt(head)
            grown = self._room(*needs)
            key = object()
            for bank in self._banks:
                if bank.fits(*needs):
                    bank.put(key, staged, self._copying)
            self._unpublished.add(key)
            placed = Placed(key, self._copying.record())
        self._announce(grown)
        return placed

    def takes(self, head: HeadWeights) -> bool:
        """Whether the head has no features, or of the table's one projection or the first."""
        return self._layer.takes(head)

    def publish(self, model: int, placed: Placed) -> bool:
        """Let a head answer for a model from the next batch on; frees the one before.

        Returns:
            Whether it does: False if it fits only a bank that does not serve yet. Then the one
            before answers until `switch`.

        Raises:
            ValueError: if the head was published or discarded before, or no model has the number.
        """
        with self._lock:
            self._check_open(model)
            self._claim(placed)
            self._serving.wait(placed.written)
            return self._answer(model, placed.key)

    def discard(self, placed: Placed) -> None:
        """Free the slot of a head that will not be published.

        Raises:
            ValueError: if it was published or discarded before.
        """
        with self._lock:
            self._claim(placed)
            for bank in self._banks:
                if placed.key in bank:
                    bank.release(placed.key, None)

    def close(self, model: int) -> None:
        """Let nobody answer for a model from the next batch on, and free its number.

        Launch the batches that were formed with the number before.

        Raises:
            ValueError: if no model has the number.
        """
        with self._lock:
            self._check_open(model)
            self._answer(model, None)
            self._open.remove(model)
            self._numbers.append(model)

    def switch(self, bank: Bank) -> None:
        """Serve from a bank that `on_growth` gave; drop the graphs of the one before.

        Raises:
            ValueError: if the bank serves already, or has been left behind.
        """
        with self._lock:
            if bank not in self._banks[1:]:
                raise ValueError("this bank is not one that waits to serve")
            left = self._banks.index(bank)
            self._serving.wait(self._copying.record())
            pointers = on_host(torch.tensor(bank.pointers(), dtype=torch.int32), pin=self._pin)
            self._serving.run(partial(bank.memory.pointers.copy_, pointers, non_blocking=True))
            last_read = self._serving.record()
            self._leaving += [(old, last_read) for old in self._banks[:left]]
            self._banks = self._banks[left:]

    def _answer(self, model: int, key: object | None) -> bool:
        """Switch the pointer in every bank that can; whether the serving one did."""
        serving = self._banks[0]
        for bank in self._banks:
            if model >= bank.shape.models or not (key is None or key in bank):
                continue
            old = bank.answer(model, key)
            last_read = None  # nobody reads a bank that waits
            if bank is serving:
                pointer = bank.memory.pointers[model]
                self._serving.run(partial(pointer.fill_, bank.slot(key)))
                last_read = self._serving.record()
            if old is not None:
                bank.release(old, last_read)
        return key in serving and model < serving.shape.models

    def _check_open(self, model: int) -> None:
        if model not in self._open:
            raise ValueError(f"no model has number {model}; `open` gives one")

    def _claim(self, placed: Placed) -> None:
        if placed.key not in self._unpublished:
            raise ValueError("this head was published or discarded before, or is another table's")
        self._unpublished.remove(placed.key)

    def _room(self, num_labels: int, features: int) -> Bank | None:
        """A bigger bank if the biggest has no room for so many labels and features."""
        last = self._banks[-1]
        if last.fits(num_labels, features):
            return None
        labels = max(last.shape.max_labels, 1 << (num_labels - 1).bit_length())
        slots = last.shape.slots * (1 if last.fits(1) else 2)
        shape = replace(last.shape, max_labels=labels, slots=slots)
        if features > shape.front_size:
            shape = replace(shape, front_size=self._layer.size(features), shared=True)
        return self._grow(shape)

    def _grow(self, shape: Shape) -> Bank:
        if self._on_growth is None:
            raise TableFull(
                f"no room for {shape.models} models, {shape.slots} slots, {shape.max_labels} "
                "labels; make the table so large, or give it `on_growth`"
            )
        bank = self._allocate(shape)
        bank.adopt(self._banks[-1], self._copying)
        self._banks.append(bank)
        return bank

    def _announce(self, grown: Bank | None) -> None:
        if grown is not None:
            assert self._on_growth is not None
            self._on_growth(grown)

    def _allocate(self, shape: Shape) -> Bank:
        memory = self._copying.make(partial(shape.allocate, self._device))
        self._copying.run(partial(memory.pointers.fill_, -1))
        if front := self._layer.stage(shape, pin=self._pin):
            for target, source in zip((memory.front_weight, memory.front_bias), front, strict=True):
                self._copying.run(partial(target[0].copy_, source, non_blocking=True))
        return Bank(shape, memory)

    def _forget(self) -> None:
        self._leaving = [(bank, event) for bank, event in self._leaving if not event.query()]
