"""Idempotency keys of what was deleted: known again when they come, and not to be read.

A key may say what the text was: an import without ids takes the hash of the row, and a short text
is soon guessed. So a tombstone keeps a hash of its key under a secret of this log, which no answer
tells. Whoever can submit can still try a key and hear that it belongs to something deleted; that
is the promise to record nothing twice.
"""

import hmac

import apsw

SCHEMA = """
    CREATE TABLE key_secret (secret BLOB NOT NULL) STRICT;
    INSERT INTO key_secret VALUES (randomblob(32));
    ALTER TABLE log ADD COLUMN key_seal BLOB;
    CREATE UNIQUE INDEX log_seal ON log (model, key_seal) WHERE key_seal IS NOT NULL;
    -- Tombstones of an earlier Honed kept their keys: they are blanked once more.
    UPDATE log SET content_hash = zeroblob(16)
        WHERE deleted_position IS NOT NULL AND idempotency_key IS NOT NULL;
"""


def secret(connection: apsw.Connection) -> bytes:
    """The secret of this log, 32 bytes."""
    found: bytes = connection.execute("SELECT secret FROM key_secret").get
    return found


def seal(of: bytes, model: str, key: str) -> bytes:
    """What a tombstone keeps of a key, 16 bytes.

    Args:
        of: The secret.
        model: Whose key it is; neither it nor a key holds a null character.
        key: The idempotency key.
    """
    return hmac.digest(of, f"{model}\0{key}".encode(), "sha256")[:16]
