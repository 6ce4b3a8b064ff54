"""The training itself, in slices: each ends before serving has waited for long.

It stands between the rows of a round (`examples.py`) and the merged weights (`export.py`). What it
does is fixed by the seed, the data and the start: dropout is drawn anew from (seed, step), so a
training that was interrupted goes on as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from honed_adapt.shares import Shares
from honed_adapt.training.network import Network
from honed_adapt.training.tuning import Tuning, epoch_batches, epoch_rows, slices

Label = tuple[str, str]

_MOST_REPLAYED = 20_000
_OTHER_MODEL = -1e4  # what a label of another model scores: softmax makes it exactly 0
_FIRST_EXAMPLES = 8  # of each class, whose mean is where its direction begins


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """What is trained on, by row.

    Attributes:
        tokens: token ids of each text, int64 (tokens,).
        labels: its model and label: models of one encoder are trained together, and a text is told
            apart only among the labels of its own model.
        weights: how much it counts, above 0.
        new: rows that the champion's encoder was not trained on.
        old: those that it was.
        held: rows that are held out; in neither of the others.
        champion: its probabilities at the softening temperature of the old rows, float32 (rows,
            labels in the order of `names`), zeros for others; None if there is none.
        shares: all labels of rows that have several, by row; in `labels` is the largest.
    """

    tokens: Sequence[NDArray[np.int64]]
    labels: Sequence[Label]
    weights: Sequence[float]
    new: Sequence[int]
    old: Sequence[int]
    held: Sequence[int]
    champion: NDArray[np.float32] | None = None
    shares: Mapping[int, Shares] = field(default_factory=dict)

    @property
    def names(self) -> list[Label]:
        """The models' labels, sorted."""
        shared = {
            (self.labels[row][0], label) for row, some in self.shares.items() for label, _ in some
        }
        return sorted(shared.union(self.labels))


@dataclass(slots=True)
class Progress:
    """Where a training stands; what a checkpoint holds beside tensors.

    Attributes:
        step: steps done.
        steps: steps in all, if it does not stop early.
        scores: (accuracy, log loss) on the held-out rows after each epoch.
        best: index of the best of them, -1 before the first.
        done: whether it has ended.
    """

    step: int = 0
    steps: int = 0
    scores: list[tuple[float, float]] = field(default_factory=list)
    best: int = -1
    done: bool = False


