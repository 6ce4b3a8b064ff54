"""No order of calls and of two streams lets a reader see a half-written or reused slot."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fake_streams import HIDDEN, FakeStream, head
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from mutants import assert_caught

from honed_kernels import table as tables
from honed_kernels.bank import Bank
from honed_kernels.memory import Field
from honed_kernels.table import HeadTable, Placed


class Device:
    """A table on two such streams, and readers that know what they must find."""

    def __init__(self, module: ModuleType = tables, **sizes: int) -> None:
        self.serving, self.copying = FakeStream(), FakeStream()
        self.grown: list[Bank] = []
        self.table: HeadTable = module.HeadTable(
            HIDDEN,
            device="cpu",
            dtype=torch.float32,
            serving=self.serving,
            copying=self.copying,
            on_growth=self.grown.append,
            **sizes,
        )
        self.latest: dict[int, tuple[int, int]] = {}
        self.visible: dict[int, tuple[int, int]] = {}

    def put(self, version: int, labels: int) -> tuple[Placed, tuple[int, int]]:
        return self.table.put(head(version, labels), version=version), (version, labels)

    def publish(self, model: int, placed: tuple[Placed, tuple[int, int]]) -> bool:
        self.latest[model] = placed[1]
        served = self.table.publish(model, placed[0])
        if served:
            self.visible[model] = placed[1]
        return served

    def close(self, model: int) -> None:
        self.table.close(model)
        self.latest.pop(model, None)
        self.visible.pop(model, None)

    def switch(self, bank: Bank) -> None:
        self.table.switch(bank)
        self.visible = dict(self.latest)
        del self.grown[: self.grown.index(bank) + 1]

    def read(self, model: int) -> None:
        """Queue a kernel that loads a model's pointer and, some time later, what it points at."""
        memory, want = self.table.bank.memory, self.visible.get(model)
        slot: list[int] = []
        self.serving.run(lambda: slot.append(int(memory.pointers[model])))

        def look() -> None:
            if want is None:
                assert slot == [-1]
                return
            version, labels = want
            found = memory.descriptor[slot[0]]
            assert found[Field.VERSION] == version
            assert found[Field.NUM_LABELS] == labels
            assert (memory.weight[slot[0], :labels, :HIDDEN] == version).all()
            assert (memory.bias[slot[0], :labels] == version).all()

        self.serving.run(look)

    def drain(self, *order: FakeStream) -> None:
        """Run everything, the first stream as far ahead as it gets."""
        while any(stream.step() for stream in order):
            pass
        assert not any(stream.queue for stream in order)


def reuse(device: Device) -> None:
    """Three versions of one model in two slots: the third goes where a reader may still be."""
    model = device.table.open()
    for version in range(1, 4):
        device.publish(model, device.put(version, 2))
        device.read(model)


def growth(device: Device) -> None:
    """A head too large, one that is waiting to be published meanwhile, and the switch."""
    first, second = device.table.open(), device.table.open()
    device.publish(first, device.put(1, 2))
    waiting = device.put(2, 2)
    assert device.publish(second, device.put(3, 9)) is False
    device.read(first)
    device.read(second)
    device.publish(first, waiting)
    device.read(first)
    device.switch(device.grown[0])
    device.read(first)
    device.read(second)


def numbers(device: Device) -> None:
    """A bigger bank for the second model, switched to while the heads are still being copied."""
    model = device.table.open()
    device.publish(model, device.put(1, 2))
    device.table.open()
    device.switch(device.grown[0])
    device.read(model)


def check_order(module: ModuleType) -> None:
    for scenario, models, slots in ((reuse, 1, 2), (growth, 2, 4), (numbers, 1, 2)):
        for ahead in ("serving", "copying"):
            device = Device(module, models=models, slots=slots, max_labels=4)
            scenario(device)
            streams = [device.serving, device.copying]
            device.drain(*(streams if ahead == "serving" else reversed(streams)))


def test_readers_find_what_was_published_whichever_stream_is_ahead() -> None:
    check_order(tables)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("            self._serving.wait(placed.written)\n", ""),  # served half-written
        (
            "last_read = self._serving.record()\n            if old",
            "pass\n            if old",
        ),  # reused while read
        (
            "            self._serving.wait(self._copying.record())\n            pointers",
            "            pointers",
        ),
        ("bank.adopt(self._banks[-1], self._copying)", "pass"),  # a bigger bank without the heads
    ],
)
def test_a_missing_wait_is_noticed(old: str, new: str, tmp_path: Path) -> None:
    assert_caught(tables, old, new, check_order, tmp_path)


class Swaps(RuleBasedStateMachine):
    """Any sequence of calls, with the streams advancing by any steps in between."""

    def __init__(self) -> None:
        super().__init__()
        self.device = Device(models=2, slots=3, max_labels=4)
        self.version = 0
        self.models: list[int] = []
        self.placed: list[tuple[Placed, tuple[int, int]]] = []

    @rule()
    def open(self) -> None:
        if len(self.models) < 5:
            self.models.append(self.device.table.open())

    @rule(labels=st.sampled_from([1, 4, 4, 4, 6, 17]))
    def put(self, labels: int) -> None:
        if len(self.placed) < 4:
            self.version += 1
            self.placed.append(self.device.put(self.version, labels))

    @precondition(lambda self: self.models and self.placed)
    @rule(data=st.data())
    def publish(self, data: Any) -> None:
        placed = self.placed.pop(data.draw(st.integers(0, len(self.placed) - 1)))
        self.device.publish(data.draw(st.sampled_from(self.models)), placed)

    @precondition(lambda self: self.placed)
    @rule()
    def discard(self) -> None:
        self.device.table.discard(self.placed.pop()[0])

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def close(self, data: Any) -> None:
        model = data.draw(st.sampled_from(self.models))
        self.models.remove(model)
        self.device.close(model)

    @precondition(lambda self: self.models)
    @rule()
    def read(self) -> None:
        for model in self.models:
            if model < self.device.table.bank.shape.models:
                self.device.read(model)

    @precondition(lambda self: self.device.grown)
    @rule(data=st.data())
    def switch(self, data: Any) -> None:
        self.device.switch(data.draw(st.sampled_from(self.device.grown)))

    @rule(steps=st.integers(1, 12), serving=st.booleans())
    def advance(self, steps: int, serving: bool) -> None:
        stream = self.device.serving if serving else self.device.copying
        for _ in range(steps):
            stream.step()

    def teardown(self) -> None:
        device = self.device
        self.read()
        device.drain(device.serving, device.copying)
        # No slot was lost on the way: the serving bank takes as many heads as it has slots.
        while device.grown:
            device.switch(device.grown[-1])
        for model in self.models:
            device.close(model)
        for placed, _ in self.placed:
            device.table.discard(placed)
        for version in range(device.table.bank.shape.slots):
            device.put(version, 1)
        assert not device.grown


def test_no_sequence_of_calls_serves_a_half_written_or_reused_slot() -> None:
    run_state_machine_as_test(
        Swaps,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
