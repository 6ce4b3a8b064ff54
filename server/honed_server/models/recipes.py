"""The recipes on record: how what a model learned was mixed into one head, and since when.

It stands between `revisions.py`, which records a change before it serves, and those who learn
again: the adapt process after a start, and `replay.py`. A recipe belongs to an encoder, since its
numbers are at the scale of that encoder's vectors. A larger regression that no label brings in gets
a log position here, so that no revision names two heads.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from honed_adapt.process import messages
from honed_adapt.process.findings import Grown
from honed_proto.v1 import models_pb2 as pb
from honed_server.models.catalogue import Catalogue, Entry, decision
from honed_server.models.registry import DecisionRow, Registry, VersionRow

_SHOWN = {"features": "features", "share": "regression's share", "width": "width"}


def valid(
    decisions: Sequence[DecisionRow], versions: Sequence[VersionRow], encoder: str, revision: int
) -> Mapping[str, Any] | None:
    """The recipe of a model over an encoder as of a revision.

    Args:
        decisions: About the model, oldest first.
        versions: All of the model.
        encoder: Digest; what was decided over another one does not count.
        revision: What is asked about; later ones may have another recipe.

    Returns:
        Empty for a first encoder over which none was decided: that began without features. None for
        a later one: it is to be decided from the labels.
    """
    behind = {row.version: row.encoder_digest for row in versions}
    recipe: Mapping[str, Any] | None = {} if behind[min(behind)] == encoder else None
    for one in decisions:
        counts = one.kind == "recipe" and behind.get(one.version) == encoder
        if counts and one.numbers["revision"] <= revision:
            recipe = one.numbers["recipe"]
    return recipe


def recorded(
    registry: Registry, model: str, encoder: str, revision: int
) -> Mapping[str, Any] | None:
    """As `valid`, by what the registry holds now."""
    decisions = registry.decisions_of(model, "recipe")
    return valid(decisions, registry.versions(model), encoder, revision)


def learning(offer: messages.Revision) -> pb.Learning:
    """What an offer was learned with, as callers see it; audits are added where it is shown."""
    recipe, losses = offer.recipe, offer.losses
    features, share = int(recipe.get("features", 0)), float(recipe.get("share", 0.0))
    found = pb.Learning(
        features=features,
        width=recipe["width"] if features else 0.0,
        ridge=recipe["penalty"] if features else 0.0,
        labels=offer.learned,
    )
    if offer.brier >= 0:  # else no label could be held out
        found.calibration_error, found.brier = offer.calibration_error, offer.brier
    shares = {"discriminant": 1 - share if features else 1.0, "regression": share}
    for name, weight in shares.items():
        if name == "discriminant" or features:
            votes = int(losses.get("votes", 0))
            found.experts.add(name=name, weight=weight, log_loss=losses.get(name, 0.0), votes=votes)
    return found


async def grow(catalogue: Catalogue, entry: Entry, found: Grown) -> None:
    """Makes a log position from which on a larger regression may serve, unless none may now."""
    async with catalogue.hold(entry):
        if entry.row.paused or found.epoch != entry.epoch:
            return
        serving = catalogue.serving(found.model)
        if entry.version_source == "candidate" and serving.revision == entry.version_position:
            return  # what was promoted is replaced only by what was learned since
        at = await asyncio.wrap_future(catalogue.log.grow(found.model))
        entry.log_position = max(entry.log_position, at)
    catalogue.tell_adapt(messages.Wake(at))


async def record(catalogue: Catalogue, entry: Entry, offer: messages.Revision) -> None:
    """Puts a change of recipe on record, before anything serves that is mixed by it."""
    if offer.recipe != entry.recipe:
        await _change(catalogue, entry, offer.recipe, offer.revision, "experts")
        entry.recipe = offer.recipe


async def go_back(catalogue: Catalogue, entry: Entry, version: VersionRow, last: int) -> None:
    """Goes on from the recipe of a version that serves again; the later one is under suspicion too.

    Args:
        catalogue: The models.
        entry: The model.
        version: What serves again.
        last: The last revision that may have been mixed by the later recipe.
    """
    registry, name, encoder = catalogue.registry, entry.row.name, version.encoder_digest
    before = recorded(registry, name, encoder, version.log_position)
    if before != recorded(registry, name, encoder, last):
        await _change(catalogue, entry, before, last, "rollback")
    if before != entry.recipe:
        entry.recipe = before
        catalogue.renew(entry)


def carried(version: VersionRow, offer: messages.Revision) -> DecisionRow:
    """The record of the recipe of what was learned over a version's encoder and serves with it."""
    return _changed(version.model, version.version, offer.recipe, offer.revision, "experts")


async def _change(
    catalogue: Catalogue,
    entry: Entry,
    recipe: Mapping[str, Any] | None,
    revision: int,
    actor: str,
) -> None:
    made = _changed(entry.row.name, entry.row.active_version, recipe, revision, actor)
    await asyncio.wrap_future(catalogue.registry.record(made))


def _changed(
    model: str, version: int, recipe: Mapping[str, Any] | None, revision: int, actor: str
) -> DecisionRow:
    numbers = {"revision": revision, "recipe": None if recipe is None else dict(recipe)}
    return decision(
        model, "recipe", "changed",
        actor=actor, reason=_told(recipe), version=version, numbers=numbers,
    )  # fmt: skip


def _told(recipe: Mapping[str, Any] | None) -> str:
    if recipe is None:
        return "to be decided from the labels"
    parts = [f"{name} {recipe[key]}" for key, name in _SHOWN.items() if key in recipe]
    return ", ".join(parts) or "class means and a discriminant alone"
