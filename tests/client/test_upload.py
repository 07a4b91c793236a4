"""An image as a body, piece by piece."""

import io
from pathlib import Path

import pytest

from app.client._upload import Upload

DATA = bytes(range(256)) * 4000


def test_a_file_is_read_in_pieces_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(DATA)
    with Upload(path) as upload:
        pieces = list(upload.chunks())
        stream = upload._stream
    assert b"".join(pieces) == DATA
    assert len(pieces) > 1
    assert max(map(len, pieces)) == 2**18
    assert stream.closed


def test_a_stream_is_read_from_where_it_stands_and_left_open() -> None:
    stream = io.BytesIO(DATA)
    stream.seek(1000)
    with Upload(stream) as upload:
        assert upload.headers["Content-Length"] == str(len(DATA) - 1000)
        assert b"".join(upload.chunks()) == DATA[1000:]
    assert not stream.closed


@pytest.mark.parametrize("length", [0, len(DATA) - 1, len(DATA) + 1])
def test_a_file_that_changed_is_not_sent_to_its_end(tmp_path: Path, length: int) -> None:
    path = tmp_path / "image"
    path.write_bytes(DATA)
    sent = bytearray()
    with Upload(path) as upload:
        path.write_bytes((DATA + b"x")[:length])
        with pytest.raises(OSError, match=r"became (shorter|longer) while it was being sent"):
            sent.extend(piece for pieces in upload.chunks() for piece in pieces)
    assert len(sent) < len(DATA)


def test_text_is_no_image() -> None:
    with pytest.raises(TypeError, match="binary mode"):
        Upload(io.StringIO("text"))  # type: ignore[arg-type]
