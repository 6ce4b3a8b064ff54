"""Rows, models and costs for tests of the queue."""

import numpy as np

from honed_adapt.head import Head
from honed_server.serving.batcher import Request, Row
from honed_server.serving.cost import CostModel, Measured
from honed_server.serving.fairness import Priority
from honed_server.serving.generations import Generation, LoadedEncoder

# A run takes 1 ms and 0.25 ms a token: budget and split are 64 and 20 tokens.
COST = CostModel.of([Measured(n, 1, 0.001 + n / 4000) for n in (1, 512)]).sized(64, 20)


class FixedEncoder:
    """Names an encoder; the queue asks for no more."""

    hidden, precision = 4, "fp32"

    def __init__(self, digest: str) -> None:
        self.digest = digest


def loaded(digest: str = "one", cost: CostModel = COST) -> LoadedEncoder:
    return LoadedEncoder(FixedEncoder(digest), None, cost)


def generation(model: str, digest: str) -> Generation:
    return Generation.of(model, 1, 1, 1, Head.empty(4), loaded(digest))


TABLE = {"a": generation("a", "one"), "b": generation("b", "one"), "c": generation("c", "two")}


def rows(
    *tokens: int,
    model: str = "a",
    deadline: float = float("inf"),
    tenant: str = "",
    bulk: bool = False,
    left: bool = False,
) -> list[Row]:
    """The rows of one request, admitted at 0."""
    request = Request(
        model, len(tokens), 1, False, False, 0.0, deadline, lambda: None,
        Priority.BULK if bulk else Priority.INTERACTIVE, tenant, left,
    )  # fmt: skip
    return [
        Row(request, i, "", np.zeros(size, np.int64), False, "t") for i, size in enumerate(tokens)
    ]


def row(tokens: int, **options) -> Row:
    (one,) = rows(tokens, **options)
    return one
