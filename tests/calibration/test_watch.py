"""Gauges: reference, CUSUM, hysteresis; a stated false alarm rate; pictures turned by known angles."""

import math

import numpy as np
import pytest

from calibration.camera import PinholeCamera
from calibration.small_turns import SmallTurns, small_rotation
from calibration.watch import (
    KINDS,
    LEAST_SLACK,
    MOST,
    REFERENCE,
    Flag,
    Gauge,
    H,
    blocks_to_false_alarm,
    flags_of,
)
from calibration.watch_blocks import Base, CameraBlocks, Regression, RestBlocks, WheelBlocks

RATIO = KINDS["wheel_ratio"]


def gauge(offsets, std: float = 0.0012) -> Gauge:
    g = Gauge("wheel_ratio")
    for k, value in enumerate([0.01] * REFERENCE + [0.01 + o for o in offsets]):
        g.add(k, value, std)
    return g


def test_a_change_is_flagged_within_six_blocks_with_its_amount_and_onset() -> None:
    g = gauge([0.0] * 10 + [0.008] * 6)
    assert g.flag is not None
    assert g.flag.amount == pytest.approx(0.008) and g.flag.since_ns == REFERENCE + 10
    assert g.flag.said("12 Nov") == "wheel ratio moved +0.8 % since 12 Nov: run `companion calibrate wheels record`"  # fmt: skip
    assert not g.flag.gross and Flag("wheel_ratio", -0.016, 0).gross
    assert gauge([0.0] * 10 + [-0.008] * 6).flag is not None


def test_below_the_limit_nothing_is_flagged_however_long() -> None:
    assert gauge([0.9 * RATIO.raise_at] * 500).flag is None
    assert gauge([0.05, 0.0, 0.0, 0.0] * 50).flag is None, "odd blocks are no drift"


def test_hysteresis_at_the_threshold() -> None:
    """Once raised it stands between the two limits; back and forth about one of them never flaps."""
    up, between, down = 1.2 * RATIO.raise_at, 0.7 * RATIO.raise_at, 0.3 * RATIO.clear_at
    g = gauge([up] * 8)
    assert g.flag is not None
    for offset in [between] * 20 + [1.1 * RATIO.raise_at, 0.9 * RATIO.raise_at] * 20:
        g.add(0, 0.01 + offset, 0.001)
        assert g.flag is not None
    changes, stood = 0, True
    for offset in [down] * 4 + [between, 0.9 * RATIO.raise_at] * 40:
        g.add(0, 0.01 + offset, 0.001)
        changes += (g.flag is not None) != stood
        stood = g.flag is not None
    assert changes == 1 and not stood


def test_coarse_or_broken_blocks_are_passed_over() -> None:
    g = gauge([])
    for value, std in ((0.5, RATIO.raise_at), (math.nan, 0.001), (0.5, math.inf)):
        g.add(9, value, std)
    assert g.blocks == REFERENCE and not g.tail


def test_noise_raises_no_flag_and_the_formula_is_siegmunds() -> None:
    rng = np.random.default_rng(0)
    for name, kind in KINDS.items():
        g = Gauge(name)
        std = kind.raise_at / 3
        for k, value in enumerate(rng.normal(0, std, 20_000)):
            g.add(k, float(value), std)
            # the mean of four reference blocks is off, too: with it the limit is that much nearer
            assert g.flag is None or abs(g.reference or 0) > std, name
    assert blocks_to_false_alarm() > 1e10
    slack, h, runs = 0.5, 3.0, []
    for _ in range(300):
        up = down = 0.0
        k = 0
        while max(up, down) < h:
            z = rng.normal()
            up, down = max(0, up + z - slack), max(0, down - z - slack)
            k += 1
        runs.append(k)
    assert np.mean(runs) == pytest.approx(blocks_to_false_alarm(slack, h), rel=0.25)
    assert LEAST_SLACK == 1.5 and H / MOST >= 2


def test_an_imu_that_turned_explains_a_camera_that_seems_to_have() -> None:
    camera, imu = Gauge("camera_roll"), Gauge("imu_roll")
    camera.flag, imu.flag = Flag("camera_roll", 0.08, 0), Flag("imu_roll", 0.08, 0)
    assert flags_of([camera, imu]) == [imu.flag]
    assert flags_of([camera]) == [camera.flag]


def test_what_was_not_excited_has_no_finite_std() -> None:
    fit = Regression(2)
    x = np.linspace(-1, 1, 50)
    fit.add(np.column_stack([x, np.zeros(50)]), 2 * x)
    value, std = fit.solve()
    assert value[0] == pytest.approx(2) and std[0] < 1e-3 and np.isinf(std[1])


