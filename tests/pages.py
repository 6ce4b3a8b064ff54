"""The fenced blocks of a page of the documentation."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What users follow; decisions and measurements are records.
GUIDES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples/README.md",
    *sorted(path for path in ROOT.glob("docs/*.md") if path.name != "measurements.md"),
]
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\S*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block: `where` is "page:line", `not_run` the reason if it must not be run here."""

    where: str
    language: str
    code: str
    not_run: str


def name(page: Path) -> str:
    """The page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            f"{name(page)}:{text.count(chr(10), 0, found.start('code')) + 1}",
            found["language"],
            found["code"],
            found["reason"] or "",
        )
        for found in _FENCE.finditer(text)
    ]
