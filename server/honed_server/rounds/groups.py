"""Which models are trained together by a fine-tuning round."""

from collections.abc import Callable

from honed_adapt.gate.policy import Policy
from honed_server.models.catalogue import Catalogue, Entry


def encoder_of(catalogue: Catalogue, entry: Entry) -> str:
    """Digest of the encoder that a model serves with."""
    return catalogue.serving(entry.row.name).loaded.encoder.digest


def group_of(catalogue: Catalogue, policy: Callable[[str], Policy], entry: Entry) -> list[Entry]:
    """The models trained with this one: those of its encoder that learn, or it alone.

    Args:
        catalogue: The models.
        policy: The policy of a model.
        entry: The model that a round is asked for.
    """
    if policy(entry.row.name).own_encoder:
        return [entry]
    digest = encoder_of(catalogue, entry)
    return [
        one
        for name, one in sorted(catalogue.entries.items())
        if encoder_of(catalogue, one) == digest
        and not one.row.paused
        and not policy(name).own_encoder
    ]
