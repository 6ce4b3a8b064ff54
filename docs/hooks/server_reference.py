"""The server's own code -> tables of its settings, its metrics and the errors it answers with."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from honed import errors as sdk_errors
from honed_adapt.feedback.values import KEY_OF_DELETED, KEY_TAKEN
from honed_server.config import ServerConfig
from honed_server.edge import errors as server_errors
from honed_server.edge.metrics import Metrics

SERVER = Path(__file__).parents[2] / "server/honed_server"
_WORD = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_KINDS = {
    "Path": "path",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "boolean",
}
# Defaults that depend on the machine which builds the site.
_DEFAULTS = {"workers": "one per CPU core"}


def setting_table() -> str:
    """All settings of `honed serve`."""
    rows = [
        (
            f"`{name}`",
            _kind(field),
            _DEFAULTS.get(name) or f"`{_shown(field.default)}`",
            field.description,
        )
        for name, field in ServerConfig.model_fields.items()
    ]
    return _table(("setting", "values", "default", "meaning"), rows)


def _kind(field: Any) -> str:
    choices = [repr(each) for each in get_args(field.annotation) if isinstance(each, str)]
    kind = next(
        (
            words
            for name, words in _KINDS.items()
            if re.search(rf"\b{name}\b", str(field.annotation))
        ),
        "table",
    )
    return ", ".join(choices or [kind, *_range(field.metadata)])


def _range(rules: list[Any]) -> Iterator[str]:
    """What annotated types such as Ge(0) and Le(9) allow: "0 to 9"."""
    bounds = {name: f"{value:,}" for rule in rules for name, value in asdict(rule).items()}
    if "ge" in bounds:
        yield f"{bounds['ge']} to {bounds['le']}" if "le" in bounds else f"from {bounds['ge']}"
    if "gt" in bounds:
        yield f"above {bounds['gt']}"


def _shown(default: object) -> object:
    return str(default).lower() if default is None or isinstance(default, bool) else default


def metric_table() -> str:
    """All series of a server."""
    instruments = [value for value in vars(Metrics()).values() if hasattr(value, "describe")]
    rows = []
    for instrument in instruments:
        (family,) = instrument.describe()
        suffix = "_total" if family.type == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in instrument._labelnames)
        rows.append((f"`{family.name}{suffix}`", family.type, labels, family.documentation))
    return _table(("series", "type", "labels", "what it tells"), rows)


def error_table() -> str:
    """Every reason that the server's code gives, with its status and what it says."""
    messages = defaultdict(set)
    for path in sorted(SERVER.rglob("*.py")):
        for reason, status, message in _reasons(path):
            messages[reason, status].add(message if re.search(r"\w", message) else "")
    rows = [
        (f"`{reason}`", f"`{status}`", f"`{_sdk_error(status)}`", "<br>".join(sorted(said)))
        for (reason, status), said in sorted(messages.items())
    ]
    return _table(("reason", "gRPC status", "SDK error", "message"), rows)


def _reasons(path: Path) -> Iterator[tuple[str, str, str]]:
    """(reason, status, message) of each error of the family that a file makes."""
    module = ast.parse(path.read_text())
    # Words that stand in no `reason=`: they reach one through a parameter or a variable.
    loose = _words(module) - {
        word
        for keyword in ast.walk(module)
        if isinstance(keyword, ast.keyword) and keyword.arg == "reason"
        for word in _words(keyword.value)
    }
    for call in ast.walk(module):
        if not (isinstance(call, ast.Call) and call.args and (kind := _error_kind(call.func))):
            continue
        given = next((word.value for word in call.keywords if word.arg == "reason"), None)
        reasons = {kind.default_reason} if given is None else _words(given)
        for reason in loose if isinstance(given, ast.Name) else reasons:
            yield reason, kind.code.name, _message(call.args[0])
        if kind is server_errors.Conflict and isinstance(given, ast.Attribute):
            for reason in (KEY_OF_DELETED, KEY_TAKEN):
                yield reason, kind.code.name, _message(call.args[0])


def _error_kind(name: ast.expr) -> type[server_errors.ServingError] | None:
    kind = getattr(server_errors, ast.unparse(name).rpartition(".")[2], None)
    known = isinstance(kind, type) and issubclass(kind, server_errors.ServingError)
    return kind if known else None


def _words(node: ast.AST) -> set[str]:
    """The reasons that are written out in a piece of code."""
    texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return {text for text in texts if isinstance(text, str) and _WORD.fullmatch(text)}


def _message(node: ast.expr) -> str:
    """A message as text, with `…` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_message(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _message(node.left) + _message(node.right)
    return "…"


def _sdk_error(status: str) -> str:
    family = [kind for kind in vars(sdk_errors).values() if hasattr(kind, "statuses")]
    return next((kind.__name__ for kind in family if status in kind.statuses), "ServerError")


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    cells = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in cells)
