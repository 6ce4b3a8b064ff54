"""The site builds without a warning, works offline, and its reference leaves nothing out."""

import os
import re
import subprocess
import sys
from inspect import getmembers, isfunction
from pathlib import Path

import pytest
from typer.main import get_command

import honed
from honed.cli import app
from honed_proto.v1 import feedback_pb2, inference_pb2, models_pb2
from honed_server.config import ServerConfig
from honed_server.edge.metrics import Metrics

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site. Links and anchors that lead nowhere are warnings, and warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def anchors(page: Path) -> set[str]:
    return set(re.findall(r'id="([^"]+)"', page.read_text()))


def test_nothing_is_fetched_from_elsewhere(site):
    fetched = {
        tag
        for page in site.rglob("*.html")
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text())
        if re.search(r"(?:src|href)=\"(?:https?:)?//", tag)
    }
    assert {tag for tag in fetched if 'rel="canonical"' not in tag} == set()


def test_every_public_name_of_the_sdk_is_described(site):
    found = anchors(site / "reference/python.html")
    names = {name for name in honed.__all__ if not name.startswith("__")}
    methods = {
        f"Client.{name}" for name, _ in getmembers(honed.Client, isfunction) if name[0] != "_"
    }
    assert methods
    assert {name for name in names | methods if f"honed.{name}" not in found} == set()


def test_every_rpc_message_and_enumeration_is_described(site):
    found = anchors(site / "reference/grpc.html")
    names = set()
    for module in (inference_pb2, feedback_pb2, models_pb2):
        file = module.DESCRIPTOR
        names |= set(file.message_types_by_name) | set(file.enum_types_by_name)
        for service in file.services_by_name.values():
            names |= {f"{service.name}.{method.name}" for method in service.methods}
    assert {name for name in names if f"honed.v1.{name}" not in found} == set()


def test_every_setting_is_described(site):
    shown = set(re.findall(r"<code>(\w+)</code>", (site / "reference/settings.html").read_text()))
    assert set(ServerConfig.model_fields) - shown == set()


def test_every_metric_is_described(site):
    shown = set(re.findall(r"<code>(\w+)</code>", (site / "reference/metrics.html").read_text()))
    names = set(re.findall(r"^# HELP (\w+)", Metrics().render().decode(), re.MULTILINE))
    assert {name for name in names if not name.endswith("_created")} - shown == set()


def test_every_reason_in_the_server_is_described(site):
    shown = set(re.findall(r"<code>(\w+)</code>", (site / "reference/errors.html").read_text()))
    files = [path for path in ROOT.glob("server/honed_server/**/*.py") if path.name != "errors.py"]
    code = "\n".join(path.read_text() for path in files)
    words = set(re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"', code))
    variables = {"TOKENIZERS_PARALLELISM", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}
    variables.add("GRPC_VERBOSITY")
    reasons = {word for word in words - variables if not word.startswith("HONED_")}
    assert "HEAD_UNTRAINED" in reasons
    assert reasons - shown == set()


def test_every_command_is_described(site):
    found = anchors(site / "reference/commands.html")
    commands = get_command(app).commands
    names = {
        f"honed-{name}-{child}"
        for name in commands
        for child in getattr(commands[name], "commands", ())
    } | {f"honed-{name}" for name in commands if not getattr(commands[name], "commands", {})}
    assert names - found == set()
