"""The wheel solver on drives whose truth is known."""

import numpy as np
import pytest

from calibration.errors import DataError
from calibration.wheels import Stretches, _errors, solve_wheels
from calibration.wheels_judge import judge, trust

RL, RR, BASE = 0.0748, 0.0751, 0.262
MOUNT = (0.05, -0.02, 0.3)


def drive(seed=0, count=300, pose=False, noise=1.0, straight=False, one_way=False, outliers=0.0):
    """Stretches of a second of all kinds of driving, true lengths RL, RR, BASE."""
    rng = np.random.default_rng(seed)
    dt = np.full(count, 1.0)
    speed = rng.uniform(-3, 6, count)
    turn = (
        np.zeros(count)
        if straight
        else rng.choice([-3.0, 0.0, 3.0], count) * rng.uniform(0.3, 1, count)
    )
    if one_way:
        turn = np.abs(turn)
    left, right = speed - turn, speed + turn
    truth = np.array([RL, RR, BASE, *MOUNT, 0.004])
    blank = Stretches(dt, left, right, np.zeros(count), np.zeros((count, 2)), True)
    moved = -_errors(blank, truth)
    moved[:, 0] += rng.normal(0, 0.002 * noise, count)
    moved[:, 1:] += rng.normal(0, 0.001 * noise, (count, 2))
    wild = rng.random(count) < outliers
    moved[wild, 0] += rng.uniform(-0.5, 0.5, wild.sum())
    if pose:
        moved[:, 0] -= 0.004 * dt
        return Stretches(dt, left, right, moved[:, 0], moved[:, 1:], False)
    return Stretches(dt, left, right, moved[:, 0], None, True)


def levels(data):
    fit = solve_wheels(data)
    return {f.level for f in judge(fit, trust(data, fit))}, judge(fit, trust(data, fit))


@pytest.mark.parametrize("pose", [False, True])
def test_ratios_come_back_within_a_thousandth(pose):
    fit = solve_wheels(drive(pose=pose))
    assert fit.base_over_diameter == pytest.approx(BASE / (RL + RR), rel=1e-3)
    assert fit.right_over_left == pytest.approx(RR / RL, rel=1e-3)
    assert fit.bias_rad_s == pytest.approx(0.0 if pose else 0.004, abs=5e-4)
    assert levels(drive(pose=pose))[0] == set()


def test_a_pose_gives_lengths_and_the_mounting():
    fit = solve_wheels(drive(pose=True))
    assert fit.diameters_m == pytest.approx((2 * RL, 2 * RR), rel=3e-3)
    assert fit.base_m == pytest.approx(BASE, rel=3e-3)
    assert fit.mount == pytest.approx(MOUNT, abs=3e-3)
    assert solve_wheels(drive()).diameters_m is None  # a gyro knows no metre


@pytest.mark.parametrize("pose", [False, True])
def test_intervals_hold_the_truth(pose):
    inside = []
    for seed in range(40):
        fit = solve_wheels(drive(seed, 150, pose))
        off = np.abs(
            np.array([fit.base_over_diameter - BASE / (RL + RR), fit.right_over_left - RR / RL])
        )
        inside.append(off < 1.96 * np.array(fit.ratio_std))
    assert 0.85 <= np.mean(inside, axis=0).min()


def test_a_fifth_of_slips_changes_nothing_and_is_told():
    data = drive(outliers=0.2)
    fit = solve_wheels(data)
    assert fit.base_over_diameter == pytest.approx(BASE / (RL + RR), rel=2e-3)
    found = judge(fit, trust(data, fit))
    assert any("slipped" in f.cause for f in found)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"straight": True, "noise": 3}, "not enough turning"),
        ({"one_way": True}, "0 to the right"),
        ({"count": 25, "noise": 20}, "known to"),
    ],
)
def test_weak_driving_is_no_pass(change, word):
    found, causes = levels(drive(**change))
    assert found and any(word in f.cause for f in causes), causes


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda d: Stretches(d.dt_s, d.right, d.left, d.turn, None, True), "exchanged"),
        (lambda d: Stretches(d.dt_s, d.left, d.right, -d.turn, None, True), "exchanged"),
        (lambda d: Stretches(d.dt_s, -d.left, d.right, d.turn, None, True), "backwards"),
        (lambda d: Stretches(d.dt_s, d.left, d.right, np.degrees(d.turn), None, True), "degrees"),
        (lambda d: Stretches(d.dt_s, d.left * 652, d.right * 652, d.turn, None, True), "ticks"),
        (lambda d: Stretches(d.dt_s, d.left, d.right * 2.0, d.turn, None, True), "no robot has"),
    ],
)
def test_wrong_units_and_signs_are_named(wrong, word):
    data = wrong(drive())
    fit = solve_wheels(data)
    found = judge(fit, trust(data, fit))
    assert any(f.level == "FAIL" and word in f.cause for f in found), found


def test_too_little_is_an_error():
    with pytest.raises(DataError, match="10 stretches"):
        solve_wheels(drive(count=10))
