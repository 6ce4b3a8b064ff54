"""The learning suite on files that nobody has seen: what is read, left out and measured."""

import gzip
from pathlib import Path

import pytest

from honed_loadtest import report
from honed_loadtest.errors import BenchError
from honed_loadtest.learning import material, rounds
from honed_loadtest.learning.__main__ import main
from honed_loadtest.learning.catalogue import DATED_FORMS, FILE_FORMS, HONED, Plan
from honed_loadtest.learning.jobs import Job, of_data
from honed_loadtest.learning.preparing import VECTORS, prepared
from honed_loadtest.learning.work import do

PLAN = Plan(environments=False)
MONTHS = [f"2018-{at + 1:02}" for at in range(12)]


def _rows(count: int = 20, classes: int = 2, dates: list[str] | None = None) -> str:
    """A file of rows by class in turn; dates are taken in turn, too."""
    lines = ["date,text,label" if dates else "text,label"]
    for at in range(count):
        date = f"{dates[at % len(dates)]}," if dates else ""
        lines.append(f"{date}{'word ' * (at % 4 + 1)}number {at},c{at % classes}")
    return "\n".join(lines) + "\n"


def _file(folder: Path, content: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


REFUSED = {
    "missing": (None, "No such file or directory"),
    "empty": ("", "must name the columns text and label"),
    "header only": ("text,label\n", "holds no labels: no rows"),
    "other columns": ("text;label\na;x\n", "'text;label': it must name the columns text and label"),
    "column twice": ("text,text,label\na,b,x\n", "each once"),
    "latin-1": (_rows().encode() + "café,c1\n".encode("latin-1"), "line 22: not UTF-8"),
    "utf-16": (_rows().encode("utf-16"), "line 1: not UTF-8"),
    "quote never closed": (_rows() + '"never closed,c1\nb,c0\n', "begins in line 22 is no CSV"),
    "cell without end": (_rows() + "x" * (1 << 24) + "y,c1\n", "begins in line 22 is no CSV"),
    "one label": (_rows(classes=1), "all labels are 'c0': there is nothing to tell apart"),
    "American dates": (_rows(dates=["2018-01-02", "1/2/2018"]), "line 3: the date '1/2/2018'"),
    "month 13": (_rows(dates=["2018-13"]), "line 2: the date '2018-13' is not ISO 8601"),
    "partly dated": (_rows(dates=["2018", "2018", ""]), "line 4: no date, but other rows have one"),
    "all rows bad": ("text,label\n,x\n,y\n", "holds no labels: 2 rows left out: text holds"),
    "one text": ("text,label\n" + "same,x\nsame,y\n" * 9, "nothing can be measured: 2 labels"),
    "two rows": (_rows(2), "nothing can be measured: 2 labels or more are needed to learn"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_file_of_labels_is_refused_with_its_line(
    small_encoder, tmp_path, capsys, content, said
):
    path = tmp_path / "mine.csv" if content is None else _file(tmp_path, content)
    assert main(["--csv", str(path), "--quick", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "HONED_DATA" not in error
    assert error.startswith((str(path), "nothing can be measured"))
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("kept", [slice(0, -40), slice(30, None)], ids=["cut off", "beheaded"])
def test_a_damaged_gzip_file_is_refused(tmp_path, kept):
    path = _file(tmp_path, gzip.compress(_rows(500).encode())[kept], "mine.csv.gz")
    with pytest.raises(BenchError, match="not a whole gzip file"):
        material.of_file(path)


def test_a_folder_and_streams_beside_a_file_are_refused(tmp_path, capsys):
    assert main(["--csv", str(tmp_path)]) == 2
    assert main(["banking77", "--csv", str(_file(tmp_path, _rows()))]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "no regular file" in first
    assert "not both" in second


def test_the_named_file_is_read_and_not_the_one_beside_it(tmp_path):
    plain = _file(tmp_path, _rows(20))
    packed = _file(tmp_path, gzip.compress(_rows(30).encode()), "mine.csv.gz")
    read = {path: material.of_file(path) for path in (plain, packed)}
    assert [len(one.train) + len(one.test) for one in read.values()] == [20, 30]
    assert {one.name for one in read.values()} == {"mine"}


def test_a_file_named_like_a_data_set_is_not_taken_for_it(tmp_path):
    path = _file(tmp_path, _rows(dates=MONTHS), "arxiv_stream.csv")
    data = material.of_file(path)
    assert data.name == "arxiv_stream.csv"
    assert rounds.periods(data)[-1] == "end"
    assert {job.name for job in of_data(str(path), DATED_FORMS, (), Plan())} == {data.name}


def test_spreadsheets_files_are_read_and_faulty_rows_are_left_out_and_told_of(tmp_path):
    faulty = "alone\na,b,c0\n,c1\nx,\nx, c1\na\x00b,c1\n" + "long " * 20_000 + ",c1\n"
    data = material.of_file(_file(tmp_path, b"\xef\xbb\xbf" + (_rows() + faulty).encode()))
    assert len(data.train) + len(data.test) == 20
    assert data.skipped == (
        "2 rows left out: not as many cells as the header has: quote texts that hold commas "
        "(lines 22, 23)",
        "1 row left out: text holds nothing to classify; send at least one visible character "
        "(line 24)",
        "2 rows left out: label must be a label name without blanks around it (lines 25, 26)",
        "1 row left out: text holds the control character U+0000 at character 1; remove it or "
        "decode the text correctly (line 27)",
        "1 row left out: text has 100000 bytes, at most 65536 are allowed; shorten it (line 28)",
    )


def test_a_text_is_on_one_side_only(tmp_path):
    rows = "".join(f"text {at % 40},c{at % 3}\n" for at in range(400))
    data = material.of_file(_file(tmp_path, "text,label\n" + rows))
    learned, asked = {said.text for said in data.train}, {text for text, _ in data.test}
    assert len(learned) == 32
    assert len(asked) == 8
    assert not learned & asked
    assert len(data.train) + len(data.test) == 400


def test_rows_come_in_the_order_of_time_and_else_of_the_file(tmp_path):
    dates = ["2018-02", "2017", "2018-02-01T11:00Z", "2018-02-01T12:30+02:00", "2018-02",
             "20180201"]  # fmt: skip
    text = "".join(f"{date},{at},c{at % 2}\n" for at, date in enumerate(dates))
    data = material.of_file(_file(tmp_path, "date,text,label\n" + text))
    assert [said.text for said in data.train] == ["1", "0", "4", "5", "3", "2"]
    assert data.test == ()


def test_a_blank_column_of_dates_is_none(tmp_path):
    data = material.of_file(_file(tmp_path, _rows(dates=[" "])))
    assert not data.dated
    assert data.test


@pytest.mark.parametrize(
    ("dates", "wanted"),
    [
        (MONTHS, ("2018-10", "2018-11", "end")),
        (["2016", "2017", "2018"], ("2018", "end")),
        (["2016"] * 9 + ["2017"], ("2017", "end")),
        (["2016"] * 7 + ["2017", "2018", "2018"], ("2018", "end")),
        (["2017", *["2018"] * 9], ("2018", "end")),
        (["2018"], ()),
    ],
)
def test_periods_are_distinct_and_rows_are_before_and_in_each(tmp_path, dates, wanted):
    data = material.of_file(_file(tmp_path, _rows(100, 3, dates)))
    assert rounds.periods(data) == wanted


def _possible(folder: Path, content: str) -> tuple[list[Job], dict[tuple[str, str], str]]:
    path = _file(folder, content)
    data = material.of_file(path)
    forms = DATED_FORMS if data.dated else FILE_FORMS
    jobs = list(of_data(str(path), forms, rounds.periods(data), PLAN))
    possible, missing = prepared(jobs, PLAN, folder)
    return possible, {(where, who): why for where, who, why in missing}


def test_forms_and_contestants_that_a_file_is_too_small_for_are_named(small_encoder, tmp_path):
    _, small = _possible(tmp_path, _rows(10))
    assert small.pop(("all", "adaptive-classifier")) == "environments are left out of this run"
    assert small.pop(("mine/out-of-scope", "")).startswith("2 labels or more are needed to learn")
    needs = "it answers once it has 125 labels, and there are 8"
    assert small.pop(("mine/first labels", "SetFit, refitted")) == needs
    assert {who for _, who in small} == {"logistic regression, refitted"}
    _, year = _possible(tmp_path, _rows(200, 3, ["2018"]))
    assert year.pop(("rounds mine", "")).startswith("all rows have one date")
    assert set(year) == {("all", "adaptive-classifier"), ("all", "SetFit, refitted")}
    rows = "".join(f"{2000 + at // 50},{at},c{at // 50}\n" for at in range(100))
    _, by_class = _possible(tmp_path, "date,text,label\n" + rows)
    assert by_class["rounds mine 2001 to end", ""] == (
        "2 labels or more are needed to train on, and there is 1"
    )


@pytest.mark.parametrize(("count", "classes"), [(10, 2), (10, 60), (60, 3)])
@pytest.mark.parametrize("dates", [None, ["2018-02", "2018-01"]], ids=["undated", "months"])
def test_every_job_that_is_possible_on_a_small_file_is_done(
    small_encoder, tmp_path, count, classes, dates
):
    jobs, _ = _possible(tmp_path, _rows(count, classes, dates))
    streams = [job for job in jobs if job.kind == "stream"]
    for job in streams:
        found = do(job, PLAN, tmp_path / VECTORS)
        assert 0 <= found["stream"] <= 1
        assert found["labels"] >= 2
    assert {job.contestant for job in streams} >= {HONED, "river softmax"}


def test_a_dated_file_is_measured_and_what_it_lacks_is_listed(small_encoder, tmp_path, capsys):
    path = _file(tmp_path, _rows(12, 2, MONTHS) + "only one cell\n", "mine [a].csv")
    assert main(["--csv", str(path), "--quick", "--output", str(tmp_path)]) == 0
    found = report.Document.read(tmp_path / "learning.json").results
    own = [run["stream"] for run in found["runs"] if run["name"] == HONED]
    assert own == ["mine [a]/by-date", "mine [a]/first labels"]
    river = [run["stream"] for run in found["runs"] if run["name"] == "river softmax"]
    assert river == ["mine [a]/first labels"]
    why = "1 row left out: not as many cells as the header has: quote texts that hold commas"
    skipped = {"stream": "mine [a]", "contestant": "", "why": f"{why} (line 14)"}
    assert skipped in found["missing"]
    assert {one["contestant"] for one in found["missing"]} >= {"SetFit, refitted"}
    said = capsys.readouterr()
    assert f"not measured: mine [a]: {why} (line 14)\n" in said.err
    assert "mine [a]/first labels" in said.out
    assert main(["--csv", str(path), "--quick", "--alone", "--output", str(tmp_path)]) == 0
    alone = report.Document.read(tmp_path / "learning.json").results["runs"]
    assert {run["name"] for run in alone} == {HONED}
