"""Whether a run measured the server, or the client: what a result must say of itself."""

import numpy as np

from honed_loadtest.load import Outcome

# A Python process that is busy longer than this cannot be relied on to send and note in time.
MAX_BUSY = 0.8
# Requests may be sent this late at p99, or this share of the p99 latency if that is more.
MAX_LATE_S = 0.005
MAX_LATE_SHARE = 0.1


def lateness_s(outcome: Outcome) -> float:
    """How late requests were sent, p99 in seconds; latency counts from when they were due."""
    late = outcome.samples["sent"] - outcome.samples["due"]
    return float(np.percentile(late, 99)) if late.size else 0.0


def faults(outcome: Outcome, unserved: int = 0) -> list[str]:
    """Why the run does not show the server; empty if it does.

    Args:
        outcome: What the clients saw.
        unserved: Labels that were acknowledged and had not been served long after the load.
    """
    latencies_s = outcome.latencies_s
    if not latencies_s.size:
        return ["nothing was answered"]
    found = []
    busy = max(cpu_s / outcome.seconds for cpu_s in outcome.cpus_s)
    if busy > MAX_BUSY:
        found.append(f"a client process was busy {busy:.0%} of the time: use more --processes")
    late_s = lateness_s(outcome)
    limit_s = max(MAX_LATE_S, MAX_LATE_SHARE * float(np.percentile(latencies_s, 99)))
    if late_s > limit_s:
        found.append(
            f"requests were sent late, {late_s * 1e3:.1f} ms at p99 (limit {limit_s * 1e3:.1f}): "
            "use more --processes, a lower rate, or a machine that does nothing else"
        )
    if unserved:
        found.append(f"{unserved} labels were not served, so label to served leaves them out")
    return found
