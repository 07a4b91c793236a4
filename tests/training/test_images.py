from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import TrainingError
from tests.images import encode
from tests.training.folders import picture, write_folder
from training.images import leave_out_unreadable, map_images
from training.manifest import read_manifest


def test_results_keep_the_order_of_the_records(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path, 3))
    backwards = manifest.records[::-1]
    assert map_images(tmp_path, backwards, lambda image: image.width) == [80] * 3 + [60] * 3


def test_pixels_are_those_of_the_decoder(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path, 1))
    pixels = map_images(tmp_path, manifest.records, lambda image: image.pixels)
    np.testing.assert_array_equal(pixels[0], picture(0))


def test_every_unreadable_image_is_named_with_its_reason(tmp_path: Path) -> None:
    write_folder(tmp_path, 3)
    (tmp_path / "0/text.png").write_text("this is a letter, not an image" * 20)
    (tmp_path / "1/cut.png").write_bytes(encode(picture(1), "PNG")[:200])
    (tmp_path / "1/empty.png").write_bytes(b"")
    with pytest.raises(TrainingError) as raised:
        map_images(tmp_path, read_manifest(tmp_path).records, lambda image: image.width)
    message = str(raised.value)
    assert message.startswith("3 images cannot be read")
    assert "--skip-unreadable" in message
    for name, reason in {"0/text.png": "text", "1/cut.png": "checksum", "1/empty.png": "0 bytes"}.items():
        line = next(line for line in message.splitlines() if str(tmp_path / name) in line)
        assert reason in line


def test_a_long_list_of_unreadable_images_ends_with_a_number(tmp_path: Path) -> None:
    write_folder(tmp_path, 1)
    for number in range(25):
        (tmp_path / f"1/bad{number:02}.png").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"25 images cannot be read(?s:.*)bad19.png(?s:.*)and 5 more\.") as raised:
        map_images(tmp_path, read_manifest(tmp_path).records, lambda image: image.width)
    assert "bad20.png" not in str(raised.value)


def test_unreadable_images_are_left_out_and_kept_count_of(tmp_path: Path) -> None:
    before = read_manifest(write_folder(tmp_path, 3))
    (tmp_path / "1/01b.png").write_bytes(b"")
    manifest = leave_out_unreadable(read_manifest(tmp_path))
    assert manifest.records == before.records
    assert manifest.digest == before.digest
    assert [(fault.record.path, fault.record.label, fault.code) for fault in manifest.skipped] == [
        ("1/01b.png", 1, "empty_body")
    ]


def test_a_readable_folder_stays_as_it_is(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path, 3))
    assert leave_out_unreadable(manifest) == manifest


def test_a_class_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path, 1))
    (tmp_path / "1/00.png").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"No COVID-19 image can be read\. 1 image cannot"):
        leave_out_unreadable(replace(manifest))


def test_a_bar_on_standard_error_changes_no_result(tmp_path: Path) -> None:
    manifest = read_manifest(write_folder(tmp_path, 2))
    assert map_images(tmp_path, manifest.records, lambda image: image.height, progress="Reading") == [60] * 4
