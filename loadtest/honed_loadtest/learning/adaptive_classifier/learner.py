"""adaptive-classifier behind standard input and output; run by `rivals.py` in its environment."""

import json
import sys
from time import process_time

from adaptive_classifier import AdaptiveClassifier

model = AdaptiveClassifier(sys.argv[1])
sys.stdout, out = sys.stderr, sys.stdout  # its own words shall not be taken for answers
for line in sys.stdin:
    asked, started = json.loads(line), process_time()
    found: dict[str, object] = {}
    if "learn" in asked:
        texts, labels = zip(*asked["learn"], strict=True)
        model.add_examples(list(texts), list(labels))
    elif "answer" in asked:  # or "settle": nothing is put off
        best = [each[:1] or [("", 0.0)] for each in model.predict_batch(asked["answer"])]
        found = {"labels": [b[0][0] for b in best], "scores": [float(b[0][1]) for b in best]}
    out.write(json.dumps({**found, "seconds": process_time() - started}) + "\n")
    out.flush()
