"""Dead reckoning from wheels and gyro: bias, slip, silence."""

import math

import numpy as np
import pytest

from firmware_bridge.sensors import SENSORS
from runtime.body import load_body
from runtime.odometry import Odometry, WheelGeometry

GEOMETRY = load_body("companion").geometry
MS = 1_000_000


class Wheels:
    """A robot on a plane: what its sensors say of a motion."""

    def __init__(self, bias=0.0):
        self.odometry = Odometry(WheelGeometry.drawn(GEOMETRY))
        self.record = np.zeros((), SENSORS)
        self.bias = bias
        self.drive(0, 0, 0.01)

    def drive(self, speed, turn, seconds, slip=0.0, dt_ms=10, heard=True):
        """`slip`: turn of the wheels that the base does not make, rad/s."""
        for _ in range(round(seconds * 1000 / dt_ms)):
            half = (turn + slip) * GEOMETRY.track_width_m / 2
            step = dt_ms / 1000 / GEOMETRY.wheel_radius_m
            self.record["position_rad"][0] += (speed - half) * step
            self.record["position_rad"][1] += (speed + half) * step
            self.record["gyro_rad_s"][:, 2] = turn + self.bias
            self.record["t_ns"] += dt_ms * MS
            if heard:
                self.odometry.step(self.record)
        return self


def test_it_begins_at_zero_and_stays_there():
    assert Wheels(bias=0.02).drive(0, 0, 5).odometry.pose == pytest.approx((0, 0, 0), abs=1e-6)


@pytest.mark.parametrize("bias", [0.0, 0.02, -0.02])
def test_a_square_ends_where_it_began(bias):
    wheels = Wheels(bias).drive(0, 0, 0.5)
    for _ in range(4):
        wheels.drive(0.5, 0, 2).drive(0, math.pi / 4, 2)
    x, y, yaw = wheels.odometry.pose
    assert math.hypot(x, y) < 0.01 and abs(yaw) < 0.01
    assert wheels.odometry.bias_rad_s == pytest.approx(bias, abs=1e-3)


def test_a_slipping_wheel_does_not_turn_it():
    wheels = Wheels().drive(0.3, 0, 1).drive(0.3, 0, 1, slip=1.0)
    assert wheels.odometry.pose == pytest.approx((0.6, 0, 0), abs=0.005)


def test_after_a_silence_the_wheels_tell_the_turn():
    wheels = Wheels().drive(0, 1.0, 0.5).drive(0, 1.0, 0.3, heard=False).drive(0, 1.0, 0.2)
    assert wheels.odometry.pose[2] == pytest.approx(1.0, abs=0.01)


def test_a_batch_twice_moves_nothing_twice():
    wheels = Wheels().drive(0.5, 0, 1)
    wheels.odometry.step(wheels.record)
    assert wheels.odometry.pose[0] == pytest.approx(0.5, abs=1e-4)


def test_calibrated_wheels_turn_and_roll_as_measured():
    result = {"base_over_diameter": 1.8, "right_over_left": 1.01}
    wheels = WheelGeometry.calibrated(GEOMETRY, result)
    assert wheels.right_m / wheels.left_m == pytest.approx(1.01)
    assert wheels.left_m + wheels.right_m == pytest.approx(2 * GEOMETRY.wheel_radius_m)
    assert wheels.track_m / (wheels.left_m + wheels.right_m) == pytest.approx(1.8)
    assert wheels.turned_rad(-1, 1) == pytest.approx(1 / 1.8)
    assert wheels.ahead_m(1, 1) == pytest.approx(GEOMETRY.wheel_radius_m)
    longer = WheelGeometry.calibrated(GEOMETRY, result | {"wheel_diameters_m": [0.16, 0.16]})
    assert longer.ahead_m(1, 1) == pytest.approx(0.08)
    for bad in (
        {},
        {"base_over_diameter": -1, "right_over_left": 1},
        {"base_over_diameter": "x", "right_over_left": 1},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            WheelGeometry.calibrated(GEOMETRY, bad)


def test_a_robot_takes_the_wheels_of_its_own_board(tmp_path, monkeypatch):
    from dataclasses import replace

    from calibration.store import Record, write_record
    from tools.compose import RunSettings, calibration_folder, prepare

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    record = Record(
        kind="wheels", serial="board-1", date="2026-01-01T00:00:00Z", tool_version="0", verdict="PASS",
        cause="c", next="n", result={"base_over_diameter": 1.8, "right_over_left": 1.0}, quality={},
    )  # fmt: skip
    write_record(calibration_folder(), record)
    drawn = WheelGeometry.drawn(GEOMETRY)
    twin = prepare(RunSettings(seed=1, lockstep=True))
    robot = replace(twin, settings=replace(twin.settings, target="robot"), mcu="board-1")
    assert robot.wheels().track_m == pytest.approx(1.8 * 2 * GEOMETRY.wheel_radius_m)
    assert replace(robot, mcu="board-2").wheels() == drawn
    assert twin.wheels() == drawn
