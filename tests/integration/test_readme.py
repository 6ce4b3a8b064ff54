"""What the README shows works: its commands and its Python, against a first start."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from harness import running

ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_readme_can_be_followed(tmp_path):
    commands = [
        shlex.split(line)[1:]
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith(".venv/bin/honed ") and " serve" not in line
    ]
    (snippet,) = blocks("python")
    honed = Path(sys.executable).with_name("honed")
    with running(tmp_path / "h", example=True) as server:
        environment = {**os.environ, "HONED_TARGET": server.target}
        shown = [
            subprocess.run(
                [honed, *command], env=environment, capture_output=True, text=True, check=True
            ).stdout
            for command in commands
        ]
        subprocess.run([sys.executable, "-c", snippet], env=environment, check=True)
    assert len(shown) == 3
    assert "missing_item" in shown[0]
    assert "loyalty_points" in shown[2]
