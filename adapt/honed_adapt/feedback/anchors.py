"""The anchor sets in feedback.sqlite: trusted labels that are never trained on.

Where it stands in the journey: `log.py` calls these in its writer thread; the guard and the
gate read the sets. A set's number grows with each change, so that a decision can name what it used.
"""

from collections.abc import Sequence

import apsw

from honed_adapt.feedback.values import AnchorImport, text_hash


def number(connection: apsw.Connection, model: str) -> int:
    """Number of the anchor set of a model; 0 if it never had one."""
    sql = "SELECT number FROM anchor_sets WHERE model = ?"
    return int(connection.execute(sql, (model,)).get or 0)


def change(
    connection: apsw.Connection, model: str, examples: Sequence[tuple[str, str]], replace: bool
) -> AnchorImport:
    """Add examples to a set, or put them in its place; unchanged sets keep their number."""
    sql = "SELECT text_hash, label FROM anchors WHERE model = ?"
    before: dict[bytes, str] = {row[0]: row[1] for row in connection.execute(sql, (model,))}
    texts = {text_hash(text): text for text, _ in examples}
    wanted = {text_hash(text): label for text, label in examples}
    kept = {} if replace else before
    after = kept | wanted
    changed = [digest for digest, label in wanted.items() if kept.get(digest) != label]
    _drop(connection, model, before.keys() - after.keys())
    for digest in changed:
        _put(connection, model, digest, texts[digest], wanted[digest])
    if after != before:
        _next_number(connection, model)
    return AnchorImport(len(changed), len(after), number(connection, model))


def _put(connection: apsw.Connection, model: str, digest: bytes, text: str, label: str) -> None:
    connection.execute(
        "INSERT INTO anchors (model, text_hash, text, label) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (model, text_hash) DO UPDATE SET label = excluded.label",
        (model, digest, text, label),
    )


def _drop(connection: apsw.Connection, model: str, digests: set[bytes]) -> None:
    where = "WHERE model = ? AND text_hash = ?"
    rows = [(model, digest) for digest in digests]
    # Blanked first: a removal does not wipe the places that rows left when neighbours moved them.
    connection.executemany(f"UPDATE anchors SET text = '', label = '' {where}", rows)
    connection.executemany(f"DELETE FROM anchors {where}", rows)


def _next_number(connection: apsw.Connection, model: str) -> None:
    connection.execute(
        "INSERT INTO anchor_sets (model, number) VALUES (?, 1)"
        " ON CONFLICT (model) DO UPDATE SET number = number + 1",
        (model,),
    )
