"""The `honed` command as a whole: help, usage, one-line errors and exit codes."""

import subprocess
import sys
from importlib import import_module

import pytest
from google.rpc.error_details_pb2 import BadRequest
from typer.main import get_command

from clients.commands import HONED, Honed
from clients.scripted import Fault, ScriptedServer, status
from honed.cli import COMMANDS


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("INTERNAL", 1),
        ("INVALID_ARGUMENT", 2),
        ("FAILED_PRECONDITION", 2),
        ("NOT_FOUND", 3),
        ("ALREADY_EXISTS", 4),
        ("RESOURCE_EXHAUSTED", 5),
        ("UNAVAILABLE", 5),
        ("DEADLINE_EXCEEDED", 5),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["", "json"])
def test_an_error_is_one_line_and_an_exit_code(
    server: ScriptedServer, honed: Honed, code: str, exit_code: int, options: tuple[str, ...]
) -> None:
    server.on("Models.Get", Fault(status(code, "this is\nwrong", "SOME_REASON")))
    done = honed("models", "show", "support", *options)
    assert (done.code, done.out) == (exit_code, "")
    assert done.err == "honed: this is\\nwrong (SOME_REASON)\n"


def test_an_invalid_request_names_its_fields(server: ScriptedServer, honed: Honed) -> None:
    broken = BadRequest.FieldViolation(field="name", description="has a space")
    fault = status("INVALID_ARGUMENT", "no", "BAD_NAME", BadRequest(field_violations=[broken]))
    server.on("Models.Create", Fault(fault))
    assert honed("models", "create", "a b").err == "honed: no; name: has a space (BAD_NAME)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "support"),
        ("predct", "support", "text"),
        ("predict", "support", "text", "--top-k", "0"),
        ("feedback", "submit", "support", "--label", "a"),
        ("feedback", "submit", "support", "--text", "a", "--label", "b", "--kind", "guess"),
        ("rollback", "support", "two"),
        ("rollback", "support", str(2**64)),
        ("feedback", "import", "support", "no-such-file.csv"),
        ("predict", "support", "\udcff"),
    ],
)
def test_wrong_usage_is_exit_code_2_before_anything_is_sent(
    server: ScriptedServer, honed: Honed, arguments: tuple[str, ...]
) -> None:
    done = honed(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err
    assert "Traceback" not in done.err
    assert not server.received


def test_the_installed_command_reports_a_server_that_is_away(server: ScriptedServer) -> None:
    server.stop()
    done = subprocess.run(
        [HONED, "--target", server.target, "status"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (5, "")
    (line,) = done.stderr.splitlines()
    assert server.target in line
    assert "honed serve" in line


def test_help_tells_the_exit_codes_and_every_command() -> None:
    done = subprocess.run([HONED, "--help"], capture_output=True, text=True, check=True)
    assert "5  overloaded, unreachable" in done.stdout
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_of_itself_what_help_says(name: str) -> None:
    command = get_command(import_module(f"honed.commands.{name}").app)
    assert command.get_short_help_str(limit=100) == COMMANDS[name]


def test_serving_without_the_server_extra_is_one_sentence() -> None:
    packages = ("numpy", "onnxruntime", "structlog", "apsw")
    hide = f"sys.modules.update(dict.fromkeys({packages}))"
    code = f"import sys; {hide}; from honed.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "install honed[server]" in line
