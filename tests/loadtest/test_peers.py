"""The comparison is measured end to end, with the naive queue: it needs no other environment."""

from honed_loadtest import report
from honed_loadtest.figures.__main__ import main as figures
from honed_loadtest.peers.__main__ import main


def test_the_naive_queue_serves_what_honed_serves(small_encoder, small_data, tmp_path, capsys):
    recorded = tmp_path / "results"
    small_data("banking77", 7)
    assert main(["--quick", "--output", str(recorded)]) == 0
    document = report.Document.read(recorded / "peers.json")
    found = document.results
    assert [(each["name"], each["variant"]) for each in found["servers"]] == [
        ("Honed", "fp32"), ("naive grpc.aio", "wait 5 ms"), ("naive grpc.aio", "no wait"),
        ("naive grpc.aio", "sorted"),
    ]  # fmt: skip
    for server in found["servers"]:
        assert server["same_labels"] == 28, "every text there is"
        assert server["pss_mb"]["median"] > 10
        assert all(of["per_s"]["median"] > 1 for of in server["closed"].values())
        assert not any(of["errors"] for of in server["closed"].values())
    # The naive queue does not count, so there is nobody to be the best.
    assert document.faults[0] == "only 0 peers ran, of 4 that are needed"
    assert set(found["best"]["by settings alone"].values()) == {None}
    assert "not valid: only 0 peers" in capsys.readouterr().err
    page = recorded / "page.md"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    assert figures(["--render", "--output", str(recorded), "--page", str(page)]) == 0
    assert "naive grpc.aio" in page.read_text()
    assert (recorded / "peers.svg").read_text().count("<rect") == 3 + 2 * 3
