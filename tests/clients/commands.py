"""Runs the `honed` command in this process and keeps what it left behind."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from typer.testing import CliRunner

from honed.cli import app
from honed_proto.v1 import models_pb2

HONED = Path(sys.executable).with_name("honed")
"""The installed command."""

MODEL = models_pb2.Model(
    name="support",
    version=3,
    revision=40,
    labels=["a", "b"],
    log_position=41,
    adapt_state="running",
)


class Outcome:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict[str, Any]:
        """The single line of output, which must be one JSON object."""
        (line,) = self.out.splitlines()
        value = json.loads(line)
        assert isinstance(value, dict)
        return value


Honed: TypeAlias = Callable[..., Outcome]


def honed_at(target: str) -> Honed:
    """The command, told where the server is."""

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, ["--target", target, *map(str, arguments)])
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run
