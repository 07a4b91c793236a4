import numpy as np
import pytest
from numpy.typing import NDArray

from training.alterations import (
    CENTRE,
    WITHOUT_BORDERS,
    Alteration,
    cover_lungs,
    grey_levels,
    keep_borders,
    keep_centre,
    lower_resolution,
    match_grey_levels,
    mirror,
)

SIDE = 50


@pytest.fixture
def squares() -> NDArray[np.uint8]:
    """Two squares of noise, a dark and a bright one."""
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, 100, (SIDE, SIDE)), rng.integers(150, 256, (SIDE, SIDE))]).astype(np.uint8)


@pytest.mark.parametrize("alter", [cover_lungs, keep_borders, keep_centre, lower_resolution, mirror])
def test_shape_type_and_the_given_squares_stay(alter: Alteration, squares: NDArray[np.uint8]) -> None:
    before = squares.copy()
    altered = alter(squares)
    assert (altered.shape, altered.dtype) == (squares.shape, np.uint8)
    assert not np.array_equal(altered, before)
    np.testing.assert_array_equal(squares, before)


@pytest.mark.parametrize("alter", [cover_lungs, keep_borders, keep_centre])
def test_what_is_covered_is_one_grey_level_that_tells_nothing_of_it(
    alter: Alteration, squares: NDArray[np.uint8]
) -> None:
    altered = alter(squares)
    covered = (altered != squares).any(axis=0)
    other = squares.copy()
    other[:, covered] = 255 - other[:, covered]
    np.testing.assert_array_equal(alter(other), altered)
    for square in altered:
        assert len(np.unique(square[covered])) == 1


def test_the_lungs_are_covered_and_shoulders_corners_and_abdomen_are_not() -> None:
    black = np.zeros((1, SIDE, SIDE), np.uint8)
    seen = _seen(cover_lungs)
    for x, y in [(0.15, 0.7), (0.3, 0.15), (0.3, 0.5), (0.7, 0.15), (0.7, 0.5), (0.85, 0.7)]:
        assert not seen[int(y * SIDE), int(x * SIDE)]
    for x, y in [(0.05, 0.05), (0.95, 0.05), (0.5, 0.03), (0.5, 0.97), (0.05, 0.95), (0.95, 0.95)]:
        assert seen[int(y * SIDE), int(x * SIDE)]
    assert seen.mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(seen, seen[:, ::-1])
    np.testing.assert_array_equal(cover_lungs(black), black)


@pytest.mark.parametrize(
    ("alter", "fraction", "inside_seen"), [(keep_centre, CENTRE, True), (keep_borders, WITHOUT_BORDERS, False)]
)
def test_centre_and_borders(alter: Alteration, fraction: float, inside_seen: bool) -> None:
    margin = round((1 - fraction) / 2 * 100)
    inside = np.zeros((100, 100), bool)
    inside[margin : 100 - margin, margin : 100 - margin] = True
    np.testing.assert_array_equal(_seen(alter, 100), inside == inside_seen)


def test_low_resolution_keeps_means_and_no_detail(squares: NDArray[np.uint8]) -> None:
    altered = lower_resolution(squares)
    np.testing.assert_allclose(altered.mean(axis=(1, 2)), squares.mean(axis=(1, 2)), atol=1.5)
    assert (altered.std(axis=(1, 2)) < 0.5 * squares.std(axis=(1, 2))).all()
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[np.newaxis]
    assert np.ptp(lower_resolution(checks)) <= 1


def test_matched_images_have_the_wanted_histogram_and_their_order(squares: NDArray[np.uint8]) -> None:
    wanted = np.random.default_rng(1).normal(120, 20, (3, SIDE, SIDE)).clip(0, 255).astype(np.uint8)
    matched = match_grey_levels(squares, grey_levels(wanted))
    for square, original in zip(matched, squares, strict=True):
        assert square.mean() == pytest.approx(wanted.mean(), abs=1.5)
        assert square.std() == pytest.approx(wanted.std(), abs=1.5)
        order = np.argsort(original, axis=None, kind="stable")
        assert (np.diff(square.ravel()[order].astype(int)) >= 0).all()


def test_an_image_with_the_wanted_histogram_stays(squares: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(match_grey_levels(squares[:1], grey_levels(squares[:1])), squares[:1])


def test_a_constant_image_can_be_matched() -> None:
    constant = np.full((1, SIDE, SIDE), 7, np.uint8)
    assert np.ptp(match_grey_levels(constant, grey_levels(constant))) == 0


def test_mirroring_twice_changes_nothing(squares: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(mirror(mirror(squares)), squares)


def _seen(alter: Alteration, side: int = SIDE) -> NDArray[np.bool_]:
    """Return which pixels of a square an alteration leaves, (side, side)."""
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (20, side, side)).astype(np.uint8)
    return np.asarray((alter(noise) == noise).all(axis=0))
