"""The head's mount from synthetic views: truth known, encoders that tell angles by steps."""

import cv2
import numpy as np
import pytest

from calibration.board import parse_board
from calibration.bundle_adjustment import View
from calibration.head import Chain, Pose, base_from_head, mount, solve_head
from calibration.projection import project

CHAIN = Chain((0.02, 0.0, 0.25), (0.0, 0.0, 0.05), (0.05, 0.0, 0.03))
LENS = np.array([80.0, 80.0, 63.5, 47.5, 0, 0, 0, 0, 0])
BOARD = parse_board("chessboard:6x4:40mm")
TRUE = np.array([0.003, -0.002, 0.004, 0.01, -0.015, 0.02])
STEP = 2 * np.pi / 4096
NOISE_PX = 0.05


def recorded(seed: int, step_rad: float) -> list[Pose]:
    """Sixteen poses; each angle is told alike every time that the head stands there."""
    rng = np.random.default_rng(seed)
    yaws, pitches = np.array([-0.36, -0.12, 0.12, 0.36]), np.array([-0.28, -0.1, 0.08, 0.26])
    off = rng.uniform(-0.5, 0.5, (2, 4)) * step_rad
    off -= off.mean(1, keepdims=True)  # an encoder's zero is the mount's
    board = np.eye(4)
    board[:3, :3] = mount(CHAIN, np.array([0, 0, 0, 0.25, -0.2, 0.1]))[:3, :3]
    board[:3, 3] = np.array([0.46, 0.02, 0.36]) - board[:3, :3] @ BOARD.points.mean(0)
    poses = []
    for i, yaw in enumerate(yaws):
        for j, pitch in enumerate(pitches):
            seen = np.linalg.inv(base_from_head(CHAIN, yaw + off[0, i], pitch + off[1, j]) @ mount(CHAIN, TRUE)) @ board  # fmt: skip

            vector = np.concatenate([np.ravel(cv2.Rodrigues(seen[:3, :3])[0]), seen[:3, 3]])
            pixels = project("pinhole", LENS, vector, BOARD.points)[0]
            pixels = pixels + rng.normal(0, NOISE_PX, pixels.shape)
            poses.append(Pose(yaw, pitch, View(f"{i}{j}", BOARD.points, pixels)))
    return poses


@pytest.mark.parametrize("step_rad", [0.0, STEP, 3 * STEP])
def test_intervals_hold_the_truth_whatever_the_encoders_step(step_rad: float) -> None:
    scores = []
    for seed in range(20):
        fit = solve_head(recorded(seed, step_rad), CHAIN, "pinhole", LENS, (step_rad, step_rad))
        scores.append((np.concatenate([fit.shift_m, fit.turn_rad]) - TRUE) / fit.std)
    inside = np.abs(scores) < 1.96
    assert inside.mean(0).min() >= 0.85
    assert 0.5 < np.sqrt(np.mean(np.square(scores))) < 1.25


def test_a_coarse_encoder_taken_for_a_fine_one_is_believed_too_much() -> None:
    """What the test above would not see, if steps were not counted."""
    inside = []
    for seed in range(10):
        fit = solve_head(recorded(seed, 3 * STEP), CHAIN, "pinhole", LENS, (0.0, 0.0))
        off = np.concatenate([fit.shift_m, fit.turn_rad]) - TRUE
        inside.append(np.abs(off) < 1.96 * fit.std)
    assert np.mean(inside, axis=0).min() < 0.85
