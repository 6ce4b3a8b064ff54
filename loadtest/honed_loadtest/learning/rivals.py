"""Contestants with an environment of their own: they answer texts, in a process of that Python.

Their requirements contradict the project's, as those of the peers in `honed_loadtest.peers` do.
The process is `rival_<name>.py` here; one JSON object a line goes in, one comes out.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from honed_loadtest.errors import BenchError
from honed_loadtest.learning.contestant import Answers
from honed_loadtest.learning.streams import Said
from honed_loadtest.learning.vectors import Vectors, encoder_folder
from honed_loadtest.peers import environments

_HERE = Path(__file__).parent
_ENDING_S = 10.0
# One core, as all have: other jobs run beside it.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
}


def prepare(folder: str) -> None:
    """Makes the environment if it is not there.

    Raises:
        BenchError: It cannot be made; the message has pip's last line.
    """
    environments.environment(folder, _HERE)


class Rival:
    """One process that learns and answers texts.

    Args:
        folder: Of its requirements, beside this file.
        classes: Not told: it meets them as they come.

    Raises:
        BenchError: It did not start, or fell silent.
    """

    def __init__(self, folder: str, classes: Sequence[str]) -> None:
        python = environments.FOLDER / folder / "bin" / "python"
        self._process = subprocess.Popen(
            [str(python), str(_HERE / folder / "learner.py"), str(encoder_folder())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **_ENVIRONMENT},
        )

    def learn(self, said: Sequence[Said], vectors: Vectors) -> float:
        """Learns texts; the vectors are not looked at: it has the same encoder."""
        rows = [[one.text, one.label] for one in said]
        return float(self._ask({"learn": rows})["seconds"])

    def settle(self) -> float:
        """Learns what it has put off."""
        return float(self._ask({"settle": True})["seconds"])

    def answer(self, texts: Sequence[str], vectors: Vectors) -> Answers:
        """Answers texts."""
        found = self._ask({"answer": list(texts)})
        return Answers(found["labels"], np.array(found["scores"]), float(found["seconds"]))

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_ENDING_S)
        finally:
            self._process.kill()

    def _ask(self, what: Mapping[str, Any]) -> dict[str, Any]:
        sent, heard = self._process.stdin, self._process.stdout
        assert sent is not None, "it is a pipe"
        assert heard is not None, "it is a pipe"
        try:
            sent.write(json.dumps(what) + "\n")
            sent.flush()
            line = heard.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError("its process ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
