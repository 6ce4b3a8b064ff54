"""The documents tell the truth: what they name exists, and what they show runs."""

import os
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from honed_server.config import ServerConfig
from honed_server.edge.metrics import Metrics

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "examples/README.md"])
# Files that users have.
NOT_IN_THE_REPOSITORY = {
    "honed.toml", "banking_data/train.csv", "banking77/train.csv", "kdconv_zh/train.csv",
}  # fmt: skip


@cache
def names_in_the_tree() -> set[str]:
    """Of all files but those that are made: other tests make and remove such meanwhile."""
    found = set[str]()
    for _, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name[0] != "." and name not in ("build", "dist")]
        found.update(files)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"`([\w./-]+\.(?:py|proto|toml|csv))`", page.read_text())
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    missing = [
        name
        for name in named
        if not (ROOT / name).exists() and not ("/" not in name and name in names_in_the_tree())
    ]
    missing += [link for link in links if not (page.parent / link).exists()]
    assert set(missing) - NOT_IN_THE_REPOSITORY == set()


def test_names_in_the_lifecycle_exist():
    text = (ROOT / "docs/lifecycle.md").read_text()
    names = set(re.findall(r"`([A-Za-z_]+)`", text))
    code = "\n".join(
        path.read_text()
        for folder in ("adapt", "server", "clients", "kernels", "proto")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert {name for name in names if not re.search(rf"\b{name}\b", code)} == set()


def test_every_source_file_of_the_journeys_is_on_the_map():
    text = (ROOT / "docs/lifecycle.md").read_text()
    server = ROOT / "server/honed_server"
    rooms = ("edge", "feedback", "insight", "learning", "models", "rounds", "serving", "trials")
    files = [path for room in rooms for path in (server / room).rglob("*.py")]
    off_the_map = {
        "edge/errors.py", "edge/grpc_server.py", "edge/health.py", "edge/http.py",
        "edge/metrics.py", "models/events.py", "models/registry_rows.py", "models/service.py",
        "serving/prediction_ids.py", "serving/stream.py",
    }  # fmt: skip
    names = {path.relative_to(server).as_posix() for path in files if path.stem != "__init__"}
    assert {name for name in names - off_the_map if name not in text} == set()


def test_settings_shown_in_the_operations_page_are_valid():
    text = (ROOT / "docs/operations.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    ServerConfig(**tomllib.loads(block))


def test_metrics_named_in_the_operations_page_exist():
    text = (ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r"`(honed_[a-z_]+)", text))
    rendered = Metrics().render().decode()
    assert {name for name in named if name not in rendered} == set()
