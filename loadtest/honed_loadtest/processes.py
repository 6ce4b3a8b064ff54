"""What Linux tells about other processes: their memory, their CPU time, their children."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory in MB: `rss_mb`, and `pss_mb`, where shared pages count by their share."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = round(int(value.split()[0]) * 1024 / 1e6, 1)
    return {"rss_mb": fields["Rss"], "pss_mb": fields["Pss"]}


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of all threads so far."""
    # The name, which may hold blanks, ends at the last parenthesis; utime is field 14.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def child_running(pid: int, words: str) -> int | None:
    """The child process whose command line contains `words`, if there is one."""
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in listing.read_text().split():
            if words.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None
