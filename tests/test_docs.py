"""The documents tell the truth: what they name exists, and what they show runs."""

import re
import tomllib
from pathlib import Path

import pytest

from honed_server.config import ServerConfig
from honed_server.metrics import Metrics

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "examples/README.md"])
# Files that users have.
NOT_IN_THE_REPOSITORY = {
    "honed.toml", "banking_data/train.csv", "banking77/train.csv", "kdconv_zh/train.csv",
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"`([\w./-]+\.(?:py|proto|toml|csv))`", page.read_text())
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    tree = {path.name for path in ROOT.rglob("*") if ".venv" not in path.parts}
    missing = [
        name
        for name in named
        if not (ROOT / name).exists() and not ("/" not in name and name in tree)
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
    server = {path.name for path in (ROOT / "server/honed_server").glob("*.py")}
    off_the_map = {
        "__init__.py", "main.py", "http.py", "health.py", "logs.py", "metrics.py", "events.py",
        "errors.py", "stream.py", "prediction_ids.py", "models_service.py", "grpc_server.py",
        "registry_rows.py",
    }  # fmt: skip
    assert {name for name in server - off_the_map if name not in text} == set()


def test_settings_shown_in_the_operations_page_are_valid():
    text = (ROOT / "docs/operations.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    ServerConfig(**tomllib.loads(block))


def test_metrics_named_in_the_operations_page_exist():
    text = (ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r"`(honed_[a-z_]+)", text))
    rendered = Metrics().render().decode()
    assert {name for name in named if name not in rendered} == set()
