"""Mutants of the corpus. The same seed and number give the same mutant, with the same libraries."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.fuzz.corpus import seeds
from tests.fuzz.fields import Field, find_fields
from tests.fuzz.raster import png_chunk

_BYTES: Final = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_TEXTS: Final = (
    b"0", b"-0", b"1", b"-1", b"nan", b"inf", b"-inf", b"1e308", b"-1e308", b"1e-308", b"1e999", b"0,5", b"1,000",
    b"65536", b"2147483648", b"99999999999", b"\\\\", b"1\\2\\3", b"x", b"\xff\xfe", b"", b"0x10", b"1_0", b" ",
)  # fmt: skip
_LONGEST_BLOCK: Final = 4096
_SWOLLEN: Final = 2**22
"""Largest mutant, in bytes."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"

_Mutation = Callable[[bytearray, Random], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged file.

    Attributes:
        origin: The seed's name, and what was done to it.
        data: The file's bytes.
    """

    origin: str
    data: bytes


def make_mutant(random: Random) -> Mutant:
    """Damage a file of the corpus: numbers in its fields, what is compressed in it, any of its bytes, or all three."""
    file = random.choice(seeds())
    data, done = bytearray(file.data), []
    if file.fields and random.random() < 0.6:
        for field in random.choices(file.fields, k=random.choice((1, 1, 1, 2, 2, 3, 6))):
            change_field(data, field, random)
            done.append(f"{field.size} bytes at {field.start}")
    if random.random() < 0.3 and (inner := _mutate_inner(data, random)) is not None:
        data = inner
        done.append("what is deflated")
    if not done or random.random() < 0.3:
        for mutation in random.choices(_MUTATIONS, _WEIGHTS, k=random.choice((1, 1, 2, 3, 8))):
            mutation(data, random)
            done.append(mutation.__name__.strip("_"))
    if data.startswith(_PNG) and random.random() < 0.9:
        data = bytearray(repair_png(bytes(data)))
    return Mutant(f"{file.name}: {', '.join(done)}", bytes(data))


def damage(data: bytes, random: Random) -> bytes:
    """Damage any bytes, whatever they are, in one to three places."""
    damaged = bytearray(data)
    for mutation in random.choices(_MUTATIONS, _WEIGHTS, k=random.choice((1, 1, 2, 3))):
        mutation(damaged, random)
    return bytes(damaged)


def change_field(data: bytearray, field: Field, random: Random) -> None:
    """Set a field to a value that readers stumble over, or to one close to its own."""
    end = field.start + field.size
    if field.order == "text":
        data[field.start : end] = random.choice(_TEXTS)[: field.size].ljust(field.size)
        return
    bits, value = 8 * field.size, int.from_bytes(data[field.start : end], field.order)
    highest = 2**bits - 1
    chosen = random.choice(
        (0, 1, 2, 3, highest, highest - 1, highest // 2, highest // 2 + 1, value - 1, value + 1, value * 2, value // 2,
         value ^ 1 << random.randrange(bits), len(data), len(data) - field.start, random.randrange(highest + 1))
    )  # fmt: skip
    data[field.start : end] = (chosen & highest).to_bytes(field.size, field.order)


def repair_png(data: bytes) -> bytes:
    """Give every chunk its checksum, as far as the lengths lead."""
    repaired, start = [_PNG], len(_PNG)
    while start + 12 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        end = start + 8 + length
        if end + 4 > len(data):
            break
        checksum = struct.pack(">I", zlib.crc32(data[start + 4 : end]))
        repaired += [data[start:end], checksum]
        start = end + 4
    return b"".join([*repaired, data[start:]])


def _mutate_inner(data: bytearray, random: Random) -> bytearray | None:
    """Damage what is deflated: the scanlines of a PNG, the data set of a deflated DICOM file; None without either."""
    try:
        if data.startswith(_PNG):
            return _mutate_scanlines(bytes(data), random)
        if _DEFLATED in data[:1000]:
            return _mutate_data_set(bytes(data), random)
    except zlib.error:  # Another mutation came first.
        pass
    return None


def _mutate_scanlines(data: bytes, random: Random) -> bytearray | None:
    start = data.find(b"IDAT")
    length = int.from_bytes(data[start - 4 : start], "big")
    scanlines = damage(zlib.decompress(data[start + 4 : start + 4 + length]), random)
    return bytearray(data[: start - 4] + png_chunk(b"IDAT", zlib.compress(scanlines)) + data[start + 8 + length :])


def _mutate_data_set(data: bytes, random: Random) -> bytearray:
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    data_set = bytearray(zlib.decompress(data[start:], -zlib.MAX_WBITS))
    for field in random.choices(find_fields(bytes(data_set)), k=random.choice((1, 1, 2, 4))):
        change_field(data_set, field, random)
    if random.random() < 0.2:
        data_set = bytearray(damage(bytes(data_set), random))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return bytearray(data[:start] + deflater.compress(data_set) + deflater.flush())


def _block(data: bytearray, random: Random) -> slice:
    start = random.randrange(len(data) + 1)
    longest = random.choice((1, 4, 16, 64, 512, _LONGEST_BLOCK))
    return slice(start, start + random.randint(1, longest))


def _flip_bits(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _flip_bits_of_the_head(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 2, 4))):
        if data:
            data[random.randrange(min(len(data), 700))] ^= 1 << random.randrange(8)


def _set_bytes(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8))):
        if data:
            data[random.randrange(len(data))] = random.choice(_BYTES)


def _fill_block(data: bytearray, random: Random) -> None:
    block = _block(data, random)
    data[block] = bytes([random.choice(_BYTES)]) * len(data[block])


def _delete_block(data: bytearray, random: Random) -> None:
    del data[_block(data, random)]


def _repeat_block(data: bytearray, random: Random) -> None:
    block = _block(data, random)
    data[block.start : block.start] = data[block] * random.choice((1, 1, 2, 8, 64))


def _swap_blocks(data: bytearray, random: Random) -> None:
    first, second = _block(data, random), _block(data, random)
    data[first], data[second] = data[second], data[first]


def _insert_noise(data: bytearray, random: Random) -> None:
    block = _block(data, random)
    data[block.start : block.start] = random.randbytes(block.stop - block.start)


def _truncate(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data) + 1) :]


def _splice(data: bytearray, random: Random) -> None:
    """Go on with another file, from somewhere in it."""
    other = random.choice(seeds()).data
    data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other)) :]


def _append(data: bytearray, random: Random) -> None:
    data += random.choice(seeds()).data


def _swell(data: bytearray, random: Random) -> None:
    """Repeat a few bytes very often: what costs little once may cost much a million times."""
    block = slice((start := random.randrange(len(data) + 1)), start + random.choice((1, 2, 4, 8, 12, 16, 64)))
    content = bytes(data[block]) or b"\0"
    size = random.choice((2**16, 2**18, 2**20, _SWOLLEN - len(data)))
    data[block.start : block.start] = content * max(1, size // len(content))


_MUTATIONS: Final[tuple[_Mutation, ...]] = (
    _flip_bits, _flip_bits_of_the_head, _set_bytes, _fill_block, _delete_block, _repeat_block, _swap_blocks,
    _insert_noise, _truncate, _splice, _append, _swell,
)  # fmt: skip
_WEIGHTS: Final = (4, 4, 4, 2, 2, 2, 1, 2, 2, 2, 0.5, 0.3)
