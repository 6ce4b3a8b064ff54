"""The story of `make demo` comes out right, and its checks see an answer that was mixed or lost."""

import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from demo import tell_story, verdict
from demo_checks import Story


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    story = Story(Console())
    tell_story(story, tmp_path_factory.mktemp("demo") / "home")
    return story


@pytest.mark.parametrize(
    ("spoiled", "code", "failed"),
    [(None, 0, ""), ("mixed", 1, "1 mixed answers"), ("lost", 1, "1 lost")],
)
def test_the_demo_tells_the_truth(told, spoiled, code, failed):
    page = StringIO()
    copy = replace(
        told,
        console=Console(file=page, width=200),
        answers=list(told.answers),
        sent=dict(told.sent),
        checks=list(told.checks),
    )
    assert verdict(copy, spoiled) == code, page.getvalue()
    assert failed in page.getvalue()
    # As it happens and in the table.
    assert page.getvalue().count("FAILED") == 2 * code, page.getvalue()
