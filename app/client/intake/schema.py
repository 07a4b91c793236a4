"""The ledger's tables."""

import sqlite3
from typing import Final

_APPLICATION_ID: Final = 0x43585249
"""In the file's header: "CXRI"."""

_SCHEMA_VERSION: Final = 1

_SCHEMA: Final = f"""
CREATE TABLE runs (id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, url TEXT NOT NULL);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL,          -- absolute, in the file system's own bytes
    sha256 TEXT NOT NULL,        -- of the content
    model_digest TEXT NOT NULL,
    options TEXT NOT NULL,
    given BLOB NOT NULL,         -- the path as the caller last spelled it
    outcome TEXT NOT NULL CHECK (outcome IN ('answered', 'refused')),
    body TEXT NOT NULL,          -- JSON: the prediction as it came, or the error
    heatmap BLOB,                -- path of the saved overlay
    recorded_at TEXT NOT NULL,
    recorded_run INTEGER NOT NULL,
    seen_run INTEGER NOT NULL,   -- the last run that came by
    UNIQUE (path, sha256, model_digest, options)
);
CREATE TABLE failures (          -- not final: the next run tries again
    path BLOB PRIMARY KEY,
    given BLOB NOT NULL,
    body TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    run INTEGER NOT NULL
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_SCHEMA_VERSION};
"""


def has_tables(db: sqlite3.Connection) -> bool:
    """Make the tables in an empty database; tell whether they are there and of this version."""
    [tables] = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if not tables:
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        return True
    [application_id] = db.execute("PRAGMA application_id").fetchone()
    [version] = db.execute("PRAGMA user_version").fetchone()
    return (application_id, version) == (_APPLICATION_ID, _SCHEMA_VERSION)
