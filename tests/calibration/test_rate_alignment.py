"""Time offset and rotation from turn rates: truth within its intervals, and what cannot be told."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import DataError
from calibration.rate_alignment import align, apart_deg, interval_rates
from calibration.rate_judge import Seen, judge, offset_known, rotation_known
from calibration.rotations import matrices, product, quaternion, quaternions, turn
from calibration.verdict import RANK

spec = importlib.util.spec_from_file_location("rates_bench", Path(__file__).with_name("rates_bench.py"))  # fmt: skip
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)
pair = bench.pair


def aligned(logs, width_s: float = 0.02):
    (t_a, a), (t_b, b) = logs[:2]
    return align(interval_rates(t_a, a, width_s), t_b, b)


def level(found, seen=None) -> str:
    return max((f.level for f in judge(found, seen)), key=RANK.__getitem__, default="PASS")


def causes(found, seen=None) -> str:
    return "; ".join(f.cause for f in judge(found, seen))


@pytest.mark.parametrize("rates", [(200.0, 150.0), (1000.0, 100.0)])
def test_intervals_hold_the_truth_in_20_recordings(rates) -> None:
    offsets, turns = [], []
    for seed in range(20):
        logs = pair(seed, rates=rates)
        found = aligned(logs, 3 / min(rates))
        error_s = found.whole.offset_s - logs[2]
        assert abs(error_s) < 1e-4 and apart_deg(found.whole.rotation, logs[3]) < 0.1
        assert level(found) == "PASS", causes(found)
        offsets.append(abs(error_s) < 1.96 * found.whole.offset_std_s)
        turns.append(np.abs(turn(found.whole.rotation @ logs[3].T)) < 1.96 * found.whole.rotation_std_rad)  # fmt: skip
    assert np.mean(offsets) >= 0.85
    assert np.mean(turns, axis=0).min() >= 0.85


def test_the_conventions_by_hand() -> None:
    """B's clock shows 0.25 s more, and B's x lies along A's y: v_A = R v_B."""
    t = np.arange(0, 20, 0.005)
    moves = bench.motion(np.random.default_rng(1), 20)
    b = moves(t)
    a = np.column_stack((-b[:, 1], b[:, 0], b[:, 2]))  # B's x is A's y, B's y is A's -x
    found = aligned(((t, a), (t + 0.25, b)))
    assert found.whole.offset_s == pytest.approx(0.25, abs=1e-6)
    assert found.whole.rotation @ [1, 0, 0] == pytest.approx([0, 1, 0], abs=1e-6)
    assert found.quaternion_xyzw == pytest.approx([0, 0, np.sqrt(0.5), np.sqrt(0.5)], abs=1e-6)


@pytest.mark.parametrize("offset_s", [-4.0, 0.0, 7.5])
def test_a_far_offset_is_found(offset_s: float) -> None:
    logs = pair(2, offset_s=offset_s)
    assert aligned(logs).whole.offset_s == pytest.approx(offset_s, abs=1e-4)


def test_one_axis_alone_gives_an_offset_and_no_rotation() -> None:
    found = aligned(pair(3, axes=(0.02, 1.0, 0.02)))
    assert not rotation_known(found) and offset_known(found)
    assert level(found) == "FAIL"
    assert "only one axis excited: B turned about y alone" in causes(found)
    two = aligned(pair(3, axes=(1.0, 0.8, 0.03)))
    assert rotation_known(two) and level(two) == "MARGINAL"
    assert "B hardly turned about z" in causes(two)


def test_no_relation_no_answer() -> None:
    one, other = pair(4), pair(5)
    found = aligned((one[0], other[1]))
    assert level(found) == "FAIL" and not (offset_known(found) or rotation_known(found))
    still = [(t, 0.001 * rate) for t, rate in pair(6, noise=(1e-3, 1e-3))[:2]]
    assert level(aligned(still)) == "FAIL" and "hardly anything turned" in causes(aligned(still))
    with pytest.raises(DataError, match="s recorded, at least 5 s"):
        aligned(pair(7, seconds=4.0))


def test_units_mirrors_repetition_and_drifting_clocks_are_named() -> None:
    (t_a, a), (t_b, b), _, _ = pair(8)
    degrees = aligned(((t_a, a), (t_b, np.rad2deg(b))))
    assert level(degrees) == "MARGINAL" and "log B is in deg/s" in causes(degrees)
    assert "A turns 1.300 times as much" in causes(aligned(((t_a, 1.3 * a), (t_b, b))))
    assert "mirrored" in causes(aligned(((t_a, a * [1, 1, -1]), (t_b, b))))
    drifting = aligned(((t_a, a), (t_b * 1.0005, b)))
    assert level(drifting) == "FAIL" and "halves' time offsets differ" in causes(drifting)
    t = np.arange(0, 30, 0.005)
    swing = np.column_stack([np.sin(2 * np.pi * t * f) for f in (0.5, 1.0, 0.5)])
    assert "repeats itself" in causes(aligned(((t, swing), (t, swing))))


def test_a_fifth_of_wild_samples_does_not_pass_wrong() -> None:
    rng = np.random.default_rng(0)
    logs = pair(9)
    (t_a, a), (t_b, b) = logs[:2]
    for start in rng.integers(0, len(a) - 40, len(a) // 5 // 40):
        a[start : start + 40] += rng.normal(0, 5, 3)
    found = aligned(((t_a, a), (t_b, b)))
    right = abs(found.whole.offset_s - logs[2]) < 1e-3 and apart_deg(found.whole.rotation, logs[3]) < 0.5  # fmt: skip
    assert level(found) != "PASS" or right


def test_a_stabilised_picture_is_named() -> None:
    (t_a, a), (t_b, b), _, _ = pair(10)
    found = aligned(((t_a, 0.4 * a), (t_b, b)))
    assert "picture stabilised: it turns 0.40 times" in causes(found, Seen(0.0, (), True))
    assert "picture stabilised" in causes(found, Seen(0.0, (), False))
    cut = causes(found, Seen(0.3, (5.2,), True))
    assert "the picture jumps at 5.2 s" in cut and "30% of the frames" in cut


def test_rotations() -> None:
    rng = np.random.default_rng(0)
    turns = rng.normal(0, 1, (50, 3))
    q = quaternions(turns)
    for one, other, vector in zip(q[::2], q[1::2], turns[::2], strict=True):
        assert matrices(product(one, other)) == pytest.approx(matrices(one) @ matrices(other))
        assert turn(matrices(one)) == pytest.approx(vector, abs=1e-9)
        assert quaternion(matrices(one)) == pytest.approx(one * np.sign(one[3]), abs=1e-9)
