"""The experts of one model, side by side on the same rows: how they learn, and what is decided.

It stands inside `lane.py`; `mix.py` is what they say. Two experts learn every label at once: the
discriminant on the vectors themselves (`discriminant.py`), good from the first label on, and the
regression on random features (`ridge.py`), better once there are many.

How they are mixed is a `Recipe`. It is decided by the labels present and the votes of audits, and
then stands, so it is logged when it changes and given back when a lane is built anew. Rows and
recipe determine the head; no history does.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from honed_adapt.head import Features
from honed_adapt.instant.calibration import (
    Tuning,
    fit_temperature,
    sample_of,
)
from honed_adapt.instant.choices import CHOOSING_ROWS, REGRESSION, choose, scaled, width_for
from honed_adapt.instant.features import SEED
from honed_adapt.instant.mix import Mix
from honed_adapt.instant.present import Moves, PresentRows, Row, arrays
from honed_adapt.instant.recipe import (
    Recipe,
    Vote,
    due,
    features_for,
    overdue,
    share_for,
    votes_of,
)
from honed_adapt.instant.ridge import Spec


class Experts(Mix):
    """Learns rows, and decides how what they teach is mixed.

    A regression with more features is built in slices of `work`, while labels go on being learned
    by the one that is there. It serves when `take_over` says so, since a revision has one head.

    Args:
        present: the rows, changed through `change` only.
        tuning: numbers of the maths.
        known: labels that come first, whether they have rows or not.

    Attributes:
        votes: what audited rows said, by log position.
    """

    def __init__(self, present: PresentRows, tuning: Tuning, known: Sequence[str] = ()) -> None:
        super().__init__(present, tuning, known)
        self.votes: dict[int, Vote] = {}
        self._begun = 0  # labels in effect when the regression under way was begun

    @property
    def busy(self) -> bool:
        """Whether `work` has something to do."""
        return self._regression.busy or self._outgrown

    @property
    def growing(self) -> bool:
        """Whether another regression is due, under way, or ready."""
        return self._regression.growing or self._outgrown

    @property
    def ready(self) -> bool:
        """Whether another regression waits to take over."""
        return self._regression.ready

    def work(self) -> None:
        """Do one slice of what need not be done at once; begin another regression if one is due."""
        if self._outgrown:
            self._begun = len(self._present.standing)
            wanted = features_for(self._begun, self.recipe.features)
            self._regression.grow(self._spec(wanted), self._present.in_log_order())
        self._regression.work()

    def change(self, added: Sequence[Row], removed: Sequence[Row], *, forget: bool = False) -> None:
        """Learn rows and take out others.

        Args:
            added: new rows.
            removed: rows that are there; their votes go with them.
            forget: whether they are deleted, so that no rounding of theirs may stay.
        """
        moves = self._present.change(added, removed)
        self._solution = self._left_out = None
        self._follow(moves, forget=forget)
        for row in removed:
            self.votes.pop(row.position, None)
        if forget and self.recipe.features:
            self.recipe = replace(self.recipe, share=self._share())

    def renew(self) -> None:
        """Decide anew what is due for the rows that there are."""
        rows = len(self._present.standing)
        if features_for(rows, self.recipe.features) == 0:
            self._regression.become(None)
            self.recipe = Recipe()
        elif due(self.recipe, rows):
            self._review()

    def take_over(self) -> bool:
        """Let the regression serve that is ready; whether there was one."""
        if not self._regression.take_over():
            return False
        assert self._regression.ridge is not None, "it has just taken over"
        spec = self._regression.ridge.spec
        self.recipe = replace(
            self.recipe,
            features=spec.features.count,
            width=spec.features.width,
            penalty=spec.penalty,
            chosen=self._begun,
        )
        self._review()
        return True

    def restore(self, recipe: Recipe | None, votes: Mapping[int, Vote]) -> Iterator[None]:
        """Take over a logged recipe for the rows present, in slices; None decides one."""
        self.votes = {at: vote for at, vote in votes.items() if at in self._present.rows}
        self._solution = self._left_out = None
        rows = self._present.in_log_order()
        if recipe is None:
            self.recipe = yield from self._decided(len(rows))
        else:
            self.recipe = recipe if rows else Recipe()  # all may have gone since it was logged
        features, ridge = self.recipe.fourier, self._regression.ridge
        if features is None:
            self._regression.become(None)
            return
        spec = Spec(features, self.recipe.penalty)
        if ridge is None or ridge.spec != spec:
            yield from self._regression.build(spec, rows)
        if recipe is None:
            self._review()

    def ballots(self, rows: Sequence[Row]) -> dict[int, Vote]:
        """What rows say that may vote, before they are learned: see `unknown_audits`."""
        known = {label: at for at, label in enumerate(self.labels)}
        voters = [row for row in self._present.unknown_audits(rows) if row.label in known]
        if not voters or not self.recipe.features:
            return {}
        vectors, _ = arrays(voters)
        discriminant = vectors @ self.solution.weight.T + self.solution.bias
        regression = self._ridge.values(vectors, self.labels) * self._balance()
        votes = votes_of(
            discriminant / self.recipe.discriminant,
            regression / self.recipe.regression,
            [known[row.label] for row in voters],
        )
        return {row.position: vote for row, vote in zip(voters, votes, strict=True)}

    @property
    def _outgrown(self) -> bool:
        """Whether a larger regression is due, or other numbers for it, and none is begun."""
        if self._regression.growing:
            return False
        rows = len(self._present.standing)
        wanted = features_for(rows, self.recipe.features)
        return wanted > 0 and (wanted != self.recipe.features or overdue(self.recipe, rows))

    def _review(self) -> None:
        """Decide temperatures and share anew, for the regression that there is."""
        rows = self._sample()
        sample, first = sample_of(self.labels, rows), self._sample_left_out()
        scores = self._regression.scores(rows, self.labels, followed=True)
        kept = self.solution.classes.count[sample.targets] > 1
        second = self._balanced(self._without(scores.of(kept), first), first)
        self.recipe = replace(
            self.recipe,
            share=self._share(),
            discriminant=_rounded(fit_temperature(first, self._tuning.temperature)),
            regression=_rounded(fit_temperature(replace(first, logits=second), REGRESSION)),
            rows=len(self._present.standing),
        )

    def _decided(self, rows: int) -> Generator[None, None, Recipe]:
        """The recipe of a model that nothing was decided for yet."""
        if (count := features_for(rows, 0)) == 0:
            return Recipe()
        spec = yield from self._spec(count)
        return Recipe(count, spec.features.width, spec.penalty, chosen=rows)

    def _spec(self, count: int) -> Generator[None, None, Spec]:
        """How a regression with so many features is made, for the rows present at first."""
        usual = width_for(self._present.sums)
        if count == self.recipe.features:
            usual = scaled(self.recipe.width, usual)
        sample = self._present.sample(CHOOSING_ROWS)
        width, penalty = yield from choose(sample, usual, self.recipe.balance)
        return Spec(Features(count, width, SEED), penalty)

    def _follow(self, moves: Moves, *, forget: bool) -> None:
        """Have both experts follow rows that have moved: on two cores, if another one is idle."""
        if self._regression.ridge is None or not self._present.standing:
            self._regression.change(moves, forget=forget)
            return
        with ThreadPoolExecutor(1) as other:
            # Products let go of the interpreter, and neither expert looks at the other.
            judged = other.submit(self._sample_left_out)
            self._regression.change(moves, forget=forget)
        judged.result()

    def _share(self) -> float:
        votes = [self.votes[at] for at in sorted(self.votes)]
        return share_for(votes, len(self._present.standing), self.recipe.penalty)


def _rounded(number: float) -> float:
    """Six digits, as a decision shows it."""
    return float(f"{number:.6g}")
