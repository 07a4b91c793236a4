import pytest

from training.schedule import cosine_annealing

PEAK, FLOOR = 1e-3, 1e-6


def rates(epochs: int, warmup: int = 0) -> list[float]:
    return [cosine_annealing(epoch, epochs, PEAK, FLOOR, warmup) for epoch in range(epochs)]


@pytest.mark.parametrize("warmup", [0, 2, 5])
def test_climbs_to_the_peak_then_falls_to_the_floor(warmup: int) -> None:
    values = rates(50, warmup)
    assert values[:warmup] == pytest.approx([PEAK * (i + 1) / (warmup + 1) for i in range(warmup)])
    assert values[warmup] == PEAK == max(values)
    assert values[-1] == pytest.approx(FLOOR)
    assert all(later < earlier for earlier, later in zip(values[warmup:], values[warmup + 1 :], strict=False))


def test_is_half_way_in_the_middle() -> None:
    assert rates(51)[25] == pytest.approx((PEAK + FLOOR) / 2)


def test_a_single_epoch_has_the_peak() -> None:
    assert rates(1) == [PEAK]


@pytest.mark.parametrize("epoch", [50, 80])
def test_stays_at_the_floor_beyond_the_last_epoch(epoch: int) -> None:
    assert cosine_annealing(epoch, 50, PEAK, FLOOR) == pytest.approx(FLOOR)


def test_a_warmup_as_long_as_the_stage_never_exceeds_the_peak() -> None:
    assert max(rates(3, 3)) < PEAK
