"""The seeds of all mutants: valid files, made in code, and those that pydicom installs."""

from dataclasses import dataclass
from functools import cache

from tests.fuzz.dicom import dicom_files, sample_files
from tests.fuzz.fields import Field, find_fields
from tests.fuzz.raster import raster_files


@dataclass(frozen=True, slots=True)
class Seed:
    """A valid file.

    Attributes:
        name: Format and variant.
        data: The file's bytes.
        fields: The numbers in it that a reader believes.
    """

    name: str
    data: bytes
    fields: tuple[Field, ...]


@cache
def seeds() -> tuple[Seed, ...]:
    """Make the corpus: the same at every run with the same libraries."""
    files = {**raster_files(), **dicom_files(), **sample_files()}
    return tuple(Seed(name, data, tuple(find_fields(data))) for name, data in files.items())
