"""A result as one HTML page that needs nothing else: `page.html` with its style, script and data.

Curves are read from the histograms in the result, so that the page can be made from the JSON alone.
"""

import html as markup
import json
from importlib.resources import files
from typing import Any

from honed_loadtest import histogram
from honed_loadtest.result import Document

_PARTS = files("honed_loadtest") / "page"


def html(found: Document) -> str:
    """The page of a result."""
    text = (_PARTS / "page.html").read_text(encoding="utf-8")
    fillings = {
        "title": markup.escape(f"honed bench {found['scenario']}"),
        "style": (_PARTS / "page.css").read_text(encoding="utf-8"),
        "script": (_PARTS / "page.js").read_text(encoding="utf-8"),
        "data": _embedded(found | {"curves": [_curve(arm) for arm in found["arms"]]}),
    }
    for name, filling in fillings.items():
        text = text.replace(f"{{{{ {name} }}}}", filling)
    return text


def _curve(arm: dict[str, Any]) -> list[tuple[float, float]]:
    """(percentile, milliseconds) of an arm's latency; empty if nothing was answered."""
    return histogram.curve(arm["latency"]["histogram"]) if arm["latency"] else []


def _embedded(data: Document) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(data).replace("<", "\\u003c")
