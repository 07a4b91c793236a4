"""A memory of what came before that needs no more memory the longer it gets."""

import sqlite3
from hashlib import blake2b


class Once:
    """Remembers digests, and the time each was first seen.

    They are in a private temporary database, of which SQLite keeps a part in memory and writes the rest to a file
    without a name. Digests and no paths, since paths can name patients. For one thread.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID")

    def is_first(self, *parts: str | int) -> bool:
        """Tell whether these come for the first time, and remember them."""
        return self._insert(digest_of(*parts), 0)

    def since(self, digest: bytes, now: float) -> float:
        """Return the time that is remembered for a digest; ``now``, which is then remembered, for a new one."""
        if self._insert(digest, now):
            return now
        [found] = self._db.execute("SELECT since FROM seen WHERE digest = ?", (digest,)).fetchone()
        return float(found)

    def set_since(self, digest: bytes, since: float) -> None:
        """Remember another time for a digest."""
        self._db.execute("UPDATE seen SET since = ? WHERE digest = ?", (since, digest))

    def close(self) -> None:
        """Forget all."""
        self._db.close()

    def _insert(self, digest: bytes, since: float) -> bool:
        return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, since)).rowcount == 1


def digest_of(*parts: str | int) -> bytes:
    """Digest strings, of any bytes that a path can have, and numbers."""
    text = "\0".join(map(str, parts))
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
