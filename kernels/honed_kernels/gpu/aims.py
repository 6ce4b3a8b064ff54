"""What the kernels are to reach on a GPU, and whether they did."""

from __future__ import annotations

from collections.abc import Mapping

from honed_kernels.gpu.report import Aim

_AIMS = (
    (
        "swaps_without_fault",
        "1,000 swaps under a captured graph: every row right, nothing compiled",
        1.0,
    ),
    ("grouped_head_over_loop", "64 rows over 64 heads against a loop over the heads", 20.0),
    ("grouped_head_over_batched", "the same against the best batched form", 2.0),
    ("pool_share_of_copy", "pool and head of 1,024 x 512 x 4,096: share of copy bandwidth", 0.85),
    ("large_head_over_unfused", "100,000 labels, 1,024 rows, against the unfused form", 2.5),
    ("training_step_over_fastest", "a training step of 1,024 labels at most, fastest rival", 1.0),
    (
        "bytes_of_logits_over_bytes_a_row",
        "100,000 labels: a row's logits in bfloat16 over what a row more takes in training",
        1.0,
    ),
)


def judge(figures: Mapping[str, float], *, dry_run: bool) -> list[Aim]:
    """All aims with their figures.

    Args:
        figures: by the aim's name, those that were measured.
        dry_run: whether times mean nothing, so that nothing is reached or missed.
    """
    return [
        Aim(
            name,
            says,
            wanted,
            value := figures.get(name),
            None if dry_run or value is None else value >= wanted,
        )
        for name, says, wanted in _AIMS
    ]
