"""Multi-position IMU calibration: truth within its intervals, and no PASS with a wrong answer."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import DataError
from calibration.imu_poses import ImuPoses, solve
from calibration.imu_poses_judge import Stated, judge, raw_unit
from calibration.sphere import cells, covered, missing
from calibration.verdict import RANK

spec = importlib.util.spec_from_file_location("imu_poses_bench", Path(__file__).with_name("imu_poses_bench.py"))  # fmt: skip
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)
G, recording = bench.G, bench.recording

AROUND = np.concatenate((np.eye(3), -np.eye(3), cells()))


def solved(r, **changed) -> ImuPoses:
    logs = {"accel": r.accel, "gyro": r.gyro} | changed
    return solve(r.t_s, logs["accel"], r.t_s, logs["gyro"], G)


def level(found: ImuPoses, accel: str = "", gyro: str = "", whole: bool = True) -> str:
    findings = judge(found, Stated(accel, whole), Stated(gyro, whole))
    return max((f.level for f in findings), key=RANK.__getitem__, default="PASS")


def causes(found: ImuPoses, accel: str = "", gyro: str = "", whole: bool = True) -> str:
    return "; ".join(f.cause for f in judge(found, Stated(accel, whole), Stated(gyro, whole)))


def wrong(found: ImuPoses, r) -> float:
    """Largest relative error of a scale."""
    return max(
        np.abs(found.accel.inverse_scale / r.truth["accel_scale"] - 1).max(),
        np.abs(found.gyro.inverse_scale / r.truth["gyro_scale"] - 1).max(),
    )


def test_intervals_hold_the_truth_in_20_recordings() -> None:
    hits = []
    upper, off = np.triu_indices(3, 1), ~np.eye(3, dtype=bool)
    for seed in range(20):
        r = recording(seed)
        found, truth = solved(r), r.truth
        assert wrong(found, r) < 0.002
        pairs = [
            (found.accel.inverse_scale, truth["accel_scale"], found.accel.inverse_scale_std),
            (found.accel.bias, truth["accel_bias"], found.accel.bias_std),
            (found.accel.misalignment[upper], truth["accel_t"][upper], found.accel.misalignment_std[upper]),
            (found.gyro.inverse_scale, truth["gyro_scale"], found.gyro.inverse_scale_std),
            (found.gyro.bias, truth["gyro_bias"], found.gyro.bias_std),
            (found.gyro.misalignment[off], truth["gyro_t"][off], found.gyro.misalignment_std[off]),
        ]  # fmt: skip
        hits.append(np.concatenate([np.abs(a - b) < 1.96 * s for a, b, s in pairs]))
    share = np.mean(hits, axis=0)
    assert share.min() >= 0.85, share
    assert 0.9 <= share.mean() <= 0.99


@pytest.mark.parametrize(
    ("rate_hz", "accel_units", "gyro_units", "units"),
    [
        (50.0, 1.0, 1.0, ("m/s^2", "rad/s")),
        (400.0, 1.0, 180 / np.pi, ("m/s^2", "deg/s")),
        (100.0, 1 / 9.80665, 180 / np.pi, ("g", "deg/s")),
        (25.0, 415.0, 4778.0, ("counts", "counts")),
    ],
)
def test_any_rate_and_any_unit(rate_hz, accel_units, gyro_units, units) -> None:
    r = recording(1, rate_hz=rate_hz, accel_units=accel_units, gyro_units=gyro_units, ways=AROUND, poses=40)  # fmt: skip
    found = solved(r)
    assert wrong(found, r) < 0.003
    assert (raw_unit("accel", found.accel), raw_unit("gyro", found.gyro)) == units
    assert level(found, *units) == "PASS", causes(found, *units)


def test_a_unit_that_the_log_states_wrongly_is_named() -> None:
    r = recording(2, accel_units=1 / 9.80665, gyro_units=180 / np.pi)
    found = solved(r)
    said = causes(found, "m/s^2", "rad/s")
    assert "the accel log says m/s^2, the data say g" in said
    assert "the gyro log says rad/s, the data say deg/s" in said
    half = solved(recording(2, accel_units=1.0, gyro_units=2.0))
    assert "of its units to a rad/s" in causes(half, "m/s^2", "rad/s")
    assert "unknown unit" in causes(half, whole=False)


def test_swapped_files_are_named() -> None:
    r = recording(3)
    with pytest.raises(DataError, match="swapped"):
        solved(r, accel=r.gyro, gyro=r.accel)
    with pytest.raises(DataError, match="gyro's file changes with the pose"):
        solved(r, gyro=r.accel)
    with pytest.raises(DataError, match="same in every pose"):
        solved(r, accel=r.gyro)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda g: g[:, [1, 0, 2]], "lie gyro y, x, z"),
        (lambda g: g[:, [1, 2, 0]], "along accelerometer x, y, z"),
        (lambda g: g * [1, -1, 1], "lie gyro x, -y, z"),
        (lambda g: -g, "lie gyro -x, -y, -z"),
    ],
)
def test_swapped_and_turned_axes_are_named(change, named: str) -> None:
    r = recording(4)
    found = solved(r, gyro=change(r.gyro))
    assert level(found) == "FAIL"
    assert named in causes(found)


def test_too_little_is_never_a_pass() -> None:
    with pytest.raises(DataError, match="still poses found"):
        solved(recording(5, poses=5))
    few = solved(recording(5, poses=14))
    assert level(few) == "FAIL" and "still poses, 24 wanted" in causes(few)
    short = solved(recording(6, first_s=6.0))
    assert level(short) == "MARGINAL" and "too short a still period" in causes(short)
    lying = recording(7, poses=30)
    lying.accel[:], lying.gyro[:] = lying.accel[0] + lying.gyro[:1] * 0, lying.gyro[0]
    noise = np.random.default_rng(0).normal(size=lying.accel.shape)
    with pytest.raises(DataError, match="still poses found"):
        solved(lying, accel=lying.accel + noise, gyro=lying.gyro + noise)


def test_a_direction_never_shown_is_named() -> None:
    r = recording(8, ways=AROUND[AROUND[:, 2] > -0.4], poses=40)
    found = solved(r)
    assert level(found) != "PASS"
    assert "no pose with Z down" in causes(found)
    flat = solved(recording(8, ways=AROUND[np.abs(AROUND[:, 2]) < 0.3], poses=40))
    assert level(flat) == "FAIL"


@pytest.mark.parametrize("seed", range(4))
def test_a_fifth_of_knocked_poses_does_not_pass_wrong(seed: int) -> None:
    r = recording(seed, ways=AROUND, poses=40)
    rng = np.random.default_rng(seed)
    clean = solved(r)
    accel = r.accel.copy()
    for pose in rng.choice(len(clean.poses), len(clean.poses) // 5, replace=False):
        at = clean.poses[pose]
        accel[at.first - 40 : at.end + 40] += rng.normal(0, 0.3 * 415, 3)
    found = solved(r, accel=accel)
    assert level(found) != "PASS"


def test_vibration_and_saturation_do_not_pass_wrong() -> None:
    r = recording(9, ways=AROUND, poses=40)
    rng = np.random.default_rng(1)
    try:
        shaken = solved(r, accel=r.accel + 415 * rng.normal(0, 0.8, r.accel.shape))
    except DataError as error:
        assert "still poses" in str(error)
    else:
        assert level(shaken) != "PASS"
    clipped = solved(r, gyro=np.clip(r.gyro, -4778 * 1.2, 4778 * 1.2))
    assert level(clipped) != "PASS"
    assert "end of its range" in causes(clipped)


def test_other_clocks_are_refused() -> None:
    r = recording(10)
    with pytest.raises(DataError, match="share 0.0 s"):
        solve(r.t_s, r.accel, r.t_s + 1e6, r.gyro, G)
    late = solve(r.t_s, r.accel, r.t_s + 0.5, r.gyro, G)
    assert level(late) != "PASS"


def test_the_sphere_has_32_even_cells_and_names_what_is_missing() -> None:
    ways = np.random.default_rng(0).normal(size=(20000, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    assert covered(ways).all() and len(np.unique(cells().round(6), axis=0)) == 32
    share = np.bincount(np.argmax(ways @ cells().T, axis=1)) / len(ways)
    assert 0.02 < share.min() and share.max() < 0.04
    assert missing(ways) == []
    assert missing(np.eye(3)) == ["X down", "Y down", "Z down"]
    assert missing(ways[ways[:, 0] < 0.5]) == ["X up"]
