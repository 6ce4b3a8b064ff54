"""What is written down can be read again, and the page keeps what stands around its tables."""

import pytest

from honed_loadtest import report
from honed_loadtest.report import BEGIN, END, Document, Table

DOCUMENT = Document(
    "closed", "python -m honed_loadtest.figures closed", "0123456789abcdef", report.now(),
    report.versions(), report.machine(), {"rounds": 3}, {"per_s": {"median": 1.5}},
)  # fmt: skip


def test_a_document_comes_back_as_it_was_written(tmp_path):
    path = DOCUMENT.write(tmp_path / "results")
    assert path.name == "closed.json"
    assert Document.read(path) == DOCUMENT


def test_a_document_says_what_it_was_made_with_and_on():
    assert set(DOCUMENT.versions) == {"python", "honed", "numpy", "onnxruntime", "grpcio"}
    assert DOCUMENT.machine["cores"] >= 1
    assert DOCUMENT.date.endswith("+00:00")


def test_numbers_are_short_and_ranges_whole():
    assert report.number(3) == "3"
    assert report.number(0.12345, 3) == "0.123"
    assert report.ranged({"median": 2.0, "low": 1.0, "high": 3.04}) == "2.0 (1.0 to 3.0)"
    assert report.ranged({"median": 2.0, "low": 2.0, "high": 2.0}) == "2.0"


def test_a_section_names_its_origin_and_holds_the_table():
    text = report.markdown(DOCUMENT, [Table("Speed", ["what", "n"], [["answers", "7"]])])
    assert "commit `0123456789ab`" in text
    assert "`python -m honed_loadtest.figures closed`" in text
    assert "| what | n |\n| --- | --- |\n| answers | 7 |" in text


def test_only_what_is_between_the_markers_is_replaced():
    page = f"# Head\n\n{BEGIN}\nold\n{END}\n\nNotes stay.\n"
    once = report.put_between_markers(page, "new")
    assert once == f"# Head\n\n{BEGIN}\n\nnew\n\n{END}\n\nNotes stay.\n"
    assert report.put_between_markers(once, "new") == once


@pytest.mark.parametrize("page", ["no markers", f"only {BEGIN}", f"only {END}"])
def test_a_page_without_markers_is_refused(page):
    with pytest.raises(ValueError, match="needs the lines"):
        report.put_between_markers(page, "new")
