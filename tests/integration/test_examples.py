"""The examples tell true stories, and the notebook runs from top to bottom.

The customer-service example is run by tests/test_docs_commands.py: its page shows the story.
"""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from harness import running
from shared_data import data_file

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "first_steps.ipynb"


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with running(tmp_path_factory.mktemp("home"), example=False) as server:
        yield server.target


def run(name, target, *flags):
    command = [sys.executable, EXAMPLES / name, "--target", target, *flags]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "data"),
    [("finance.py", "banking77/train.csv"), ("chinese.py", "kdconv_zh/train.csv")],
)
def test_with_real_data(target, name, data):
    done = run(name, target, "--data", data_file(data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok: ") == 3


def test_an_expectation_that_does_not_hold_ends_an_example_with_1(target, tmp_path):
    """Texts that say nothing about their labels: nobody could get 80 % right."""
    rows = [f"text number {number},label {number % 20}" for number in range(60)]
    (tmp_path / "noise.csv").write_text("\n".join(["text,label", *rows]))
    done = run("customer_service.py", target, "--data", tmp_path / "noise.csv")
    assert done.returncode == 1
    assert "FAILED: 0% of 110" in done.stdout


def test_missing_data_is_one_sentence(target, tmp_path):
    done = run("finance.py", target, "--data", tmp_path / "none.csv")
    assert done.returncode == 2
    assert "examples/README.md says where to get it" in done.stderr


def test_the_notebook_runs(target, monkeypatch):
    monkeypatch.setenv("HONED_TARGET", target)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(EXAMPLES)}}
    NotebookClient(notebook, timeout=60, resources=resources).execute()
    tombstones = notebook.cells[-2].outputs[0].data["text/plain"]
    assert tombstones.count("'deleted', '', 'me'") == 2


def test_the_notebook_is_committed_without_outputs():
    code = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if "outputs" in cell]
    assert code
    assert [cell for cell in code if cell.outputs or cell.execution_count is not None] == []
