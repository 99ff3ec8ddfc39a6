"""Guidance through poses: what it asks for in words, when it counts, and that it ends."""

import numpy as np
import pytest

from calibration.pose_guidance import CELLS, FIRST_S, HOLD_S, POSES, PoseGuide, in_words
from calibration.sphere import cells

PERIOD_S = 0.01
RNG = np.random.default_rng(5)


def feed(guide: PoseGuide, up, seconds: float, shake: float = 0.0):
    """So long in one attitude (up in the body's axes), as one chip would show it."""
    advice = None
    for _ in range(round(seconds / PERIOD_S)):
        gyro = RNG.normal(0.005, 0.004 + shake, (5, 3))
        accel = 9.8 * np.asarray(up) / np.linalg.norm(up) + RNG.normal(0.05, 0.06 + 10 * shake, (5, 3))  # fmt: skip
        advice = guide.feed(gyro, accel)
    return advice


@pytest.fixture
def begun() -> PoseGuide:
    guide = PoseGuide(PERIOD_S)
    feed(guide, (0, 0, 1), FIRST_S + 1)
    assert guide.first_done and len(guide.ways) == 1
    return guide


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ((0, 0, 1), "put it on its wheels"),
        ((0, 0, -1), "put it upside down"),
        ((0, 1, 0), "put it on its right side"),  # left side up
        ((0, -1, 0), "put it on its left side"),
        ((-1, 0, 0), "put it on its nose"),
        ((0.5, -0.85, 0), "put it on its left side, with the nose half up"),
        ((0, 0.36, -0.93), "put it upside down, with the left side a little up"),
    ],
)
def test_a_way_up_in_words(way, words: str) -> None:
    assert in_words(np.array(way, float)) == words


def test_it_begins_with_half_a_minute_alone() -> None:
    guide = PoseGuide(PERIOD_S)
    assert "hands off" in feed(guide, (0, 0, 1), 0.3).text
    assert feed(guide, (0, 0, 1), 5).text.startswith("leave it alone: 2")
    feed(guide, (0, 0, 1), 2, shake=0.3)
    assert not guide.ways
    feed(guide, (0, 0, 1), FIRST_S)
    assert len(guide.ways) == 1


def test_a_pose_counts_once_when_it_was_still_for_long_enough(begun) -> None:
    assert not feed(begun, (0, 1, 0), 1, shake=0.5).still
    feed(begun, (0, 1, 0), HOLD_S)
    assert len(begun.ways) == 1, "the window after the move is not still yet"
    feed(begun, (0, 1, 0), 1)
    assert len(begun.ways) == 2
    feed(begun, (0, 1, 0), 10)
    feed(begun, (0, 1, 0.05), 1, shake=0.5)
    feed(begun, (0, 1, 0.05), 5)
    assert len(begun.ways) == 2, "three degrees are no other pose"


def test_shaking_and_slow_turning_are_not_still(begun) -> None:
    feed(begun, (1, 0, 0), 6, shake=0.02)
    assert len(begun.ways) == 1
    for k in range(600):  # 10 degrees a second
        angle = np.deg2rad(k / 10)
        begun.feed(np.full((5, 3), (0.175, 0, 0)), 9.8 * np.tile((0, np.sin(angle), np.cos(angle)), (5, 1)))  # fmt: skip
    assert len(begun.ways) == 1


def test_what_is_asked_for_is_near_and_new_and_stays_until_it_is_there(begun) -> None:
    first = feed(begun, (0, 0, 1), 0.1).target
    assert 20 < np.rad2deg(np.arccos(first[2])) < 50
    assert (feed(begun, (0, 1, 1), 0.5, shake=0.5).target == first).all()
    feed(begun, first, 1, shake=0.5)
    asked = feed(begun, first, HOLD_S + 1)
    assert (asked.target != first).any()


def test_following_it_ends_it(begun) -> None:
    share = []
    while not begun.done:
        advice = feed(begun, (0, 0, 1), 0.02, shake=0.5)
        feed(begun, advice.target, 0.6, shake=0.5)
        share.append(feed(begun, advice.target, HOLD_S + 0.7).share)
        assert len(share) < 40
    assert len(begun.ways) >= POSES and begun.cells.sum() >= CELLS
    assert (np.diff(share) >= 0).all() and share[-1] == 1
    assert feed(begun, cells()[0], 0.1).text == "done: lay it down"
