"""Backwards only where the base has lately been."""

import math

import numpy as np
import pytest

from firmware_bridge.sensors import SENSORS
from runtime.body import load_body
from runtime.odometry import WheelGeometry
from runtime.trail import BESIDE_M, KEPT_S, LOOK_M, PLACES, STEP_M, Trail

GEOMETRY = load_body("companion").geometry
MS = 1_000_000


class Base:
    """A robot on a plane: what its sensors say of a motion."""

    def __init__(self) -> None:
        self.trail = Trail(WheelGeometry.drawn(GEOMETRY))
        self.record = np.zeros((), SENSORS)
        self.drive(0, 0, 0.01)

    def drive(self, speed_m_s: float, turn_rad_s: float, seconds: float) -> "Base":
        for _ in range(round(seconds * 100)):
            half = turn_rad_s * GEOMETRY.track_width_m / 2
            step = 0.01 / GEOMETRY.wheel_radius_m
            self.record["position_rad"][0] += (speed_m_s - half) * step
            self.record["position_rad"][1] += (speed_m_s + half) * step
            self.record["gyro_rad_s"][:, 2] = turn_rad_s
            self.record["t_ns"] += 10 * MS
            self.trail.sense(self.record)
        return self


def test_at_the_start_nothing_is_known_of_what_is_behind() -> None:
    assert Base().trail.behind_m() < BESIDE_M


def test_the_way_it_came_is_free_and_no_more_than_that() -> None:
    base = Base().drive(0.3, 0, 1.0)
    assert base.trail.behind_m() == pytest.approx(0.3, abs=BESIDE_M + STEP_M)
    base.drive(-0.3, 0, 0.5)
    assert base.trail.behind_m() == pytest.approx(0.15, abs=BESIDE_M + STEP_M)
    base.drive(0.5, 0, 2.0)
    assert base.trail.behind_m() == pytest.approx(LOOK_M, abs=STEP_M)


def test_another_direction_is_another_way() -> None:
    """Turned on the spot its back points at ground that it never went over."""
    base = Base().drive(0.3, 0, 2.0).drive(0, math.radians(60), 1.0)
    assert base.trail.behind_m() < 2 * BESIDE_M
    base.drive(0, -math.radians(60), 1.0)
    assert base.trail.behind_m() == pytest.approx(LOOK_M, abs=STEP_M)


def test_a_curve_is_followed_back_a_piece_at_a_time() -> None:
    base = Base().drive(0.3, 0.6, 3.0)
    assert 0.1 < base.trail.behind_m() < LOOK_M


def test_what_is_long_ago_does_not_count() -> None:
    base = Base().drive(0.3, 0, 2.0).drive(0, 0, KEPT_S - 1)
    assert base.trail.behind_m() > 0.3
    base.drive(0, 0, 3.0)
    assert base.trail.behind_m() < 2 * BESIDE_M, "only where it stood all the time"


def test_a_long_way_fills_the_memory_and_goes_on() -> None:
    base = Base().drive(0.5, 0, 2 * PLACES * STEP_M / 0.5)
    assert base.trail.behind_m() == pytest.approx(LOOK_M, abs=STEP_M)


def test_what_was_before_its_motors_were_off_is_forgotten() -> None:
    base = Base().drive(0.3, 0, 2.0)
    base.trail.forget()
    assert base.trail.behind_m() == 0.0
    base.drive(0, 0, 0.1)
    assert base.trail.behind_m() < BESIDE_M
    base.drive(0.3, 0, 1.0)
    assert base.trail.behind_m() == pytest.approx(0.3, abs=BESIDE_M + STEP_M)
