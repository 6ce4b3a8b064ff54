"""Learning as a picture: accuracy by labels learned, a panel for each stream, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT, _ACROSS = 360, 210, 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 30, 24
_COLOURS = ("#3f51b5", "#e65100", "#2e7d32", "#8d6e63", "#ad1457", "#00838f", "#616161")
_FONT = 'font-family="sans-serif" font-size="11" fill="#777"'
_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)


def svg(results: Mapping[str, Any]) -> str:
    """Draws the curves of the first seed of every contestant."""
    names = list(dict.fromkeys(run["name"] for run in results["runs"]))
    streams = list(dict.fromkeys(run["stream"] for run in results["runs"]))
    legend = 18 * len(names) + 8
    rows = -(-len(streams) // _ACROSS)
    width, height = _WIDTH * _ACROSS, legend + rows * _HEIGHT
    lines = list(_legend(names))
    for place, stream in enumerate(streams):
        x, y = _WIDTH * (place % _ACROSS), legend + _HEIGHT * (place // _ACROSS)
        runs = [run for run in results["runs"] if run["stream"] == stream]
        lines += [f'<g transform="translate({x},{y})">', *_panel(stream, runs, names), "</g>"]
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
    body = "\n".join(lines)
    return f"<svg {frame}>\n<title>Accuracy by labels learned</title>\n{body}\n</svg>\n"


def _legend(names: Sequence[str]) -> Iterator[str]:
    for at, name in enumerate(names):
        y = 6 + 18 * at
        yield f'<rect x="{_LEFT}" y="{y}" width="12" height="12" fill="{_colour(at)}"/>'
        yield f'<text x="{_LEFT + 18}" y="{y + 10}" {_FONT}>{escape(name)}</text>'


def _panel(stream: str, runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    most = max(run["curve"][-1][0] for run in runs)
    across = (_WIDTH - _LEFT - _RIGHT) / most
    down = _HEIGHT - _TOP - _BOTTOM
    yield f'<text x="{_LEFT}" y="18" {_FONT}>{escape(stream)}</text>'
    for share in _STEPS:
        y = _TOP + down * (1 - share)
        yield f'<path d="M{_LEFT} {y:.0f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.0f}" text-anchor="end" {_FONT}>{share:g}</text>'
    end = f'x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end"'
    yield f"<text {end} {_FONT}>{most} labels</text>"
    for run in runs:
        points = " ".join(
            f"{_LEFT + labels * across:.1f},{_TOP + down * (1 - share):.1f}"
            for labels, share in run["curve"]
        )
        colour = _colour(names.index(run["name"]))
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]
