"""The policy layout: what the numbers of a model mean on a body."""

from dataclasses import replace

import numpy as np
import pytest

from models.bundle import layout_spec
from models.layout import GOAL_FIELDS, GOAL_MASKS, GOAL_SIZE, GRAVITY_M_S2, goal_vector
from runtime.body import load_body


@pytest.fixture
def layout():
    return load_body("companion").layout()


def test_names_and_sizes_agree(layout) -> None:
    assert layout.action_size == 4
    assert layout.proprio_names == (
        "wheel_left.velocity", "wheel_right.velocity", "head_yaw.velocity", "head_pitch.velocity",
        "head_yaw.position", "head_pitch.position", "range.nearness",
    )  # fmt: skip
    assert layout.proprio_size == len(layout.proprio_names)


def test_senses_are_rates_per_full_scale_then_radians(layout) -> None:
    velocity, position = np.arange(16, dtype=np.float32), np.arange(16, dtype=np.float32) / 10
    out = np.zeros(layout.proprio_size, np.float32)
    layout.proprio(position, velocity, np.inf, out)
    full = [j.velocity_max_rad_s for j in layout.joints]
    assert out[:4] == pytest.approx([k / full[k] for k in range(4)])
    assert out[4:] == pytest.approx([0.2, 0.3, 0.0])


@pytest.mark.parametrize(("range_m", "nearness"), [(0.0, 1.0), (1.0, 0.5), (2.0, 0.0), (5.0, 0.0)])
def test_the_range_sensor_is_a_nearness(layout, range_m: float, nearness: float) -> None:
    out = np.ones(layout.proprio_size, np.float32)
    layout.proprio(np.zeros(16, "f4"), np.zeros(16, "f4"), range_m, out)
    assert out[layout.index("range.nearness")] == pytest.approx(nearness)


def test_a_body_without_a_range_sensor_has_no_such_sense(layout) -> None:
    blind = replace(layout, has_range=False)
    assert blind.proprio_size == layout.proprio_size - 1
    assert blind.index("range.nearness") is None


def test_a_robot_at_rest_feels_nothing(layout) -> None:
    out = np.ones((5, 6), np.float32)
    accel = np.tile(np.array([0, 0, GRAVITY_M_S2], np.float32), (5, 1))
    layout.imu(accel, np.zeros((5, 3), np.float32), out)
    assert np.abs(out).max() < 1e-6


def test_the_imu_is_normalised(layout) -> None:
    out = np.zeros(6, np.float32)
    layout.imu(np.array([5, -10, GRAVITY_M_S2 + 5], "f4"), np.array([0.5, 0, -2], "f4"), out)
    assert out == pytest.approx([1, -2, 1, 0.5, 0, -2], abs=1e-5)


@pytest.mark.parametrize(
    ("asked", "values", "masks"),
    [
        ({}, {}, ()),
        ({"distance_m": 1.2}, {"distance_m": 1.2}, ("distance",)),
        ({"position_m": (1.0, -2.0)}, {"x_m": 1.0, "y_m": -2.0}, ("position",)),
        ({"appearance": (0.1, 0.2, 0.3)}, {"red": 0.1, "green": 0.2, "blue": 0.3}, ("appearance",)),
        ({"heading_rad": np.pi / 2}, {"sin_heading": 1.0}, ("heading",)),
    ],
)  # fmt: skip
def test_a_goal_carries_only_what_was_asked_and_says_so(asked, values, masks) -> None:
    goal = goal_vector(**asked)
    assert goal.shape == (GOAL_SIZE,) and goal.dtype == np.float32
    wanted = [values.get(f, 0.0) for f in GOAL_FIELDS] + [float(m in masks) for m in GOAL_MASKS]
    assert goal == pytest.approx(wanted, abs=1e-6)


def test_the_manifest_sees_every_change_of_meaning(layout) -> None:
    plain = layout_spec(layout)
    joints = (replace(layout.joints[2], is_position=False), *layout.joints[3:])
    for changed in (
        replace(layout, joints=(*layout.joints[:2], *joints)),
        replace(layout, joints=layout.joints[::-1]),
        replace(layout, control_hz=200),
        replace(layout, frame_hz=30),
        replace(layout, gyro_scale_rad_s=2.0),
        replace(layout, accel_scale_m_s2=9.0),
    ):
        assert layout_spec(changed) != plain
