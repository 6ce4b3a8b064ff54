"""`honed completion` and `honed config check`: what is set up once, before anything runs."""

import os
import subprocess
from pathlib import Path

import pytest

from clients.commands import HONED, MODEL, Honed
from clients.scripted import ScriptedServer
from honed_proto.v1 import models_pb2

# Sources the script and asks for the completions of its arguments, as bash does for a TAB.
TAB = """
eval "$(honed completion bash)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_honed_completion honed
printf '%s\\n' "${COMPREPLY[@]}"
"""


def _tab(server: ScriptedServer, *words: str) -> list[str]:
    path = f"{HONED.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HONED_TARGET": server.target}
    command = ["bash", "-c", TAB, "bash", "honed", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_options_and_models(server: ScriptedServer) -> None:
    server.on("Models.List", models_pb2.ListModelsResponse(models=[MODEL]))
    assert _tab(server, "feedback", "import", "--pat") == ["--patience"]
    assert _tab(server, "predict", "sup") == ["support"]
    server.stop()
    assert _tab(server, "predict", "sup") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(honed: Honed, shell: str) -> None:
    done = honed("completion", shell)
    assert done.code == 0
    assert f"_HONED_COMPLETE=complete_{shell}" in done.out
    assert honed("completion", "tcl").code == 2


def test_config_check_tells_where_each_setting_comes_from(
    honed: Honed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HONED_DATA", raising=False)
    monkeypatch.setenv("HONED_DRAIN_MS", "5")
    Path("honed.toml").write_text("adapt = false\nport = 1\n")
    settings = honed("config", "check", "--json", "--port", "7").json
    assert settings["port"] == {"value": 7, "source": "flags"}
    assert settings["drain_ms"] == {"value": 5, "source": "environment"}
    assert settings["adapt"] == {"value": False, "source": "file"}
    assert settings["host"] == {"value": "127.0.0.1", "source": "default"}
    lines = honed("config", "check").out.splitlines()
    (port,) = [line for line in lines if line.startswith("port ")]
    assert [cell.strip() for cell in port.split("│")] == ["port", "1", "file"]


def test_config_check_refuses_what_serve_would(honed: Honed) -> None:
    done = honed("config", "check", "--json", "--prot", "7")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'port'" in done.err
