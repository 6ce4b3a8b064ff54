"""What a round hears from the champion: what serves, asked for the texts that it was trained on.

Beside `work.py`. A champion hands on what it knows, so one that knows what has been deleted since
is not asked; and whoever has heard a champion holds what it had seen, which the lineage must say.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from honed_adapt.encoders.lineage import seen_by
from honed_adapt.feedback.reader import FeedbackReader
from honed_adapt.head import Head
from honed_adapt.process import messages
from honed_adapt.storage import versions
from honed_adapt.storage.vectors import read_vectors
from honed_adapt.training.examples import Example
from honed_adapt.training.heads import champion_says

log = structlog.get_logger(__name__)


class Champion:
    """The versions that serve for the models of a round, over one encoder.

    Args:
        home: The data folder.
        order: The round.

    Attributes:
        heard: For each model, the last log position that what was heard may tell of.
    """

    def __init__(self, home: Path, order: messages.Train) -> None:
        self._home = home
        self._order = order
        self.heard: Mapping[str, int] = {}

    def says(
        self, examples: Sequence[Example], names: Sequence[tuple[str, str]], softening: float
    ) -> NDArray[np.float32] | None:
        """What the heads say to the rows that their encoder was trained on, see `champion_says`.

        Nothing if the encoder, or one of the heads, has learned what was deleted since.
        """
        order, heads = self._order, dict[str, Head]()
        vectors = dict[tuple[str, int], NDArray[np.float32]]()
        seen_by_encoder = seen_by(self._home, order.encoder_digest)
        learned = [*seen_by_encoder.items()]
        for model in order.models:
            seen = [e.position for e in examples if e.model == model.name and e.seen]
            found = self._head(model) if seen else None
            if found is not None and found[1].labels:
                learned_to, heads[model.name] = found
                learned.append((model.name, learned_to))
                known = self.vectors(model.name, seen)
                vectors |= {(model.name, at): vector for at, vector in known.items()}
        self.heard = {}
        if self._deleted(learned):
            log.info("the champion is not asked: it was trained on what has been deleted since")
            return None
        said = champion_says(examples, names, heads, vectors, softening)
        if said is not None:
            self.heard = seen_by_encoder
        return said

    def vectors(self, model: str, positions: Sequence[int]) -> Mapping[int, NDArray[np.float32]]:
        """The vectors over its encoder that are kept, by log position."""
        stored = self._home / "adapt" / "adapt.sqlite"
        return read_vectors(stored, model, self._order.encoder_digest, positions)

    def _head(self, model: messages.RoundModel) -> tuple[int, Head] | None:
        """Up to where the head of a model has learned, and the head."""
        try:
            manifest, head = versions.load_version(self._home / "models", model.name, model.version)
        except versions.VersionError as error:
            log.warning("a champion's head cannot be read", model=model.name, why=str(error))
            return None
        same = manifest.encoder_digest == self._order.encoder_digest
        return (manifest.log_position, head) if same else None

    def _deleted(self, learned: Sequence[tuple[str, int]]) -> bool:
        with FeedbackReader(self._home / "feedback.sqlite") as reader:
            return any(
                one.touches(to) for name, to in learned for one in reader.deletions(name, to)
            )
