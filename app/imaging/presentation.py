"""From the stored values of a DICOM image to grey levels: modality LUT, VOI LUT or window, inversion.

The order is that of PS3.4 N.2, the parts are those of PS3.3 C.11.1 (Modality LUT) and C.11.2 (VOI LUT).
The lookup tables are applied here because pydicom's functions refuse modality LUTs of 10 to 14 bits and
wrap the index into a VOI LUT of 8 bits with more than 256 entries.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from app.imaging.codecs import ImagePixels
from app.imaging.grey import ImageWarning, fractions_to_uint8, map_levels

LINEAR: Final = "LINEAR"
_DECIMAL_COMMA: Final = re.compile(r"([+-]?\d+),(\d+)")
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3},\d{3}")  # or thousandths: nobody can tell

_Modality: TypeAlias = Callable[[NDArray[np.number]], NDArray[np.number]]
_Voi: TypeAlias = Callable[[NDArray[np.number]], NDArray[np.floating]]
_Padding: TypeAlias = tuple[int, int]
"""The smallest and the largest stored value that are padding."""


def to_grey_levels(stored: NDArray[np.integer], dataset: Dataset, pixels: ImagePixels) -> NDArray[np.uint8]:
    """Map stored values to grey levels as a viewer would first show them.

    Padding is black, and of no influence on how the rest is shown. Source: PS3.3 C.7.5.1.1.2.

    Args:
        stored: Stored values, sign-extended, shape (H, W).
        dataset: The header.
        pixels: The part of the header that describes the pixels.

    Returns:
        Grey levels 0..255, white for dense tissue, uint8, shape (H, W).

    Raises:
        Exception: Of a kind that depends on what is wrong with a lookup table, or with values that overflow.
    """
    modality = _modality_transform(dataset, pixels)
    padding = _padding(stored, dataset, pixels)
    fraction = _voi_transform(dataset, pixels) or _full_range(_without(stored, padding), modality)
    inverted = pixels.photometric_interpretation == "MONOCHROME1"

    def mapping(levels: NDArray[np.number]) -> NDArray[np.uint8]:
        grey = fractions_to_uint8(fraction(modality(levels)))
        if inverted:
            grey = 255 - grey
        if padding:
            grey[_is_padding(levels, padding)] = 0
        return grey

    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return map_levels(stored, mapping)


def presentation_warnings(dataset: Dataset) -> tuple[ImageWarning, ...]:
    """Warn about a window that is there and cannot be used: the grey levels are then spread over the full range."""
    given = [number for keyword in ("WindowCenter", "WindowWidth") for number in _values(dataset, keyword)]
    if dataset.get("VOILUTSequence") or not any(str(value).strip() for value in given) or _window(dataset):
        return ()
    message = (
        "The DICOM object has a Window Center or Width (0028,1050 and 0028,1051) that cannot be used; its grey levels "
        "were spread from the smallest to the largest, which need not be how its makers would show it."
    )
    return (ImageWarning("window_unusable", message),)


def apply_window(
    values: NDArray[np.number], centre: float, width: float, function: str = LINEAR
) -> NDArray[np.floating]:
    """Apply a VOI window.

    Args:
        values: Output of the modality LUT, any shape.
        centre: Window Center (0028,1050).
        width: Window Width (0028,1051), greater than 0; at least 1 for LINEAR.
        function: "LINEAR", "LINEAR_EXACT" or "SIGMOID" (0028,1056).

    Returns:
        Fractions of the output range, 0..1, float64, of the same shape.

    Source: DICOM PS3.3 C.11.2.1.2.1 (linear), C.11.2.1.3.1 (sigmoid), C.11.2.1.3.2 (linear exact).
    """
    x = np.asarray(values, np.float64)
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700))))
    if function == "LINEAR_EXACT":
        return np.asarray(np.clip((x - centre) / width + 0.5, 0, 1))
    if width == 1:
        return (x > centre - 0.5).astype(np.float64)
    return np.asarray(np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1))


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A DICOM lookup table.

    Attributes:
        first: Input value of the first entry; smaller inputs map to it too.
        entries: Outputs, shape (K,). Inputs beyond the last map to it.
        bits: Bits an entry, which set the output range.
    """

    first: int
    entries: NDArray[np.integer]
    bits: int

    @classmethod
    def read(cls, item: Dataset, *, signed_input: bool, little_endian: bool) -> "LookupTable":
        """Read an item of a Modality or VOI LUT Sequence. Source: PS3.3 C.11.1.1, C.11.2.1.1.

        Args:
            item: The sequence item.
            signed_input: Whether input values can be negative. Writers differ in the VR of the first
                input value, so it is read from its 16 bits.
            little_endian: Byte order of entries stored as OW.

        Raises:
            ValueError: The item describes no such table.
        """
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        if not 8 <= bits <= 16:
            raise ValueError("a lookup table has entries of 8 to 16 bits")
        count = count % 2**16 or 2**16  # 0 means 65,536.
        first = _from_16_bits(first, signed_input)
        data = item.LUTData
        if isinstance(data, bytes):
            entry_bytes = 1 if bits <= 8 and len(data) < 2 * count else 2
            entries = np.frombuffer(data, f"{'<' if little_endian else '>'}u{entry_bytes}", count)
        else:
            entries = np.atleast_1d(np.asarray(data, np.int64))[:count] % 2**16
        return cls(first, entries, bits)

    def __call__(self, values: NDArray[np.number]) -> NDArray[np.integer]:
        """Look values up, rounded to integers, any shape."""
        index = np.rint(np.asarray(values, np.float64)) - self.first
        return np.asarray(self.entries[np.clip(index, 0, len(self.entries) - 1).astype(np.intp)])


