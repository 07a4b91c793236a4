"""The service as it would be without a fence: uploads are decoded on its own threads."""

import sys

import app.service
from app.__main__ import main
from app.decoding.messages import Terms
from app.decoding.processes import Decoded
from app.imaging import to_square
from app.imaging.decode import decode
from app.overlay import preview_of


class ThreadDecoders:
    """Decodes in the thread that calls, in place of ``app.decoding.decoders.Decoders``."""

    def __init__(self, terms: Terms, *_: object) -> None:
        """Take the terms, and nothing of what fences a process in."""
        self._terms = terms

    def start(self) -> None:
        """Do nothing: there is nothing to start."""

    def close(self) -> None:
        """Do nothing."""

    def decode(self, data: bytes, *, with_preview: bool) -> Decoded:
        """Decode and preprocess one upload."""
        image = decode(data, self._terms.limits)
        square = to_square(image.pixels, version=self._terms.preprocessing_version)
        return Decoded(image.facts, square, preview_of(image.pixels) if with_preview else None)


if __name__ == "__main__":
    app.service.Decoders = ThreadDecoders
    sys.exit(main())
