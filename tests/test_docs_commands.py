"""What the pages show works: a page is one session, its blocks run in order against a real server.

`sh` and `python` blocks run; an `output` block is what the block before it must have printed, with
`...` for what differs each time. What cannot run here says why in a comment, and is counted.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import redirect_stdout
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker

import pytest

from harness import ServerProcess
from pages import GUIDES, ROOT, blocks, name

RUN = {"sh", "python"}
SHOWN = {"output", "text", "toml", "ini"}
# Blocks that start a server, install something, need another machine, or run this test.
NOT_RUN = {
    "README.md": 3,
    "docs/command-line.md": 1,
    "docs/kernels.md": 3,
    "docs/load-testing.md": 2,
    "docs/operations.md": 1,
    "docs/training.md": 3,
    "examples/README.md": 2,
}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """The data folder of a server that has learned its example."""
    home = tmp_path_factory.mktemp("learned") / "home"
    ServerProcess(home).stop()
    return home


@pytest.fixture
def session(learned, tmp_path, monkeypatch):
    """An empty home and working folder with the repository's examples, and a server to ask."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin:{os.environ['PATH']}")
    shutil.copytree(learned, tmp_path / "server")
    server = ServerProcess(tmp_path / "server")
    monkeypatch.setenv("HONED_TARGET", server.target)
    yield
    server.stop()


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_a_page_can_be_followed(page, request):
    to_run = [block for block in blocks(page) if not block.not_run]
    if not any(block.language in RUN for block in to_run):
        return
    request.getfixturevalue("session")
    printed, variables = "", {"__name__": "__main__"}
    for block in to_run:
        if block.language == "sh":
            printed = run_shell(block)
        elif block.language == "python":
            printed = run_python(block, variables)
        elif block.language == "output":
            expected = OutputChecker().check_output(
                block.code, printed, ELLIPSIS | NORMALIZE_WHITESPACE
            )
            assert expected, f"{block.where} shows\n{block.code}\nbut this was printed\n{printed}"


def run_shell(block):
    command = ["bash", "-euo", "pipefail", "-c", block.code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    # On a machine that is too busy to measure, `honed bench` says so and ends with 1.
    busy = "honed bench: not valid: " in done.stderr
    assert done.returncode == int(busy), f"{block.where}\n{block.code}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_python(block, variables):
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.code, block.where, "exec"), variables)
    return printed.getvalue()


def test_every_block_is_run_or_says_why_not():
    found = [block for page in GUIDES for block in blocks(page)]
    assert [block.where for block in found if block.language not in RUN | SHOWN] == []
    assert Counter(block.where.partition(":")[0] for block in found if block.not_run) == NOT_RUN


def test_no_block_escapes_the_search():
    for page in GUIDES:
        fences = re.findall(r"^\s*(?:```|~~~)", page.read_text(), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), name(page)


def test_make_targets_that_pages_name_exist():
    code = "\n".join(block.code for page in GUIDES for block in blocks(page))
    named = set(re.findall(r"^make ([a-z-]+)", code, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named
    assert named <= targets
