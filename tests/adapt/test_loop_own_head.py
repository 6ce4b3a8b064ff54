"""The learning loop with a user's own head: read from its version, weighed by audits alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from honed_adapt.encoders.store import EncoderDamaged
from honed_adapt.feedback.log import FeedbackLog, FeedbackReader, Kind, NewFeedback, Selector
from honed_adapt.head import Head
from honed_adapt.process import messages
from honed_adapt.process.ahead import Encode
from honed_adapt.process.loop import AdaptLoop
from honed_adapt.scoring import best_labels
from honed_adapt.storage import versions
from honed_adapt.storage.vectors import VectorStore
from honed_server.learning.adapt_main import load_head

DIGEST = "d" * 64
LABELS = ("invoice", "delivery", "return")
OWN = Head(LABELS, np.roll(3 * np.eye(3, 8, dtype=np.float32), 1, 0), np.zeros(3, np.float32))
"""Takes every class for the one after it."""


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """A vector around its class's direction, from texts such as "delivery 7"."""
    vectors = np.zeros((len(texts), 8), np.float32)
    for row, text in zip(vectors, texts, strict=True):
        name, number = text.split()
        row[LABELS.index(name)] = 1
        row += 0.3 * np.random.default_rng(int(number)).normal(size=8)
    return vectors


def opened(digest: str) -> tuple[int, Encode]:
    if digest != DIGEST:
        raise EncoderDamaged(f"{digest} is not what was imported")
    return 8, encode


class Model:
    """A loop on a real log; this plays the server, which says yes."""

    def __init__(self, home: Path) -> None:
        manifest = versions.Manifest("own", 1, 0, DIGEST, 0, 1, "decision", "import")
        versions.write(home / "models", manifest, OWN)
        self.log = FeedbackLog(home / "feedback.sqlite")
        self.reader = FeedbackReader(home / "feedback.sqlite")
        self.vectors = VectorStore(home / "adapt.sqlite")
        self.offers: list[messages.Message] = []
        self.loop = AdaptLoop(
            self.reader,
            self.vectors,
            make_encode=opened,
            load_head=lambda model, version: load_head(home, model, version),
            send=self.offers.append,
            guard_items=2,
            trust={},
        )

    def offer(self, own_head_version: int = 1) -> messages.Revision:
        """What the loop offers once it has read the whole log."""
        state = messages.ModelState("own", DIGEST, 1, 0, None, 0, 0, None, own_head_version)
        self.loop.hear(messages.Models((state,)))
        self.loop.hear(messages.Wake(self.log.last_position("own")))
        while self.loop.busy:
            self.loop.step()
        # Checks of deletions are told by another thread, whenever they are done.
        return [one for one in self.offers if isinstance(one, messages.Revision)][-1]

    def say(self, kind: Kind, numbers: range) -> None:
        items = [
            NewFeedback("own", f"{kind} {n}", f"{LABELS[n % 3]} {n}", LABELS[n % 3], kind)
            for n in numbers
        ]
        self.log.submit(items).result()


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    model = Model(tmp_path)
    yield model
    model.vectors.close()
    model.reader.close()
    model.log.close()


def same_head(one: Head, other: Head) -> bool:
    same = (one.labels, one.temperature) == (other.labels, other.temperature)
    return same and bool((one.weight == other.weight).all() and (one.bias == other.bias).all())


def test_the_own_head_is_offered_as_it_is_until_audits_show_more(model: Model) -> None:
    first = model.offer()
    assert same_head(first.head, OWN)
    assert (first.learned_weight, first.learned_evidence) == (0.0, 0.0)

    model.say(Kind.CORRECTION, range(60))
    model.say(Kind.CONFIRMATION, range(60, 90))
    corrected = model.offer()
    assert same_head(corrected.head, OWN)
    assert (corrected.learned, corrected.learned_weight) == (90, 0.0)

    model.say(Kind.AUDIT, range(100, 130))
    audited = model.offer()
    assert audited.learned_weight > 0
    assert audited.learned_evidence > 3
    assert best_labels(audited.head, encode(["return 500"])) == ["return"]


def test_a_model_whose_encoder_is_damaged_keeps_no_other_from_learning(model: Model) -> None:
    own = messages.ModelState("own", DIGEST, 1, 0, None, 0, 0, None, 1)
    hurt = replace(own, name="hurt", encoder_digest="e" * 64, own_head_version=0)
    model.loop.hear(messages.Models((hurt, own)))
    model.say(Kind.AUDIT, range(100, 130))
    model.loop.hear(messages.Wake(model.log.last_position("own")))
    while model.loop.busy:
        model.loop.step()
    offers = [one for one in model.offers if isinstance(one, messages.Revision)]
    assert {one.model for one in offers} == {"own"}
    assert offers[-1].learned == 30


def test_deleting_the_audits_gives_the_own_head_back(model: Model) -> None:
    model.say(Kind.CORRECTION, range(60))
    model.say(Kind.AUDIT, range(100, 130))
    assert model.offer().learned_weight > 0
    audits = [r for r in model.log.list("own", 0, 1_000) if r.kind is Kind.AUDIT]
    model.log.delete("own", Selector([record.feedback_id for record in audits]), "ada").result()
    assert same_head(model.offer().head, OWN)


def test_a_model_that_leaves_its_own_head_behind_learns_alone(model: Model) -> None:
    model.say(Kind.AUDIT, range(100, 106))
    assert model.offer().learned_weight == 0
    alone = model.offer(own_head_version=0)
    assert (alone.learned_weight, alone.learned_evidence) == (1.0, 0.0)
    assert not same_head(alone.head, OWN)