def told() -> tuple[dict[str, list[float]], object]:
    seen: dict[str, list[float]] = {}
    return seen, lambda name, t, value, std: seen.setdefault(name, []).append(value)


def test_wheel_blocks_by_hand() -> None:
    """A right wheel 1 % larger than told, a track 2 % wider, a biased gyro, a late turn: all apart."""
    seen, tell = told()
    blocks = WheelBlocks(Base(0.075, 0.075, 0.26), tell)
    rng = np.random.default_rng(1)
    left = right = yaw = 0.0
    for k in range(6000):
        t = k * 0.01
        wl, wr = 3 + 2 * math.sin(0.9 * t), 3 * math.sin(0.31 * t + 1)
        left, right = left + wl * 0.01, right + wr * 0.01
        yaw += 0.01 * ((0.07575 * wr - 0.075 * wl) / 0.26 + 0.02) + rng.normal(0, 1e-5)
        blocks.add(k * 10_000_000, left, right, yaw, (wr - wl) * 0.075 / 0.26)
    assert np.mean(seen["wheel_ratio"]) == pytest.approx(0.01, abs=5e-4)
    assert np.mean(seen["wheel_base"]) == pytest.approx(-0.005, abs=5e-4)


def test_rest_blocks_and_one_slope_per_place() -> None:
    seen, tell = told()
    rest = RestBlocks(tell)
    rng = np.random.default_rng(2)
    tilt = 0.05
    for k in range(1000):
        gyro = rng.normal([0.01, 0, -0.02], 0.004, (5, 3))
        accel = rng.normal([0, 9.81 * math.sin(tilt), 9.81 * math.cos(tilt)], 0.06, (5, 3))
        rest.add(k, 0.0, gyro, accel)
    assert len(seen["gyro_bias_z"]) == 5 and len(seen["gravity"]) == 1
    assert seen["gyro_bias_z"] == pytest.approx([-0.02] * 5, abs=1e-3)
    assert seen["imu_roll"] == pytest.approx([tilt], abs=2e-3)
    for _ in range(100):
        rest.add(0, 0.1, np.zeros((5, 3)), np.zeros((5, 3)))
    for k in range(200):
        rest.add(k, 0.0, rng.normal(0, 0.2, (5, 3)), np.full((5, 3), 9.8))
    assert len(seen["gravity"]) == 1, "somebody carries it"


def test_camera_blocks_by_hand() -> None:
    seen, tell = told()
    blocks = CameraBlocks(tell)
    rng = np.random.default_rng(3)
    mount = np.array([0.02, -0.01, 0.03])
    for k in range(200):
        p = rng.normal(0, 0.04, 3)
        blocks.add(k, p, np.cross(p, mount) + 0.05 * p + 1e-3 + rng.normal(0, 1e-4, 3))
    names = ("camera_pitch", "camera_roll", "focal")
    assert [seen[n][0] for n in names] == pytest.approx([0.02, 0.03, 0.05], abs=1e-3)
    assert set(seen) == set(names)


@pytest.fixture(scope="module")
def pinhole() -> PinholeCamera:
    return PinholeCamera(64, 64, 46.0, 46.0, 31.5, 31.5)


def scene(pinhole: PinholeCamera, turn: np.ndarray) -> np.ndarray:
    """(H, W, 3) of something far away with soft edges, seen after a turn."""
    rays = turn @ pinhole.unproject(pinhole.pixels()).T
    x, y = rays[0] / rays[2], rays[1] / rays[2]
    grey = 128 + 45 * np.sin(9 * x + 2 * y) + 45 * np.sin(7 * y - 3 * x + 1)
    return np.repeat(grey.reshape(64, 64, 1), 3, 2).clip(0, 255).astype(np.uint8)


def test_what_a_picture_turned_more_than_foretold(pinhole: PinholeCamera) -> None:
    turns = SmallTurns(pinhole)
    foretold = small_rotation(np.array([0.01, 0.05, -0.02]))
    more = np.array([2e-3, -3e-3, 4e-3])
    before = turns.grey(scene(pinhole, np.eye(3)))
    after = turns.grey(0.9 * scene(pinhole, foretold @ small_rotation(more)) + 8)
    found = turns.leftover(before, after, foretold, np.array([0.0, 0.0, 1.0]))
    assert found is not None
    assert found.turn_rad == pytest.approx(more, abs=3e-4)
    plain = np.full((64, 64), 90.0, np.float32)
    assert turns.leftover(plain, plain, np.eye(3), np.array([0.0, 0.0, 1.0])) is None
    assert turns.leftover(before, after, small_rotation(np.array([0, 1.2, 0])), np.array([0, 0, 1.0])) is None  # fmt: skip
