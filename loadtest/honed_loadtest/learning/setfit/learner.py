"""SetFit, fitted anew from the base checkpoint whenever the labels have doubled.

At most 200 contrastive steps of 16 pairs a fit: on two cores its defaults take hours for 1,000
labels. Run by `rivals.py` in its environment.
"""

import json
import sys
import tempfile
from time import process_time

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments

_FIRST, _STEPS = 125, 200
texts: list[str] = []
labels: list[str] = []
model, fitted = None, 0
sys.stdout, out = sys.stderr, sys.stdout  # its own words shall not be taken for answers
for line in sys.stdin:
    asked, started = json.loads(line), process_time()
    found: dict[str, object] = {}
    if "learn" in asked:
        texts += [text for text, _ in asked["learn"]]
        labels += [label for _, label in asked["learn"]]
    if "answer" not in asked:
        due = len(texts) > fitted if "settle" in asked else len(texts) >= max(_FIRST, 2 * fitted)
        if due and len(set(labels)) > 1:
            model = SetFitModel.from_pretrained(sys.argv[1], labels=sorted(set(labels)))
            with tempfile.TemporaryDirectory() as scratch:
                settings = TrainingArguments(
                    output_dir=scratch, batch_size=16, max_steps=_STEPS, seed=0, report_to="none"
                )
                rows = Dataset.from_dict({"text": texts, "label": labels})
                Trainer(model=model, args=settings, train_dataset=rows).train()
            fitted = len(texts)
    elif model is None:
        found = {"labels": [""] * len(asked["answer"]), "scores": [0.0] * len(asked["answer"])}
    else:
        likely = model.predict_proba(asked["answer"], as_numpy=True)
        names = [model.labels[at] for at in likely.argmax(axis=1)]
        found = {"labels": names, "scores": likely.max(axis=1).tolist()}
    out.write(json.dumps({**found, "seconds": process_time() - started}) + "\n")
    out.flush()