class Fit:
    """One training of one network.

    Args:
        network: as the encoder store has it.
        data: the rows.
        tuning: the numbers.
        pause: called before each slice of the work.
    """

    def __init__(
        self,
        network: Network,
        data: Data,
        tuning: Tuning,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self.network = network
        self.data = data
        self.tuning = tuning
        self.progress = Progress()
        self._pause = pause
        self._lengths = [row.size for row in data.tokens]
        self._number = {label: i for i, label in enumerate(data.names)}
        self._targets = torch.tensor([self._number[label] for label in data.labels])
        self._models = [label[0] for label in data.labels]
        self._apart = {
            model: torch.tensor([name[0] != model for name in data.names])
            for model in set(self._models)
        }
        self._old = frozenset(data.old)
        self._trained = [p for p in network.parameters() if p.requires_grad]
        self.best: dict[str, Tensor] = {}
        self.optimiser = torch.optim.AdamW(self._groups(), eps=1e-8)
        self._epochs: dict[int, list[list[int]]] = {}
        self.progress.steps = tuning.epochs * len(self._batches(0))

    def start(self) -> None:
        """Point each label's direction at the mean of some of its texts."""
        torch.manual_seed(self.tuning.seed)
        rows: dict[int, list[int]] = {}
        for row in (*self.data.new, *self.data.old):
            known = rows.setdefault(int(self._targets[row]), [])
            if len(known) < _FIRST_EXAMPLES:
                known.append(row)
        chosen = sorted(row for known in rows.values() for row in known)
        found = self.vectors(chosen)
        # From the centre: encoders that were never tuned for similarity point all one way.
        centre = found.mean(0) if len(rows) > 1 else 0
        vectors = dict(zip(chosen, found - centre, strict=True))
        with torch.no_grad():
            for target in range(len(self.network.directions)):
                known = rows.get(target, [])
                mean = torch.stack([vectors[row] for row in known]).mean(0) if known else (
                    torch.randn(self.network.files.hidden)
                )  # fmt: skip
                self.network.directions[target] = functional.normalize(mean, dim=0)

    def advance(self) -> None:
        """One step, and after an epoch's last one a look at the held-out rows."""
        progress, tuning = self.progress, self.tuning
        epoch, at = divmod(progress.step, progress.steps // tuning.epochs)
        batches = self._batches(epoch)
        self._step(batches[at])
        progress.step += 1
        if at + 1 == len(batches):
            self._judge()

    def finish(self) -> None:
        """Put the best weights that there were in place."""
        if self.best:
            self.network.load_state_dict(self.best, strict=False)

    def vectors(self, rows: Sequence[int]) -> Tensor:
        """Vectors of some rows without dropout, (rows, hidden), in slices."""
        self.network.eval()
        found = torch.empty(len(rows), self.network.files.hidden)
        place = {row: i for i, row in enumerate(rows)}
        with torch.no_grad():
            for part in slices(rows, self._lengths, self.tuning.slice_tokens):
                self._pause()
                found[[place[row] for row in part]] = self._vectors(part)
        return found

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold to go on: weights, moments, and the best weights."""
        tensors = {f"now.{name}": value for name, value in self._weights().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for i, parameter in enumerate(self._trained):
            for part, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{i}.{part}"] = value
        return tensors

    def restore(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        """Go on from a checkpoint."""
        self.progress = progress
        parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "optimiser": {}}
        for name, value in tensors.items():
            kind, rest = name.split(".", 1)
            parts[kind][rest] = value
        self.network.load_state_dict(parts["now"], strict=False)
        self.best = parts["best"]
        for name, value in parts["optimiser"].items():
            i, part = name.split(".")
            self.optimiser.state[self._trained[int(i)]][part] = value

    def _step(self, batch: Sequence[int]) -> None:
        tuning, progress = self.tuning, self.progress
        torch.manual_seed(tuning.seed * 1_000_003 + progress.step)
        self.network.train()
        share = tuning.rate_share(progress.step, progress.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * share
        total = sum(self.data.weights[row] for row in batch)
        for part in slices(batch, self._lengths, tuning.slice_tokens):
            self._pause()
            (self._loss(part) / total).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._trained, tuning.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()

    def _loss(self, rows: Sequence[int]) -> Tensor:
        """Weighted sum of the rows' losses; replayed rows shall also say what the champion says."""
        logits = self._logits(rows, self._vectors(rows))
        losses = functional.cross_entropy(logits, self._wanted(rows), reduction="none")
        champion, tuning = self.data.champion, self.tuning
        replayed = [i for i, row in enumerate(rows) if row in self._old]
        if champion is not None and replayed:
            wanted = torch.from_numpy(champion[[rows[i] for i in replayed]])
            softened = functional.log_softmax(logits[replayed] / tuning.softening, dim=1)
            distance = functional.kl_div(softened, wanted, reduction="none").sum(1)
            mixed = tuning.softening**2 * tuning.distil * distance
            losses = losses.index_add(0, torch.tensor(replayed), mixed)
        weights = torch.tensor([self.data.weights[row] for row in rows])
        return (losses * weights).sum()

    def _wanted(self, rows: Sequence[int]) -> Tensor:
        """The labels of rows: their numbers, or probabilities where one of them has several."""
        targets, shares = self._targets[list(rows)], self.data.shares
        if not any(row in shares for row in rows):
            return targets
        wanted = functional.one_hot(targets, len(self._number)).float()
        for at, row in enumerate(rows):
            for label, share in shares.get(row, ()):
                wanted[at, self._number[self._models[row], label]] = share
        return wanted

    def _logits(self, rows: Sequence[int], vectors: Tensor) -> Tensor:
        apart = torch.stack([self._apart[self._models[row]] for row in rows])
        return self.network.logits(vectors).masked_fill(apart, _OTHER_MODEL)

    def _vectors(self, rows: Sequence[int]) -> Tensor:
        return self.network.vectors([self.data.tokens[row] for row in rows])

    def _judge(self) -> None:
        progress = self.progress
        accuracy, loss = self.score() if self.data.held else (0.0, 0.0)
        progress.scores.append((accuracy, loss))
        best = progress.scores[progress.best] if progress.best >= 0 else (-1.0, math.inf)
        if not self.data.held or (accuracy, -loss) > (best[0], -best[1]):
            progress.best = len(progress.scores) - 1
            self.best = self._weights()
        stale = len(progress.scores) - 1 - progress.best >= self.tuning.patience
        progress.done = stale or progress.step >= progress.steps

    def score(self) -> tuple[float, float]:
        """Accuracy and mean log loss of the training head on the held-out rows."""
        rows = list(self.data.held)
        with torch.no_grad():
            logits = self._logits(rows, self.vectors(rows))
            right = (logits.argmax(1) == self._targets[rows]).float().mean()
            return float(right), float(functional.cross_entropy(logits, self._wanted(rows)))

    def _weights(self) -> dict[str, Tensor]:
        """A copy of what is trained, by name."""
        return {
            name: value.detach().clone()
            for name, value in self.network.named_parameters()
            if value.requires_grad
        }

    def _groups(self) -> list[dict[str, object]]:
        """The encoder's matrices decay; norms, biases and the head do not."""
        tuning, head = self.tuning, self.network.directions
        matrices = [p for p in self._trained if p.ndim > 1 and p is not head]
        others = [p for p in self._trained if p.ndim == 1]
        groups: list[dict[str, object]] = [
            {"params": matrices, "peak": tuning.rate, "weight_decay": tuning.weight_decay},
            {"params": others, "peak": tuning.rate, "weight_decay": 0.0},
            {"params": [head], "peak": tuning.head_rate, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def _batches(self, epoch: int) -> list[list[int]]:
        if epoch not in self._epochs:
            data, tuning = self.data, self.tuning
            rows = epoch_rows(data.new, data.old, data.labels, _MOST_REPLAYED, tuning, epoch)
            self._epochs = {epoch: epoch_batches(rows, self._lengths, tuning, epoch)}
        return self._epochs[epoch]
