"""Take the one file out of a ``multipart/form-data`` body, whatever else the body is made of.

The parser is python-multipart's. It bounds the headers of a part; here the number of parts is bounded, and what makes
it look at single bytes in Python: lines that begin with the boundary, and blanks after one. 64 MB of these took it 20
seconds of processor time, and of an image it takes 10 milliseconds.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from app.errors import MalformedMultipart, MissingFile, TooManyFiles

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_PARTS: Final = 32
_MAX_BLANKS: Final = 64
_PIECE_BYTES: Final = 2**16
"""Parsed at a time: the worst body keeps the event loop for some 25 ms."""


@dataclass(slots=True)
class _Part:
    disposition: bytes = b""
    name: bytes = b""
    is_file: bool = False
    pieces: list[bytes] = field(default_factory=list)


class _Form:
    """What the parser finds."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._header_name = self._header_value = b""

    def on_part_begin(self) -> None:
        if len(self.parts) == _MAX_PARTS:
            raise MalformedMultipart(f"The multipart form has more than {_MAX_PARTS} parts. Send one, with the image.")
        self.parts.append(_Part())

    def on_header_begin(self) -> None:
        self._header_name = self._header_value = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self.parts[-1].disposition = self._header_value
        self._header_name = self._header_value = b""

    def on_headers_finished(self) -> None:
        part = self.parts[-1]
        _, options = parse_options_header(part.disposition)
        if b"name" not in options:
            raise MalformedMultipart("A part of the multipart form has no Content-Disposition with a name.")
        part.name, part.is_file = options[b"name"], b"filename" in options
        if len(self.files) > 1:
            self.files[0].pieces.clear()  # It will be refused.

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if len(self.files) == 1 and self.parts[-1].is_file:
            self.parts[-1].pieces.append(data[start:end])

    def on_end(self) -> None:
        self.ended = True

    @property
    def files(self) -> list[_Part]:
        return [part for part in self.parts if part.is_file]

    def only_file(self, name: str) -> bytes:
        if not self.ended:
            raise MalformedMultipart("The multipart form ends before its closing boundary. Send it whole.")
        files = self.files
        if len(files) > 1:
            raise TooManyFiles(f"Received {len(files)} files. Send one image a request, in the field '{name}'.")
        if not files or files[0].name != name.encode():
            raise MissingFile(f"Received {self._describe(name)}. Send one image as a file in the field '{name}'.")
        return b"".join(files[0].pieces)

    def _describe(self, name: str) -> str:
        if name.encode() in (part.name for part in self.parts):
            return f"text in the field '{name}', where a file with a file name belongs"
        count = len(self.parts)
        return f"{count} other field{'s' * (count != 1)}" if count else "an empty form"


async def read_file(content_type: str, body: AsyncGenerator[bytes, None], name: str) -> bytes:
    """Read the only file of a form.

    Args:
        content_type: The header's value.
        body: Is consumed.
        name: Of the field that holds the file.

    Raises:
        RequestError: Not parseable, without the file, or with several.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedMultipart("The body is declared multipart/form-data, without the boundary between its parts.")
    form = _Form()
    try:
        parser = MultipartParser(boundary, _callbacks(form))
        lines = 0
        async for chunk in body:
            for start in range(0, len(chunk), _PIECE_BYTES):
                piece = chunk[start : start + _PIECE_BYTES]
                lines += piece.count(b"\r\n--" + boundary)
                if lines > 2 * _MAX_PARTS or _is_blank(parser, piece):
                    raise MalformedMultipart("The multipart form has too many boundaries, or blanks after one.")
                parser.write(piece)
    except FormParserError as error:
        raise MalformedMultipart(
            "The body is declared multipart/form-data but cannot be parsed as such. Send it as `curl -F` does."
        ) from error
    return form.only_file(name)


def _callbacks(form: _Form) -> "MultipartCallbacks":
    return {
        "on_part_begin": form.on_part_begin,
        "on_header_begin": form.on_header_begin,
        "on_header_field": form.on_header_field,
        "on_header_value": form.on_header_value,
        "on_header_end": form.on_header_end,
        "on_headers_finished": form.on_headers_finished,
        "on_part_data": form.on_part_data,
        "on_end": form.on_end,
    }


def _is_blank(parser: MultipartParser, piece: bytes) -> bool:
    """Return whether blanks that fill up a boundary's line go on in this piece, and on."""
    return parser.state == MultipartState.BOUNDARY_PADDING and not piece[:_MAX_BLANKS].strip(b" \t")
