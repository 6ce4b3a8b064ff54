"""How much processor time learning may take beside serving: decided from what the server reports.

It stands between the server, which knows how busy it is (`messages.Load`), and every process that
learns beside it: the adapt process and the trainers. Priority alone is not enough: work of the
lowest priority still takes caches and memory bandwidth from the core beside it, and is in the way
for as long as it takes to be preempted. Pure: whoever has a clock and a socket drives it.
"""

from honed_adapt.process.messages import Load

FLOORS = {"adapt": 0.25, "spare": 0.05, "trainer": 0.05}
"""Smallest share of a core that each kind of work is ever allowed: it slows down and never stops.

A label is some ten milliseconds of work that somebody waits for; what the adapt process does in
spare time is seconds, and a training round is hours.
"""

IDLE = 2.0
"""Cores that learning may take beside an idle server: as many as a label's work has threads."""

BURST_S = 0.05
"""CPU seconds that are saved up for the next label, so that a lone one never waits for budget."""

_DELAY_S = 0.005  # requests that wait longer than this for a worker are worth stepping back for
_CUT = 0.5
_GROWTH = 0.1


def next_share(share: float, load: Load, floor: float) -> float:
    """How much of a core learning may take after a report.

    Additive growth and multiplicative cut (Chiu and Jain, 1989), between the floor and what the
    engine left idle. A report of an idle server gives all back at once.

    Args:
        share: allowed so far, floor or more.
        load: what the server reports.
        floor: smallest share.

    Returns:
        Share in [floor, 1], or `IDLE`.
    """
    if load.idle >= 1:
        return IDLE
    share = min(share, 1.0)  # beside traffic there is one core for learning
    wanted = share * _CUT if load.delay_s > _DELAY_S else share + _GROWTH
    return max(floor, min(wanted, load.idle))


class Budget:
    """A bucket of CPU seconds that fills by the allowed share and is paid from after each slice.

    Args:
        floor: smallest share of a core, above 0.
        now: seconds of any monotonic clock, here and below the same one.
    """

    def __init__(self, floor: float, now: float) -> None:
        self.share = IDLE
        self._floor = floor
        self._saved_s = BURST_S
        self._at = now

    def hear(self, load: Load, now: float) -> None:
        """Takes in a report."""
        self._fill(now)
        self.share = next_share(self.share, load, self._floor)

    def pay(self, cpu_s: float, now: float) -> None:
        """Takes out what a slice has cost; a debt is waited for before the next slice."""
        self._fill(now)
        self._saved_s -= cpu_s

    def wait_s(self, now: float) -> float:
        """Seconds until the next slice may begin if the share stays; at most debt / floor."""
        self._fill(now)
        return max(0.0, -self._saved_s / self.share)

    def _fill(self, now: float) -> None:
        self._saved_s = min(BURST_S, self._saved_s + self.share * (now - self._at))
        self._at = now
