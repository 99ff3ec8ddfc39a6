"""The surprise monitor: each channel its own level, its own patience, silent without a source."""

import numpy as np
import pytest

from models.manifest import Threshold
from runtime.surprise import (
    FLAGS,
    FRAMES,
    RELEASE,
    SMOOTHED,
    SURPRISE_CHANNELS,
    UNKNOWN,
    USUAL_MOST,
    Smoother,
    SurpriseMonitor,
    Usual,
    moves,
)

PATIENCE = {c: 2 + i for i, c in enumerate(SURPRISE_CHANNELS)}
LEVELS = {c: Threshold(typical=1.0, event=2.0, frames=PATIENCE[c]) for c in SURPRISE_CHANNELS}


def value(**channels: float) -> np.ndarray:
    out = np.zeros(len(SURPRISE_CHANNELS), np.float32)
    for name, level in channels.items():
        out[SURPRISE_CHANNELS.index(name)] = level
    return out


@pytest.mark.parametrize("channel", SURPRISE_CHANNELS)
def test_a_channel_alarms_after_its_own_number_of_frames_and_lets_go_at_once(channel: str) -> None:
    monitor = SurpriseMonitor(LEVELS)
    bit = 1 << SURPRISE_CHANNELS.index(channel)
    for frame in range(1, PATIENCE[channel] + 3):
        mask = monitor.step(value(**{channel: 9.0}))
        assert mask == (bit if frame >= PATIENCE[channel] else 0)
    assert monitor.step(value()) == 0
    assert monitor.step(value(**{channel: 9.0})) == 0, "counting begins anew"


@pytest.mark.parametrize("channel", [c for c in SURPRISE_CHANNELS if c not in FLAGS])
def test_the_level_itself_is_no_alarm_and_no_source_is_none(channel: str) -> None:
    monitor = SurpriseMonitor(LEVELS)
    for level in (2.0, float("nan")):
        for _ in range(20):
            assert monitor.step(value(**{channel: level})) == 0


def test_a_gap_without_a_source_ends_the_counting() -> None:
    monitor = SurpriseMonitor(LEVELS)
    for level in (3.0, float("nan"), 3.0, float("nan"), 3.0):
        assert monitor.step(value(divergence=level)) == 0


def test_a_channel_without_a_threshold_never_alarms_but_a_flag_does() -> None:
    monitor = SurpriseMonitor({})
    for _ in range(20):
        mask = monitor.step(
            np.where(np.isin(SURPRISE_CHANNELS, list(FLAGS)), 1.0, 1e9).astype("f4")
        )
    assert mask == sum(1 << SURPRISE_CHANNELS.index(c) for c in FLAGS)


def test_every_channel_declares_its_patience() -> None:
    assert set(FRAMES) == set(SURPRISE_CHANNELS)


def test_only_what_the_body_senses_is_smoothed() -> None:
    smoother = Smoother()
    smoother.step(value())
    now = np.ones(len(SURPRISE_CHANNELS), np.float32)
    smoother.step(now)
    for i, name in enumerate(SURPRISE_CHANNELS):
        assert now[i] == pytest.approx(SMOOTHED.get(name, 1.0))


@pytest.mark.parametrize("channel", RELEASE)
def test_a_knock_is_told_at_once_and_in_full_and_fades(channel: str) -> None:
    smoother, at, told = Smoother(), SURPRISE_CHANNELS.index(channel), []
    for level in (1.0, 5.0, 1.0, 1.0):
        now = value(**{channel: level})
        smoother.step(now)
        told.append(float(now[at]))
    kept = 1 - RELEASE[channel]
    assert told == pytest.approx([1.0, 5.0, 1 + 4 * kept, 1 + 4 * kept**2])


def test_no_channel_is_both_a_mean_and_a_peak() -> None:
    assert not SMOOTHED.keys() & RELEASE.keys()


def test_little_for_long_outlasts_the_noise_of_one_frame() -> None:
    rng = np.random.default_rng(0)
    smoother, quiet, turned = Smoother(), [], []
    for frame in range(600):
        now = value(odometry=abs(rng.normal(0.02 if frame >= 300 else 0.0, 0.01)))
        smoother.step(now)
        (turned if frame >= 310 else quiet).append(float(now[SURPRISE_CHANNELS.index("odometry")]))
    assert np.quantile(turned, 0.1) > np.quantile(quiet[10:280], 0.95)


def test_a_smoothed_channel_without_a_source_is_silent_and_then_begins_anew() -> None:
    smoother = Smoother()
    for level in (9.0, float("nan")):
        now = value(odometry=level)
        smoother.step(now)
    at = SURPRISE_CHANNELS.index("odometry")
    assert np.isnan(now[at])
    now = value(odometry=0.5)
    smoother.step(now)
    assert now[at] == pytest.approx(0.5)


ROUGH = {"vibration": Threshold(typical=1.0, event=5.0, frames=1)}
AT = SURPRISE_CHANNELS.index("vibration")


def test_on_a_rough_floor_as_much_again_is_needed() -> None:
    smooth, rough = SurpriseMonitor(ROUGH), SurpriseMonitor(ROUGH)
    for _ in range(200):
        assert smooth.step(value(vibration=1.0)) == 0
        assert rough.step(value(vibration=2.0)) == 0
    assert smooth.step(value(vibration=6.0)) == 1 << AT
    assert rough.step(value(vibration=6.0)) == 0
    assert rough.step(value(vibration=12.0)) == 1 << AT


def known(level: float, frames: int = 400) -> Usual:
    """What is usual after as many frames of a floor."""
    usual = Usual(ROUGH)
    for _ in range(frames):
        usual.step(value(vibration=level))
    return usual


def test_a_smooth_floor_makes_no_channel_keener_than_its_level() -> None:
    assert known(0.1).step(value(vibration=0.1))[AT] == pytest.approx(0.1)


def test_a_floor_that_is_not_known_counts_as_a_rough_one_until_it_was_driven_on() -> None:
    usual = Usual(ROUGH)
    first = value(vibration=1.0)
    for _ in range(1000):  # standing teaches nothing
        assert usual.step(first, moves=False)[AT] == pytest.approx(1 / UNKNOWN)
    assert known(1.0).step(first)[AT] == pytest.approx(1, rel=0.01)
    assert known(3.0, 60).step(first)[AT] < 0.4, "a rougher one is known after three seconds"


def test_what_lasts_a_second_is_told_to_its_end_and_nothing_extreme_becomes_usual() -> None:
    monitor = SurpriseMonitor(ROUGH)
    for _ in range(200):
        monitor.step(value(vibration=1.0))
    for _ in range(20):
        assert monitor.step(value(vibration=12.0)) == 1 << AT
    assert known(40.0, 10_000).step(value(vibration=40.0))[AT] == pytest.approx(40.0 / USUAL_MOST)


def test_a_sensor_that_is_silent_or_broken_leaves_what_is_usual() -> None:
    usual = Usual(ROUGH)
    for level in (np.nan, np.inf, -np.inf):
        usual.step(value(vibration=level))
    assert usual.step(value(vibration=2.0))[AT] == pytest.approx(2.0 / UNKNOWN, rel=0.04)


@pytest.mark.parametrize(
    ("action", "says"),
    [((0.04, -0.04, 1, 1), False), ((0.06, 0.0, 0, 0), True), ((0.0, -1.0, 0, 0), True)],
)
def test_it_moves_where_a_wheel_is_sent_to(action, says) -> None:
    assert moves(np.array(action, np.float32)) == says
    assert moves(np.tile(np.array(action, np.float32), (3, 1))).tolist() == [says] * 3
