"""What `import honed` promises to everybody who depends on it."""

import subprocess
import sys

from google.protobuf.message_factory import GetMessageClass

import honed
from clients.scripted import SERVICES
from honed import _rpcs


def _loaded_after(statement: str, *names: str) -> set[str]:
    code = f"import sys; {statement}; print(*({names!r} & sys.modules.keys()))".replace(
        repr(names), repr(set(names))
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_sdk_loads_no_heavy_and_no_command_line_package() -> None:
    assert not _loaded_after("import honed", "torch", "numpy", "typer", "rich", "click")


def test_a_command_loads_only_its_own_module() -> None:
    loaded = _loaded_after(
        "from honed.cli import app; from typer.main import get_command;"
        "get_command(app).commands['predict']",
        "honed.commands.predict",
        "honed.commands.feedback",
        "honed.commands.serve",
        "honed_server",
    )
    assert loaded == {"honed.commands.predict"}


def test_the_public_names_exist_and_are_few() -> None:
    assert len(honed.__all__) <= 36
    assert all(hasattr(honed, name) for name in honed.__all__)


def test_the_table_of_calls_agrees_with_the_protocol() -> None:
    table = {
        (rpc.service, rpc.method): (rpc.request, rpc.response, rpc.uploads, rpc.streams)
        for rpc in _rpcs.ALL
    }
    protocol = {
        (service.full_name, method.name): (
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
            method.client_streaming,
            method.server_streaming,
        )
        for service in SERVICES
        for method in service.methods
    }
    assert table == protocol
