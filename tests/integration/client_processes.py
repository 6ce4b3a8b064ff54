"""Client processes that ask a server until the test is done, and write down what they saw."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

# Asks `target` for `models` under a name, writing one line for each answer, until the event.
Ask = Callable[[str, list[str], str, Path, Event], None]


@contextmanager
def asking(
    script: str, target: str, models: Sequence[str], folder: Path, processes: int, threads: int
) -> Iterator[None]:
    """Runs a client script, in this folder, in several processes until the end of the block."""
    folder.mkdir()
    here = Path(__file__).parent
    command = [sys.executable, str(here / script), target, ",".join(models), str(folder)]
    path = os.pathsep.join([str(here), str(here.parent)])
    started = [
        subprocess.Popen(
            [*command, f"c{n}", str(threads)],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        for n in range(processes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.communicate(timeout=60)
    assert [process.returncode for process in started] == [0] * processes


def run(ask: Ask) -> None:
    """What such a script does: several threads ask until the test closes the input."""
    target, models, folder, name, threads = sys.argv[1:]
    stop = Event()
    askers = [
        Thread(
            target=ask,
            args=(
                target,
                models.split(","),
                f"{name}.{n}",
                Path(folder) / f"{name}.{n}.jsonl",
                stop,
            ),
        )
        for n in range(int(threads))
    ]
    for asker in askers:
        asker.start()
    sys.stdin.read()
    stop.set()
    for asker in askers:
        asker.join()


def lines(folder: Path) -> list[str]:
    """All that the clients wrote."""
    files = sorted(folder.glob("*.jsonl"))
    return [line for file in files for line in file.read_text().splitlines()]
