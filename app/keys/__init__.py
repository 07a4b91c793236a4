"""API keys: the file they are in, who holds which, and how much each may send.

The file has a line for each key, its name and the key's SHA-256; what follows a ``#`` is a comment. A plain
fast hash is enough because keys are made here, of 256 random bits: nobody can try them out. Source: NIST
SP 800-63B, 5.1.2.2, by which secrets of at least 112 bits of entropy are hashed by an approved one-way function,
and only weaker ones need a salt and a slow one. For the same reason no limit is set on wrong keys.
"""

from app.keys.file import Key, make_key, parse
from app.keys.rate import RateLimit
from app.keys.ring import KeyRing

__all__ = ["Key", "KeyRing", "RateLimit", "make_key", "parse"]
