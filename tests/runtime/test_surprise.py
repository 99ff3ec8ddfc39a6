"""The surprise monitor: each channel its own level, its own patience, silent without a source."""

import numpy as np
import pytest

from models.manifest import Threshold
from runtime.surprise import FLAGS, FRAMES, SURPRISE_CHANNELS, SurpriseMonitor

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
        mask = monitor.step(value(**{channel: 3.0}))
        assert mask == (bit if frame >= PATIENCE[channel] else 0)
    assert monitor.step(value()) == 0
    assert monitor.step(value(**{channel: 3.0})) == 0, "counting begins anew"


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
