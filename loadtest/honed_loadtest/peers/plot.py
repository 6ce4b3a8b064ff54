"""The comparison as a picture: answers a second of each server with its best settings, as SVG."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from honed_loadtest.peers.entries import HONED

_WIDTH, _LEFT, _RIGHT = 760, 130, 60
_BAR, _GAP, _TOP = 13, 14, 42
_SHADES = {"32": "#3f51b5", "8": "#8c9eff", "1": "#c5cae9"}
_FONT = 'font-family="sans-serif" font-size="12" fill="#777"'


def svg(results: Mapping[str, Any]) -> str:
    """Draws bars for each server, most answers at the largest concurrency first."""
    servers = [server for server in results["servers"] if server["last"]]
    servers.sort(key=lambda server: -_per_s(server, "32"))
    scale = (_WIDTH - _LEFT - _RIGHT) / max(_per_s(s, c) for s in servers for c in _SHADES)
    height = _TOP + len(servers) * (len(_SHADES) * _BAR + _GAP)
    lines = [*_legend(), *(line for n, s in enumerate(servers) for line in _bars(n, s, scale))]
    body = "\n".join(lines)
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
    return f"<svg {frame}>\n<title>Answers a second</title>\n{body}\n</svg>\n"


def _per_s(server: Mapping[str, Any], concurrency: str) -> float:
    return float(server["closed"][concurrency]["per_s"]["median"])


def _legend() -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="16" {_FONT}>answers a second at concurrency</text>'
    for n, (concurrency, shade) in enumerate(_SHADES.items()):
        x = _LEFT + 210 + 60 * n
        yield f'<rect x="{x}" y="6" width="12" height="12" fill="{shade}"/>'
        yield f'<text x="{x + 18}" y="16" {_FONT}>{concurrency}</text>'


def _bars(place: int, server: Mapping[str, Any], scale: float) -> Iterator[str]:
    top = _TOP + place * (len(_SHADES) * _BAR + _GAP)
    precision = f" {server['variant']}" if server["name"] == HONED else ""
    name, middle = escape(server["name"] + precision), top + len(_SHADES) * _BAR / 2 + 4
    yield f'<text x="{_LEFT - 10}" y="{middle:.0f}" text-anchor="end" {_FONT}>{name}</text>'
    for n, (concurrency, shade) in enumerate(_SHADES.items()):
        per_s, y = _per_s(server, concurrency), top + n * _BAR
        width = per_s * scale
        yield f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" fill="{shade}"/>'
        yield f'<text x="{_LEFT + width + 5:.0f}" y="{y + 10}" {_FONT}>{per_s:.0f}</text>'
