from pathlib import Path

import numpy as np
import pytest

from app.errors import TrainingError
from app.imaging import PREPROCESSING_VERSIONS, to_square
from app.imaging.decode import decode
from tests.images import dicom, encode, radiograph
from training.manifest import Manifest, read_manifest
from training.squares import load_squares

DEEP = radiograph(150, 260, seed=3).astype(np.uint16) * 16
FILES = {
    "0/grey.png": encode(radiograph(200, 300), "PNG"),
    "0/colour.jpg": encode(np.stack([radiograph(seed=seed) for seed in range(3)], axis=-1), "JPEG"),
    "0/deep.png": encode(DEEP, "PNG"),
    "0/small.webp": encode(radiograph(60, 50), "WEBP"),
    "1/film.dcm": dicom(DEEP, bits_stored=12, photometric_interpretation="MONOCHROME1"),
    "1/exact.bmp": encode(radiograph(224, 224), "BMP"),
}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    for name, data in FILES.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return read_manifest(tmp_path / "data")


def test_squares_are_the_services_to_the_last_bit(manifest: Manifest) -> None:
    squares = load_squares(manifest.root, manifest.records, preprocessing=1)
    assert (squares.dtype, squares.shape) == (np.uint8, (6, 224, 224))
    for square, record in zip(squares, manifest.records, strict=True):
        np.testing.assert_array_equal(square, to_square(decode(FILES[record.path]).pixels, version=1))


def test_a_second_call_reads_the_cache(manifest: Manifest, tmp_path: Path) -> None:
    first = load_squares(manifest.root, manifest.records, tmp_path / "cache", 32, preprocessing=1)
    for record in manifest.records:
        (manifest.root / record.path).unlink()
    np.testing.assert_array_equal(
        load_squares(manifest.root, manifest.records, tmp_path / "cache", 32, preprocessing=1), first
    )
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


def test_a_damaged_cache_is_made_anew(manifest: Manifest, tmp_path: Path) -> None:
    first = load_squares(manifest.root, manifest.records, tmp_path, 32, preprocessing=1)
    [cached] = tmp_path.glob("*.npy")
    for damaged in (b"", cached.read_bytes()[:200]):
        cached.write_bytes(damaged)
        np.testing.assert_array_equal(
            load_squares(manifest.root, manifest.records, tmp_path, 32, preprocessing=1), first
        )


@pytest.mark.parametrize("version", PREPROCESSING_VERSIONS)
def test_squares_are_of_the_version_that_is_asked_for(manifest: Manifest, tmp_path: Path, version: int) -> None:
    """Both from one cache, which must not give one for the other."""
    for _ in range(2):
        squares = [
            load_squares(manifest.root, manifest.records, tmp_path / "cache", preprocessing=of)
            for of in PREPROCESSING_VERSIONS
        ]
    for square, record in zip(squares[version - 1], manifest.records, strict=True):
        np.testing.assert_array_equal(square, to_square(decode(FILES[record.path]).pixels, version=version))
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_other_size_content_or_order_misses_the_cache(manifest: Manifest, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = load_squares(manifest.root, manifest.records, cache, 32, preprocessing=1)
    assert load_squares(manifest.root, manifest.records, cache, 48, preprocessing=1).shape == (6, 48, 48)
    np.testing.assert_array_equal(
        load_squares(manifest.root, manifest.records[::-1], cache, 32, preprocessing=1), first[::-1]
    )
    (manifest.root / "0/grey.png").write_bytes(encode(radiograph(seed=9), "PNG"))
    assert (
        load_squares(manifest.root, read_manifest(manifest.root).records, cache, 32, preprocessing=1) != first
    ).any()
    assert len(list(cache.iterdir())) == 4


def test_an_unreadable_image_is_named_and_nothing_is_cached(manifest: Manifest, tmp_path: Path) -> None:
    (manifest.root / "0/grey.png").write_bytes(FILES["0/grey.png"][:200])
    with pytest.raises(TrainingError, match=r"0/grey\.png: "):
        load_squares(manifest.root, manifest.records, tmp_path / "cache", preprocessing=1)
    assert not (tmp_path / "cache").exists()
