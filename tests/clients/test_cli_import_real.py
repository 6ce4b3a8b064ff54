"""Importing thousands of rows into a real server: nothing doubles, nothing is held in memory."""

import re
import subprocess
import sys
from pathlib import Path
from time import sleep

from clients.commands import HONED, honed_at
from harness import ServerProcess, running

ROWS = 5_000
# Runs the command and says on standard error how much memory it needed at most, in KiB.
MEASURED = """
import re, sys
from pathlib import Path
from honed.cli import app
try:
    app()
finally:
    print(*re.findall("VmHWM.*", Path("/proc/self/status").read_text()), file=sys.stderr)
"""


def _file(folder: Path, rows: int, length: int = 20) -> Path:
    path = folder / f"{rows}.csv"
    lines = (f"row {number} {'x' * length},label {number % 20}\n" for number in range(rows))
    path.write_text("text,label\n" + "".join(lines))
    return path


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    with running(tmp_path / "home", adapt=False, example=False) as server:
        honed_at(server.target)("models", "create", "many")

        def peak_kib(file: Path) -> int:
            command = ["--target", server.target, "feedback", "import", "many", str(file)]
            done = subprocess.run(
                [sys.executable, "-c", MEASURED, *command], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            found = re.search(r"VmHWM:\s+(\d+)", done.stderr)
            assert found is not None
            return int(found[1])

        few, many = peak_kib(_file(tmp_path, 600, 4000)), peak_kib(_file(tmp_path, ROWS, 4000))
        assert server.server.catalogue.log.last_position("many") >= ROWS
    assert many - few < 8 * 1024  # the file has 20 MiB


def test_a_server_that_is_killed_and_comes_back_gets_every_row_once(tmp_path: Path) -> None:
    home, file = tmp_path / "home", _file(tmp_path, ROWS)
    server = ServerProcess(home, "--no-adapt", "--no-example")
    port = server.target.rpartition(":")[2]
    with server.client() as client:
        client.create_model("many")
        command = [HONED, "--target", server.target, "feedback", "import", "many", str(file)]
        with subprocess.Popen(
            [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as importing:
            while client.get_model("many").log_position < ROWS // 10:
                sleep(0.02)
            server.kill()
            server = ServerProcess(home, "--no-adapt", "--no-example", "--port", port)
            out, err = importing.communicate(timeout=60)
        assert importing.returncode == 0, err
        assert "trying again for 60 s" in err
        recorded = [record.text for record in client.list_feedback("many", page_size=1000)]
    server.stop()
    assert len(recorded) == len(set(recorded)) == ROWS
    assert f'"rows": {ROWS}' in out
