"""What mkdocs calls while it builds the site: pages from outside docs/, links, made tables.

`mkdocs.yml` names this file. A page says where a table goes with `<!-- made: settings -->`; it is
made from the code at each build, so that it cannot drift, and never committed.
"""

import os.path
import re
from pathlib import Path, PurePosixPath
from typing import Any

from command_reference import command_reference
from grpc_reference import grpc_reference
from server_reference import error_table, metric_table, setting_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# Pages that live where a reader of the repository looks for them.
_PAGES = {
    "index.md": "README.md",
    "examples.md": "examples/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
_MADE = {
    "commands": command_reference,
    "errors": error_table,
    "grpc": grpc_reference,
    "metrics": metric_table,
    "settings": setting_table,
}


def on_files(files: Any, config: Any) -> None:
    """Adds the pages from outside docs/ and the list of decisions."""
    from mkdocs.structure.files import File

    for page, source in _PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    decisions = File.generated(config, "decisions/index.md", content=_decisions())
    files.append(decisions)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Points links at pages of the site and puts made tables in their places."""
    uri = page.file.src_uri
    source = PurePosixPath(_PAGES.get(uri, f"docs/{uri}"))
    relinked = re.sub(
        r"\]\((?!\w+:)([^)#\s]+)", lambda link: f"]({_link(link[1], source, uri)}", markdown
    )
    return re.sub(r"<!-- made: (\w+) -->", lambda marker: _MADE[marker[1]](), relinked)


def _link(link: str, source: PurePosixPath, uri: str) -> str:
    """A link of the repository's file `source` as one of the site's page `uri`."""
    target = os.path.normpath(source.parent / link)
    pages = {path: page for page, path in _PAGES.items()} | {"docs/decisions": "decisions/index.md"}
    page = pages.get(target, target.removeprefix("docs/"))
    return os.path.relpath(page, PurePosixPath(uri).parent)


def _decisions() -> str:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    titles = (path.read_text().partition("\n")[0].lstrip("# ") for path in pages)
    links = (f"- [{title}]({path.name})" for title, path in zip(titles, pages, strict=True))
    return "\n".join(
        ["# Decisions\n", "Why things are as they are, one short page each.\n", *links]
    )
