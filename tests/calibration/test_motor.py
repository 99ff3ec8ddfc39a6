"""The motor solver on sweeps whose truth is known."""

import numpy as np
import pytest

from calibration.errors import DataError
from calibration.motor import Sweep, judge_motor, solve_motor

DELAY, PLAY = 0.06, 0.01


def sweep(seed=0, gain=1.0, delay=DELAY, play=PLAY, noise=0.002, blocked="", reach=1.0):
    rng = np.random.default_rng(seed)
    path, at = [], 0.0
    for speed in (0.3, 0.6):
        for goal in (1.5, -1.5, 0.0):
            path += np.linspace(at, goal, round(abs(goal - at) / speed * 100) + 1)[1:].tolist()
            at = goal
    t = np.arange(len(path)) / 100
    command = np.array(path)
    rate = np.gradient(command, t)
    late = np.interp(t - delay, t, command)
    answer = (
        gain * late * reach
        - play / 2 * np.sign(np.interp(t - delay, t, rate))
        + rng.normal(0, noise, len(t))
    )
    return Sweep(
        "head_yaw", t, command, answer, rng.normal(0.05, 0.01, len(t)), 0.2, False, blocked
    )


def test_gain_delay_and_play_come_back():
    joint = solve_motor(sweep(gain=1.01))
    assert joint.gain == pytest.approx(1.01, abs=2e-3)
    assert joint.delay_s == pytest.approx(DELAY, abs=5e-3)
    assert joint.hysteresis == pytest.approx(PLAY, abs=2e-3)
    assert judge_motor(sweep(), solve_motor(sweep())) == []
    assert joint.halves_delay_s < 0.01


def test_intervals_hold_the_truth():
    truth = np.array([1.0, DELAY, PLAY])
    inside = []
    for seed in range(40):
        joint = solve_motor(sweep(seed))
        got = np.array([joint.gain, joint.delay_s, joint.hysteresis])
        inside.append(np.abs(got - truth) < 1.96 * np.array(joint.std[:3]))
    assert np.mean(inside, axis=0).min() >= 0.85


def wheel(seed=0, gain=0.99, friction=0.04, delay=0.035):
    """Triangles both ways at two slopes, as the tool commands them."""
    rng = np.random.default_rng(seed)
    path, at = [], 0.0
    for slope in (2.0, 1.0):
        for top in (1.0, 2.0):
            for goal in (top, -top, 0.0):
                path += np.linspace(at, goal, round(abs(goal - at) / slope * 100) + 1)[1:].tolist()
                at = goal
    t, command = np.arange(len(path)) / 100, np.array(path)
    late = np.interp(t - delay, t, command)
    answer = gain * late - friction * np.tanh(late / 0.02) + rng.normal(0, 0.02, len(t))
    return Sweep("wheel_left", t, command, answer, np.full(len(t), 0.05), 0.4, True)


def test_a_wheels_friction_is_no_gain():
    """A droop that does not grow with speed; taken for a gain it would make a fast wheel too fast."""
    truth = np.array([0.99, 0.035, 0.04])
    inside = []
    for seed in range(40):
        joint = solve_motor(wheel(seed))
        got = np.array([joint.gain, joint.delay_s, joint.friction_rad_s])
        assert np.abs(got - truth).max() < 0.01
        inside.append(np.abs(got - truth) < 1.96 * np.array(joint.std[:3]))
    assert np.mean(inside, axis=0).min() >= 0.85
    hard = wheel(friction=0.4)
    assert any("to friction" in f.cause for f in judge_motor(hard, solve_motor(hard)))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"gain": -1.0}, "against its command"),
        ({"gain": 0.8}, "0.800 of what is commanded"),
        ({"reach": 0.02}, "did not move"),
        ({"play": 0.2}, "of play"),
        ({"delay": 0.4}, "answers after"),
    ],
)
def test_what_is_wrong_with_a_joint_is_named(change, word):
    found = judge_motor(sweep(**change), solve_motor(sweep(**change)))
    assert any(word in f.cause for f in found), found


def test_an_obstruction_speaks_alone():
    found = judge_motor(sweep(blocked="it stays 0.20 rad behind"), None)
    assert [f.level for f in found] == ["FAIL"]
    assert "blocked at" in found[0].cause


def test_too_little_is_an_error():
    s = sweep()
    with pytest.raises(DataError, match="50 samples"):
        solve_motor(Sweep("ear", s.t_s[:50], s.command[:50], s.answer[:50], s.current_a[:50], 0.2))
    with pytest.raises(DataError, match="hardly moves"):
        solve_motor(Sweep("ear", s.t_s, np.zeros_like(s.t_s), s.answer, s.current_a, 0.2))
