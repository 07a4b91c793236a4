"""Ages as tables of radiographs write them."""

import math
import re
from typing import Final

_UNITS_A_YEAR: Final = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}
"""Source: DICOM PS3.5, 6.2, value representation AS; NIH's table writes ages alike."""

_BANDS: Final = ((18, "under 18"), (40, "18 to 39"), (60, "40 to 59"), (80, "60 to 79"), (math.inf, "80 and over"))

AGE_BANDS: Final = tuple(name for _, name in _BANDS)
"""From young to old."""


def age_years(text: str) -> float | None:
    """Read an age: "45", "45.0", "045Y", "18M"; None where it is anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([YMWD]?)", text.strip().upper())
    return float(match[1]) / _UNITS_A_YEAR[match[2]] if match else None


def age_band(text: str) -> str | None:
    """Return the band of an age as a table writes it; None where it is none."""
    years = age_years(text)
    return None if years is None else next(name for end, name in _BANDS if years < end)
