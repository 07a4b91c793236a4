"""Requests with mutants in them, or that are mutants themselves."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final
from urllib.parse import quote_from_bytes

from tests.fuzz.corpus import seeds
from tests.fuzz.mutate import damage, make_mutant

PREDICT: Final = "/predict"
EXPLAIN: Final = "/explain"
_TARGETS: Final = (PREDICT, PREDICT, PREDICT, PREDICT + "?explain=true&preview=true", EXPLAIN)
_BOUNDARY: Final = b"----a-boundary"
FORM: Final = 'multipart/form-data; boundary="----a-boundary"'
_TEXT: Final = (
    "", "true", "1", "yes", "2", "null", "-1", "\x00", "é", "\udcff", "a" * 3000, "'\"<>", "../", "{}", "[]", "%00"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Posting:
    """A request.

    Attributes:
        origin: What it holds, and what was done to that.
        target: Path and query.
        content_type: Of the body; none is sent if None.
        body: The bytes.
    """

    origin: str
    target: str
    content_type: str | None
    body: bytes


def make_posting(seed: int, number: int) -> Posting:
    """Make a request: the same for the same seed and number."""
    random = Random(f"{seed}:{number}")
    if random.random() < 0.2:
        return _mutate_request(random)
    mutant = make_mutant(random)
    bare = Posting(mutant.origin, random.choice(_TARGETS), "application/octet-stream", mutant.data)
    return bare if random.random() < 0.7 else replace(bare, content_type=FORM, body=form(_part(mutant.data)))


def valid_postings() -> list[Posting]:
    """The corpus itself, as it is."""
    return [Posting(file.name, PREDICT, "application/octet-stream", file.data) for file in seeds()]


def form(*parts: bytes, boundary: bytes = _BOUNDARY) -> bytes:
    """Lay out a form of these parts. Source: RFC 2046, 5.1.1."""
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def _part(content: bytes, name: bytes = b"file", *, head: bytes = b'; filename="a.png"') -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"' + head + b"\r\n\r\n" + content


def _mutate_request(random: Random) -> Posting:
    file = random.choice(seeds())
    valid = Posting(file.name, random.choice(_TARGETS), FORM, form(_part(file.data)))
    mutation = random.choice(_MUTATIONS)
    mutant = mutation(valid, file.data, random)
    return replace(mutant, origin=f"{file.name}: {mutation.__name__.strip('_')}")


def _content_type(posting: Posting, _data: bytes, random: Random) -> Posting:
    text = random.choice(_TEXT).encode("utf-8", "surrogateescape").decode("latin-1").replace("\x00", "")
    chosen = random.choice((
        None, "", "multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={text}",
        "multipart/form-data; boundary=another", "Multipart/Form-Data; Boundary=----a-boundary", "multipart/mixed",
        f"{FORM}; charset={text}", f"{FORM}; charset=utf-7", f"{FORM}, {FORM}", f"{FORM};{text}=1;;=;",
        "multipart/form-data; boundary*=utf-8''----a-boundary", f"multipart/form-data {text}", text, "application/json",
        "application/x-www-form-urlencoded", "multipart/form-data; boundary=" + "-" * 5000,
    ))  # fmt: skip
    return replace(posting, content_type=chosen)


def _query(posting: Posting, _data: bytes, random: Random) -> Posting:
    def value() -> str:
        text = random.choice(_TEXT).encode("utf-8", "surrogateescape")
        return quote_from_bytes(text if random.random() < 0.7 else random.randbytes(random.randrange(1, 40)))

    names = ("explain", "preview", "explain", value(), "file", "")
    pairs = [f"{random.choice(names)}={value()}" for _ in range(random.choice((1, 1, 2, 3, 40)))]
    return replace(posting, target=f"{random.choice((PREDICT, EXPLAIN))}?{random.choice('&;&').join(pairs)}")


def _damaged_body(posting: Posting, _data: bytes, random: Random) -> Posting:
    return replace(posting, body=damage(posting.body, random))


def _damaged_head(posting: Posting, data: bytes, random: Random) -> Posting:
    """Damage everything but the file."""
    head, _, tail = posting.body.partition(data)
    return replace(
        posting, body=damage(head, random) + data + (tail if random.random() < 0.5 else damage(tail, random))
    )


def _part_headers(posting: Posting, data: bytes, random: Random) -> Posting:
    odd = random.choice(_TEXT).encode("utf-8", "surrogateescape")
    noise = random.randbytes(random.randrange(1, 60))
    part = random.choice((
        data,
        b"\r\n" + data,
        b"Content-Disposition: form-data\r\n\r\n" + data,
        b"Content-Disposition: attachment; name=file; filename=a\r\n\r\n" + data,
        b"Content-Disposition: form-data; name=" + odd + b"; filename=" + odd + b"\r\n\r\n" + data,
        b"Content-Disposition: form-data; name=file; filename*=utf-8''%00%ff" + odd + b"\r\n\r\n" + data,
        b"Content-Disposition: " + noise + b"\r\n\r\n" + data,
        b"Content-Disposition: form-data; name=file; name=other; filename=a; filename=b\r\n\r\n" + data,
        b"Content-Disposition: form-data;" + b";" * 5000 + b"name=file;filename=a\r\n\r\n" + data,
        b"Content-Disposition: form-data; name=file; filename=a\n\n" + data,
        b"content-disposition:form-data;name=file;filename=a\r\n\r\n" + data,
        b"X: " + odd + b"\r\n" + noise + b": 1\r\n" + _part(data),
        b"X: " + b"x" * 200_000 + b"\r\n" + _part(data),
        b"X: x\r\n" * 5000 + _part(data),
        b"Content-Type: text/plain; charset=" + odd + b"\r\n" + _part(data),
        b"Content-Transfer-Encoding: base64\r\n" + _part(data),
        b"Content-Length: 1\r\n" + _part(data),
        _part(data, odd),
        _part(data, noise.replace(b'"', b"")),
        _part(data, head=b""),
    ))  # fmt: skip
    return replace(posting, body=form(part))


def _parts(posting: Posting, data: bytes, random: Random) -> Posting:
    field, file = _part(b"3", b"ward", head=b""), _part(data)
    inner = b"inner"
    body = random.choice((
        form(),
        b"",
        form(field),
        form(file, file),
        form(*[field] * 40),
        form(*[file] * 40),
        form(*[field] * 5000),
        form(field, file, field),
        form(_part(data, b"other"), file),
        form(_part(data, head=b""), file),
        form(b"Content-Type: multipart/mixed; boundary=inner\r\n" + _part(form(file, boundary=inner))),
        form(_part(form(file))),
        form(file)[:-4],
        form(file)[:-2],
        form(file) + form(file),
        b"preamble\r\n" * 100 + form(file) + b"epilogue" * 100,
        form(file).replace(b"\r\n", b"\n"),
        form(file).replace(b"\r\n", b"\r"),
        form(_part(b"")),
        form(_part(b"--" + _BOUNDARY[:-1] + b"\r\n--" + _BOUNDARY[:3])),
        b"--" + _BOUNDARY + b"--\r\n",
        (b"--" + _BOUNDARY + b"\r\n") * 2000,
        b"\r\n" * 50_000 + form(file),
        b"-" * 100_000,
    ))  # fmt: skip
    return replace(posting, body=body)


def _plain(posting: Posting, data: bytes, random: Random) -> Posting:
    """A body that is no image at all."""
    content = random.choice((
        b"", b"{}", b"x", b"<svg/>", b"GIF89a", b"\0" * 4096, random.randbytes(random.randrange(1, 5000)),
        data[:4], b"BM" + bytes(60), b"DICM", b"RIFF\0\0\0\0WEBP", b"II*\0", b"\x08\0\x05\0CS",
    ))  # fmt: skip
    return replace(posting, content_type="application/octet-stream", body=content)


_MUTATIONS: Final[tuple[Callable[[Posting, bytes, Random], Posting], ...]] = (
    _content_type, _query, _damaged_body, _damaged_head, _part_headers, _parts, _plain
)  # fmt: skip
