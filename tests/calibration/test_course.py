"""The course from pictures: a room drawn by casting rays, a camera that looks aside by a known angle."""

import numpy as np
import pytest

from calibration.camera import PinholeCamera
from calibration.course import AHEAD_M, PAIRS, CourseBlocks
from calibration.small_turns import SmallTurns, small_rotation
from calibration.watch_monitor import HEAD_FROM_OPTICAL

PINHOLE = PinholeCamera(64, 64, 46.0, 46.0, 31.5, 31.5)
HALF_M = np.array([2.4, 1.8, 1.1])  # of the room
DEG = np.pi / 180


def picture(place_m, camera, rng):
    """(H, W, 3) uint8 of a room with soft patterns; `camera` (3, 3) room from optical."""
    rays = camera @ PINHOLE.unproject(PINHOLE.pixels()).T
    far = np.where(
        rays > 0, HALF_M[:, None] - place_m[:, None], -HALF_M[:, None] - place_m[:, None]
    )
    hit = place_m[:, None] + rays * (far / np.where(rays == 0, 1e-9, rays)).min(0)
    x, y, z = hit
    grey = (
        128
        + 40 * np.sin(5 * x + 3 * y)
        + 40 * np.sin(7 * y - 4 * z + 1)
        + 30 * np.sin(6 * z + 2 * x)
    )
    noisy = grey.reshape(64, 64, 1) + rng.normal(0, 2, (64, 64, 1))
    return np.repeat(noisy, 3, 2).clip(0, 255).astype(np.uint8)


def drive(aside_rad, pairs, seed=0, heading_per_m=0.0):
    """Values told while it drives to and fro, its head turned a little otherwise each time."""
    rng, told = np.random.default_rng(seed), []
    blocks = CourseBlocks(PINHOLE, lambda name, t, value, std: told.append((name, value, std)))
    mount = small_rotation(np.array([0.0, aside_rad, 0.0]))
    t_ns, made = 0, 0
    while made < pairs:
        yaw, pitch = rng.uniform(-0.3, 0.3), rng.uniform(-0.2, 0.1)
        head = small_rotation(np.array([0, 0, yaw])) @ small_rotation(np.array([0, pitch, 0]))
        step = rng.choice([-1, 1]) * rng.uniform(AHEAD_M[0] * 1.1, AHEAD_M[1] * 0.9)
        place = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.5, 0.5), 0.0])
        blocks.pause()
        for k in range(2):
            turned = small_rotation(np.array([0, 0, k * heading_per_m * step]))
            seen = turned @ head @ HEAD_FROM_OPTICAL @ mount
            grey = SmallTurns.grey(picture(place + [k * step, 0, 0], seen, rng))
            row = np.array([0, 0, k * heading_per_m * step, yaw, pitch, k * step])
            blocks.see(t_ns := t_ns + 300_000_000, grey, row, head @ HEAD_FROM_OPTICAL, np.zeros(3))
        made += 1
    return told


def test_a_camera_that_looks_aside_is_told_with_an_honest_std():
    straight = [value for _, value, _ in drive(0.0, 2 * PAIRS)]
    for aside in (-4 * DEG, 4 * DEG):
        for name, value, std in drive(aside, 2 * PAIRS, 1):
            assert name == "camera_course" and std < 0.8 * DEG
            assert value - np.mean(straight) == pytest.approx(aside, abs=max(3 * std, 0.6 * DEG))


def test_turns_and_a_moving_head_give_no_pairs():
    assert drive(0.0, PAIRS, heading_per_m=0.5) == []


def test_a_dark_or_plain_picture_tells_nothing_for_sure():
    told = []
    blocks = CourseBlocks(PINHOLE, lambda name, t, value, std: told.append(std))
    rng, camera = np.random.default_rng(0), HEAD_FROM_OPTICAL
    for k in range(4 * PAIRS):
        grey = SmallTurns.grey(rng.normal(90, 2, (64, 64, 3)).clip(0, 255).astype(np.uint8))
        blocks.see(k * 300_000_000, grey, np.array([0, 0, 0, 0, 0, 0.06 * k]), camera, np.zeros(3))
    assert all(std > 3 * DEG / 3 for std in told), "the gauge passes such blocks over"
