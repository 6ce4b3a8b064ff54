"""What lies where in one memory of heads: free slots, and which head answers for which model.

It stands under `table.py`, which owns the streams and the order of events.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from honed_kernels.memory import Memory, Shape
from honed_kernels.staging import Staged, move, write
from honed_kernels.streams import Event, Stream


class Bank:
    """One memory with what lies where in it. Only `HeadTable` changes it.

    Heads are known by keys that the table gives.

    Attributes:
        shape: its sizes.
        memory: what kernels read.
    """

    def __init__(self, shape: Shape, memory: Memory) -> None:
        self.shape = shape
        self.memory = memory
        self._free: deque[tuple[int, Event | None]] = deque((n, None) for n in range(shape.slots))
        self._slots: dict[object, int] = {}
        self._answers: dict[int, object] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def fits(self, num_labels: int, features: int = 0) -> bool:
        """Whether a head of so many labels, and features behind the vector, finds room now."""
        wide = not features or (self.shape.shared and features <= self.shape.front_size)
        return bool(self._free) and num_labels <= self.shape.max_labels and wide

    def put(self, key: object, head: Staged, copying: Stream) -> None:
        """Copy a head into a free slot, after the last reader of what was there."""
        copying.run(partial(write, self.memory, self._take(key, copying), head))

    def adopt(self, other: Bank, copying: Stream) -> None:
        """Copy all heads of a smaller bank, and note who answers for whom."""
        for key, slot in other._slots.items():
            mine = self._take(key, copying)
            copying.run(partial(move, self.memory, mine, other.memory, slot))
        self._answers = dict(other._answers)

    def _take(self, key: object, copying: Stream) -> int:
        # The longest free comes first, so its last reader is most likely done.
        slot, last_read = self._free.popleft()
        if last_read is not None:
            copying.wait(last_read)
        self._slots[key] = slot
        return slot

    def answer(self, model: int, key: object | None) -> object | None:
        """Note that `key` answers for a model, or nobody; returns the key that did."""
        old = self._answers.pop(model, None)
        if key is not None:
            self._answers[model] = key
        return old

    def release(self, key: object, last_read: Event | None) -> None:
        """Free the slot of a head, for use after an event."""
        self._free.append((self._slots.pop(key), last_read))

    def slot(self, key: object | None) -> int:
        """Where a head lies; -1 for none."""
        return -1 if key is None else self._slots[key]

    def pointers(self) -> list[int]:
        """What the device's pointers should be."""
        return [self.slot(self._answers.get(model)) for model in range(self.shape.models)]