def _modality_transform(dataset: Dataset, pixels: ImagePixels) -> _Modality:
    if dataset.get("ModalityLUTSequence"):
        return LookupTable.read(
            dataset.ModalityLUTSequence[0], signed_input=pixels.signed, little_endian=_little_endian(dataset)
        )
    slope, intercept = _rescale(dataset)
    return lambda values: np.asarray(values, np.float64) * slope + intercept


def _voi_transform(dataset: Dataset, pixels: ImagePixels) -> _Voi | None:
    """Read the first VOI LUT, or else the first window; None without either."""
    if dataset.get("VOILUTSequence"):
        signed = not dataset.get("ModalityLUTSequence") and (pixels.signed or _rescale(dataset)[1] < 0)
        table = LookupTable.read(dataset.VOILUTSequence[0], signed_input=signed, little_endian=_little_endian(dataset))
        return lambda values: table(values) / (2**table.bits - 1)
    window = _window(dataset)
    return None if window is None else lambda values: apply_window(values, *window)


def _full_range(stored: NDArray[np.integer], modality: _Modality) -> _Voi:
    """Spread the image's own minimum..maximum, this preprocessing's rule for deep samples without a window."""
    # A rescale takes the extremes to the extremes; a lookup table need not.
    used = np.unique(stored) if isinstance(modality, LookupTable) else np.array([stored.min(), stored.max()])
    outputs = modality(used)
    low = float(outputs.min())
    span = float(outputs.max()) - low or 1.0
    return lambda values: (values.astype(np.float64) - low) / span


def _padding(stored: NDArray[np.integer], dataset: Dataset, pixels: ImagePixels) -> _Padding | None:
    """Read the Pixel Padding Value and Range Limit. What covers the whole image cannot be padding."""
    value = _first_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = _first_number(dataset, "PixelPaddingRangeLimit")
    # Writers differ in the VR, so both are read from their 16 bits.
    low, high = sorted(_from_16_bits(int(end), pixels.signed) for end in (value, value if limit is None else limit))
    return None if _is_padding(stored, (low, high)).all() else (low, high)


def _is_padding(values: NDArray[np.number], padding: _Padding) -> NDArray[np.bool_]:
    return (values >= padding[0]) & (values <= padding[1])


def _without(stored: NDArray[np.integer], padding: _Padding | None) -> NDArray[np.integer]:
    return stored if padding is None else stored[~_is_padding(stored, padding)]


def _from_16_bits(number: int, signed: bool) -> int:
    return (number + 2**15) % 2**16 - 2**15 if signed else number % 2**16


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = _first_number(dataset, "RescaleSlope"), _first_number(dataset, "RescaleIntercept")
    return (1.0, 0.0) if not slope or intercept is None else (slope, intercept)


def _window(dataset: Dataset) -> tuple[float, float, str] | None:
    """Read the first window that can be used, of those that the object offers."""
    function = str(dataset.get("VOILUTFunction")).strip().upper()
    if function not in ("SIGMOID", "LINEAR_EXACT"):
        function = LINEAR
    for centre, width in zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False):
        if centre is not None and width is not None and width > 0 and (function != LINEAR or width >= 1):
            return centre, width, function
    return None


def _first_number(dataset: Dataset, keyword: str) -> float | None:
    return next(iter(_numbers(dataset, keyword)), None)


def _numbers(dataset: Dataset, keyword: str) -> list[float | None]:
    """Read the values of a display attribute; None for each that is empty or not a finite number.

    What only says how to show an image counts as absent where it cannot be read, as in viewers.
    """
    return [_number(value) for value in _values(dataset, keyword)]


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    """Read the values of an attribute as numbers, or as text where a number in it cannot be read."""
    try:
        value: Any = dataset.get(keyword)
    except (TypeError, ValueError):  # pydicom's, for all values if one is no number
        raw = dataset.get_item(keyword)
        text = raw.value if raw is not None else None
        value = text.decode("ascii", "replace").split("\\") if isinstance(text, bytes) else None
    values = value if isinstance(value, MultiValue | list) else [value]
    return ["" if value is None else value for value in values]


def _number(value: Any) -> float | None:
    if isinstance(value, str) and not _THOUSANDS.fullmatch(value.strip()):
        value = _DECIMAL_COMMA.sub(r"\1.\2", value)  # as some writers' language has it
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _little_endian(dataset: Dataset) -> bool:
    return dataset.original_encoding[1] is not False
