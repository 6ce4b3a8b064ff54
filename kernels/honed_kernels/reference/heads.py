"""The specification of the grouped head in plain PyTorch: one row at a time, nothing clever.

`head.py` (NumPy) and the Triton kernels are tested against it, usually in float64. The formulas are
in `score`; `grouped_head` reads heads from a list and `grouped_head_in_memory` from device memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from honed_kernels.fourier import Fourier
from honed_kernels.head import HeadWeights
from honed_kernels.memory import Activation, Field, Front, Memory
from honed_kernels.status import NO_HEAD, NOT_FINITE


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceOutput:
    """The fields of `honed_kernels.head.HeadOutput` as tensors of the dtype of `pooled`."""

    indices: list[Tensor]
    probabilities: list[Tensor]
    logits: list[Tensor] | None


def grouped_head(
    pooled: Tensor,
    head_id: Tensor,
    heads: Sequence[HeadWeights],
    *,
    top_k: int | Sequence[int] = 1,
    logits: bool = False,
) -> ReferenceOutput:
    """Score every row with the head it picks, in the dtype of `pooled`.

    Args and order of labels as in `honed_kernels.head.grouped_head`; inputs are taken as valid.

    Args:
        pooled: floating (rows, hidden).
        head_id: integers (rows,).
        heads: all for the same `hidden`.
        top_k: labels to return, for all rows or for each.
        logits: whether to return every label's logits.
    """
    depth = [top_k] * len(pooled) if isinstance(top_k, int) else list(top_k)
    indices, probabilities, rows = [], [], []
    for vector, index, k in zip(pooled, head_id.tolist(), depth, strict=True):
        head = heads[index]
        read = beside(vector, head.features) if head.features else vector
        row = torch.tensor(head.weight).to(vector) @ read + torch.tensor(head.bias).to(vector)
        order = row.sort(descending=True, stable=True).indices[:k]
        indices.append(order)
        probabilities.append(score(row, head.temperature, Activation.SOFTMAX)[0][order])
        rows.append(row)
    return ReferenceOutput(indices, probabilities, rows if logits else None)


def beside(vector: Tensor, features: Fourier) -> Tensor:
    """The vector with its random Fourier features behind it (Rahimi and Recht 2007)."""
    count = features.count
    projection = torch.tensor(features.projection.matrix[:, :count]).to(vector)
    phase = torch.tensor(features.projection.phase[:count]).to(vector)
    waves = (vector @ projection / features.width + phase).cos() * math.sqrt(2 / count)
    return torch.cat([vector, waves])


def score(
    logits: Tensor, temperature: float, activation: Activation
) -> tuple[Tensor, Tensor, Tensor]:
    """What the logits of one row say.

    A logit of -inf is a label switched off: its probability is 0.

    Args:
        logits: floating (labels,), no NaN or plus infinity, not all -inf.
        temperature: divides them.
        activation: softmax chooses one label, sigmoid decides each by itself.

    Returns:
        The probabilities (labels,); their entropy in nats, for sigmoid the sum over the labels; and
        the energy, low for what resembles the training data: -T * logsumexp(logits / T) (Liu et
        al. 2020), for sigmoid -T * sum(softplus(logits / T)) (Wang et al. 2021).
    """
    if activation is Activation.SOFTMAX:
        best = logits.max()
        scaled = (logits - best) / temperature
        probabilities = scaled.softmax(0)
        entropy = -torch.special.xlogy(probabilities, probabilities).sum()
        return probabilities, entropy, -(best + temperature * scaled.logsumexp(0))
    scaled = logits / temperature
    yes, no = scaled.sigmoid(), (-scaled).sigmoid()
    entropy = -(torch.special.xlogy(yes, yes) + torch.special.xlogy(no, no)).sum()
    return yes, entropy, -temperature * scaled.logaddexp(torch.zeros_like(scaled)).sum()


_ACTIVATIONS: Mapping[Front, Callable[[Tensor], Tensor]] = {
    Front.TANH: torch.tanh,
    Front.GELU: torch.nn.functional.gelu,
    Front.RELU: torch.relu,
}


def in_front(
    vector: Tensor, memory: Memory, slot: int, front: Front, features: int, width: float
) -> Tensor:
    """What a head's linear layer reads: the vector itself, or what the layer in front makes of it.

    The cosine layer makes random Fourier features, cos(x @ projection / width + phase) (Rahimi and
    Recht 2007), for `BESIDE` behind the vector; their factor is in the head's weights. The others
    are dense layers of the head's own.
    """
    if front is Front.NONE:
        return vector
    direct = memory.front_weight.shape[2] if front is Front.BESIDE else 0
    shared, count = front in (Front.COSINE, Front.BESIDE), features - direct
    place = 0 if shared else slot
    weight = memory.front_weight[place, :count, : len(vector)].to(vector)
    made, bias = weight @ vector, memory.front_bias[place, :count].to(vector)
    if not shared:
        return _ACTIVATIONS[front](made + bias)
    waves = (made / width + bias).cos()
    if front is Front.COSINE:
        return waves
    return torch.cat([torch.nn.functional.pad(vector, (0, direct - len(vector))), waves])


def grouped_head_in_memory(
    pooled: Tensor, head_id: Tensor, memory: Memory, top_k: int, logits: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Score every row with the head that device memory holds for it, in the dtype of `pooled`.

    Args and results as in `honed_kernels.ops.grouped_head`, with margin, entropy and energy in one
    tensor (3, rows); inputs are taken as valid. What is multiplied with weights is rounded to their
    dtype first, as on a GPU; in float64 nothing is rounded: that is what all paths approximate.

    Labels come by falling logit, equal logits by rising index; past a head's last label ids are -1
    and probabilities 0. The margin is the best probability less the second, which is 0 with one
    label. A row with a NaN or plus infinity among its logits, or only -inf, has status NOT_FINITE,
    the ids 0 to k - 1 and NaN for scores. One without a head has NO_HEAD, ids -1 and 0 for scores.
    """

    def narrow(x: Tensor) -> Tensor:
        return x if x.dtype is torch.float64 else x.to(memory.weight.dtype).to(x.dtype)

    rows, max_labels = len(pooled), memory.weight.shape[1]
    ids = head_id.new_full((rows, top_k), -1, dtype=torch.int32)
    probabilities = pooled.new_zeros(rows, top_k)
    measures = pooled.new_zeros(3, rows)
    status = head_id.new_full((rows,), NO_HEAD, dtype=torch.int32)
    version = head_id.new_zeros(rows, dtype=torch.int64)
    all_logits = pooled.new_full((rows, max_labels if logits else 0), -math.inf)
    for row, model in enumerate(head_id.tolist()):
        slot = int(memory.pointers[model]) if 0 <= model < len(memory.pointers) else -1
        if slot < 0:
            continue
        about = memory.descriptor[slot]
        labels, features, front, activation = about[: Field.TEMPERATURE_BITS].tolist()
        bits = about[[Field.TEMPERATURE_BITS, Field.WIDTH_BITS]].int()
        temperature, width = bits.view(torch.float32).tolist()
        version[row] = about[Field.VERSION]
        vector = in_front(narrow(pooled[row]), memory, slot, Front(front), features, width)
        weight = memory.weight[slot, :labels, :features].to(vector)
        z = weight @ narrow(vector) + memory.bias[slot, :labels].to(vector)
        if logits:
            all_logits[row, :labels] = z
        depth = min(top_k, labels)
        if z.isnan().any() or z.isposinf().any() or z.isneginf().all():
            status[row], ids[row, :depth] = NOT_FINITE, torch.arange(depth, dtype=torch.int32)
            probabilities[row, :depth] = measures[:, row] = math.nan
            continue
        order = z.sort(descending=True, stable=True).indices
        each, entropy, energy = score(z, temperature, Activation(activation))
        best = each[order]
        margin = best[0] - best[1] if labels > 1 else best[0]
        status[row], ids[row, :depth], probabilities[row, :depth] = 0, order[:depth], best[:depth]
        measures[:, row] = torch.stack((margin, entropy, energy))
    return ids, probabilities, measures, status, version, all_logits
