import numpy as np
import pytest
from numpy.typing import NDArray

from tests.images import radiograph
from training.augment import augment, swap_background
from training.config import Augmentation

SIZE = 96
SEEDS = range(60)
EVERYTHING = Augmentation(
    mirror_probability=0.5,
    rotation_degrees=10,
    shift=0.06,
    zoom=0.15,
    stretch=0.08,
    gamma=0.25,
    contrast=0.25,
    brightness=0.1,
    coarsening=0.5,
    compression_probability=0.5,
    equalization=0.5,
    erasures=2,
)


def changed(square: NDArray[np.uint8], seed: int = 0, **settings: float) -> NDArray[np.uint8]:
    return augment(square, Augmentation(**settings), np.random.default_rng(seed))


def dot(row: float, column: float) -> NDArray[np.uint8]:
    """A blurred white dot on black; row and column from the centre."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    return np.rint(255 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)).astype(np.uint8)


def where(square: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Centroid of the brightness: row and column from the centre."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    weight = square / square.sum()
    return np.array([(y * weight).sum(), (x * weight).sum()])


@pytest.fixture
def square() -> NDArray[np.uint8]:
    return radiograph(SIZE, SIZE)


@pytest.mark.parametrize("seed", range(5))
def test_all_zero_settings_change_nothing(seed: int, square: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(changed(square, seed), square)


@pytest.mark.parametrize("seed", range(5))
def test_keeps_shape_type_and_input_and_is_deterministic(seed: int, square: NDArray[np.uint8]) -> None:
    before = square.copy()
    square.flags.writeable = False
    result = augment(square, EVERYTHING, np.random.default_rng(seed))
    assert (result.shape, result.dtype) == (square.shape, np.uint8)
    np.testing.assert_array_equal(square, before)
    np.testing.assert_array_equal(augment(square, EVERYTHING, np.random.default_rng(seed)), result)
    assert (augment(square, EVERYTHING, np.random.default_rng(seed + 100)) != result).any()


def test_mirror_only_mirrors_left_and_right(square: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(changed(square, mirror_probability=1), np.fliplr(square))


def test_mirrors_with_the_given_probability(square: NDArray[np.uint8]) -> None:
    mirrored = [(changed(square, seed, mirror_probability=0.3) != square).any() for seed in range(200)]
    assert np.mean(mirrored) == pytest.approx(0.3, abs=0.1)


def test_rotates_about_the_centre_within_range() -> None:
    moved = np.array([where(changed(dot(0, 30), seed, rotation_degrees=10)) for seed in SEEDS])
    angles = np.degrees(np.arctan2(moved[:, 0], moved[:, 1]))
    assert np.abs(angles).max() <= 10.3
    assert angles.min() < -7
    assert angles.max() > 7
    np.testing.assert_allclose(np.hypot(*moved.T), 30, atol=0.5)


def test_shifts_both_ways_within_range() -> None:
    moved = np.array([where(changed(dot(0, 0), seed, shift=0.1)) for seed in SEEDS])
    assert np.abs(moved).max() <= 0.1 * SIZE + 0.3
    assert (moved.min(axis=0) < -0.07 * SIZE).all()
    assert (moved.max(axis=0) > 0.07 * SIZE).all()


def test_zooms_in_and_out_within_range() -> None:
    factors = np.array([where(changed(dot(0, 30), seed, zoom=0.2))[1] / 30 for seed in SEEDS])
    assert factors.min() >= 1 / 1.2 - 0.01
    assert factors.max() <= 1.2 + 0.01
    assert factors.min() < 0.9
    assert factors.max() > 1.1


def test_stretches_one_side_as_it_squeezes_the_other() -> None:
    moved = np.array([where(changed(dot(20, 20), seed, stretch=0.2)) for seed in SEEDS]) / 20
    np.testing.assert_allclose(moved[:, 0] * moved[:, 1], 1, atol=0.02)
    assert moved.max() <= 1.2 + 0.01
    assert moved.max() > 1.1


def test_what_comes_from_outside_is_black() -> None:
    white = np.full((SIZE, SIZE), 255, np.uint8)
    assert set(np.unique(changed(white, 1, shift=0.1))) >= {0, 255}


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        ({"gamma": 0.25}, 255 * (128 / 255) ** 1.25, 255 * (128 / 255) ** 0.8),
        ({"brightness": 0.1}, 128 - 25.5, 128 + 25.5),
        ({"contrast": 0.5}, 128, 128),
    ],
    ids=["gamma", "brightness", "contrast"],
)
def test_a_plain_grey_stays_within(settings: dict[str, float], low: float, high: float) -> None:
    grey = np.full((SIZE, SIZE), 128, np.uint8)
    levels = np.array([changed(grey, seed, **settings)[0, 0] for seed in SEEDS], float)
    assert levels.min() >= np.floor(low)
    assert levels.max() <= np.ceil(high)
    assert levels.max() - levels.min() >= 0.7 * (high - low)


def test_contrast_spreads_about_the_mean() -> None:
    halves = np.full((SIZE, SIZE), 100, np.uint8)
    halves[: SIZE // 2] = 150
    results = [changed(halves, seed, contrast=0.25) for seed in SEEDS]
    spans = np.array([int(r.max()) - int(r.min()) for r in results]) / 50
    assert 0.74 <= spans.min() < 0.85
    assert 1.15 < spans.max() <= 1.26
    np.testing.assert_allclose([r.mean() for r in results], 125, atol=1)


def test_erases_at_most_the_given_rectangles() -> None:
    ramp = np.tile(np.arange(SIZE, dtype=np.uint8), (SIZE, 1))
    areas = [
        (changed(ramp, seed, erasures=2, erasure_probability=1, erasure_side=0.25) != ramp).mean() for seed in SEEDS
    ]
    assert min(areas) > 0
    assert max(areas) <= 2 * 0.25**2


def test_erases_nothing_at_probability_zero(square: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(changed(square, erasures=3, erasure_probability=0), square)


def test_loses_resolution_within_range() -> None:
    stripes = np.rint(127 + 100 * np.sin(np.arange(SIZE) * 2 * np.pi / 8)).astype(np.uint8)  # of 8 pixels
    grating = np.tile(stripes, (SIZE, 1))
    kept = np.array([changed(grating, seed, coarsening=0.8).std() / grating.std() for seed in SEEDS])
    assert kept.max() > 0.8
    assert kept.min() < 0.2
    assert (changed(np.full((SIZE, SIZE), 90, np.uint8), coarsening=0.8) == 90).all()


def test_compresses_with_the_given_probability(square: NDArray[np.uint8]) -> None:
    results = [changed(square, seed, compression_probability=0.3) for seed in range(200)]
    assert np.mean([(result != square).any() for result in results]) == pytest.approx(0.3, abs=0.1)
    assert max(np.abs(result.astype(int) - square).mean() for result in results) < 10


def test_equalizes_in_part() -> None:
    dark = np.tile(np.arange(SIZE, dtype=np.uint8) // 2, (SIZE, 1))
    brightest = np.array([changed(dark, seed, equalization=0.5).max() for seed in SEEDS])
    assert brightest.min() < 70
    assert 120 < brightest.max() <= (255 + int(dark.max())) // 2 + 1


def test_a_swapped_background_leaves_the_middle_and_takes_the_corners() -> None:
    black, white = np.zeros((SIZE, SIZE), np.uint8), np.full((SIZE, SIZE), 255, np.uint8)
    shares = []
    for seed in SEEDS:
        swapped = swap_background(white, black, np.random.default_rng(seed))
        np.testing.assert_array_equal(255 - swapped, swap_background(black, white, np.random.default_rng(seed)))
        assert (swapped[SIZE // 4 : SIZE * 2 // 3, SIZE // 4 : -SIZE // 4] == 255).all()
        assert not swapped[[0, 0, -1, -1], [0, -1, 0, -1]].any()
        shares.append(swapped.mean() / 255)
    assert 0.4 < min(shares) < 0.5 < max(shares) < 0.67


def test_an_image_is_its_own_background(square: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(swap_background(square, square, np.random.default_rng(0)), square)
