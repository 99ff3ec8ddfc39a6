"""Noise read from Allan deviations, against noise that is known."""

import numpy as np
import pytest

from calibration.allan import curve, given_curve, noise
from calibration.errors import DataError
from calibration.noise_judge import judge_lines, judge_moved, judge_noise, judge_published, unit_of
from calibration.still import solve

RATE = 20.0


def simulated(seed: int, seconds: float, density=1e-3, walk=0.0, flicker=0.0) -> np.ndarray:
    """White noise, rate random walk and 1/f noise of known strength, in continuous units."""
    rng, n = np.random.default_rng(seed), int(seconds * RATE)
    out = rng.normal(0, density * np.sqrt(RATE), n)
    out += np.cumsum(rng.normal(0, 1, n)) * walk / np.sqrt(RATE)
    if flicker:
        f = np.fft.rfftfreq(n, 1 / RATE)
        f[0] = f[1]
        shaped = np.fft.rfft(rng.normal(size=n)) * np.sqrt(flicker**2 / (2 * np.pi * f) * RATE)
        out += np.fft.irfft(shaped, n)
    return out


def test_intervals_hold_the_truth_in_20_recordings() -> None:
    density, walk = [], []
    for seed in range(20):
        found = noise(curve(simulated(seed, 7200, 1e-3, 1e-4), RATE))
        density.append(found.density.low < 1e-3 < found.density.high)
        assert found.density.value == pytest.approx(1e-3, rel=0.02)
        assert found.walk_limit > 0.8e-4
        if found.walk is not None:
            walk.append(found.walk.low < 1e-4 < found.walk.high)
            assert found.walk.value == pytest.approx(1e-4, rel=0.35)
    assert np.mean(density) >= 0.85
    assert len(walk) >= 12 and np.mean(walk) >= 0.85


def test_bias_instability_where_it_shows_and_not_where_a_recording_ends() -> None:
    read, ended = [], []
    for seed in range(20):
        found = noise(curve(simulated(seed, 7200, 1e-3, 3e-5, 2e-4), RATE))
        read.append(found.instability)
        ended.append(noise(curve(simulated(seed, 2400, 1e-3, 1e-5), RATE)).instability)
    inside = [r.low < 2e-4 < r.high for r in read if r is not None]
    assert len(inside) >= 12 and np.mean(inside) >= 0.85
    assert sum(r is not None for r in ended) <= 1
    short = noise(curve(simulated(0, 2400), RATE))
    assert any("bias instability of gyro x not readable" in f.cause for f in judge_noise("gyro", [short], 2400))  # fmt: skip
    assert any(f.cause.startswith("only 40 min") for f in judge_noise("gyro", [short], 2400))


def test_the_estimator_is_the_definition() -> None:
    values = simulated(3, 100)
    found = curve(values, RATE)
    for i in (0, 5, 10):
        m = round(found.tau_s[i] * RATE)
        means = np.convolve(values, np.ones(m) / m, "valid")
        expected = np.sqrt(np.mean((means[m:] - means[:-m]) ** 2) / 2)
        assert found.deviation[i] == pytest.approx(expected, rel=1e-9)


def test_a_filter_or_a_drift_gives_no_density() -> None:
    rng = np.random.default_rng(0)
    drift = noise(curve(np.cumsum(rng.normal(size=20000)), RATE))
    assert drift.density is None and "no region of slope -1/2" in drift.reasons["density"]
    assert any(f.level == "FAIL" for f in judge_noise("gyro", [drift], 1000))
    n = 40000
    filtered = np.convolve(rng.normal(0, 1e-3 * np.sqrt(RATE), n), np.ones(20) / 20, "same")
    found = noise(curve(filtered, RATE))  # white above a second, and only there
    assert found.density is not None and found.density.from_s >= 1
    assert found.density.value == pytest.approx(1e-3, rel=0.1)


def test_a_given_curve_reads_as_the_recording_does() -> None:
    own = curve(simulated(4, 7200, 1e-3, 1e-4), RATE)
    again = noise(given_curve(own.tau_s, own.deviation))
    assert again.density.value == pytest.approx(noise(own).density.value, rel=0.02)


def test_units_at_rest() -> None:
    assert unit_of("accel", "", 9.79) == ("m/s^2", [])
    assert unit_of("accel", "g", 1.01) == ("g", [])
    unit, found = unit_of("accel", "m/s^2", 1.01)
    assert unit == "g" and "at rest it shows gravity in g" in found[0].cause
    assert unit_of("accel", "", 33000.0)[1][0].level == "FAIL"
    assert unit_of("gyro", "deg/s", 0.1) == ("deg/s", [])
    assert unit_of("gyro", "", 0.1)[1][0].level == "MARGINAL"
    in_degrees = noise(curve(simulated(5, 600, 1e-4 * 180 / np.pi), RATE))
    assert any("are the data in deg/s?" in f.cause for f in judge_noise("gyro", [in_degrees], 9999))


@pytest.mark.parametrize(
    ("published", "named"),
    [
        (1.1e-4, None),
        (1e-4 * np.sqrt(200), "root of the rate (200 Hz); the file's value is discrete"),
        (1e-4 / np.sqrt(200), "the file's value is divided twice"),
        (1e-4 * 180 / np.pi, "the file's value is in deg/s"),
        (3e-4, "3 times apart"),
    ],
)
def test_published_densities_are_compared(published: float, named: str | None) -> None:
    found = judge_published("gyro", published, 1e-4, 200.0)
    assert (named is None and not found) or named in found[0].cause


def at_rest(seed: int = 0, seconds: float = 60, rate: float = 100) -> tuple[np.ndarray, np.ndarray]:
    t = np.arange(int(seconds * rate)) / rate
    return t, np.random.default_rng(seed).normal(0, 0.01, (len(t), 3)) + [0.1, 0.2, 9.8]


@pytest.mark.parametrize("seed", range(8))
def test_quiet_is_quiet(seed: int) -> None:
    found = solve(*at_rest(seed))
    assert found.moved_s == () and found.lines == (None, None, None)
    assert (np.abs(found.bias - [0.1, 0.2, 9.8]) < 4 * found.bias_std).all()
    assert [n.density.value for n in found.noise] == pytest.approx([1e-3] * 3, rel=0.1)


def test_movement_and_vibration_are_named() -> None:
    t, xyz = at_rest()
    xyz[1200:1230] += 0.2
    found = solve(t, xyz)
    assert found.moved_s[0] == pytest.approx(12, abs=0.5)
    assert "moved at 12 s" in judge_moved("accel", found.moved_s)[0].cause
    t, xyz = at_rest()
    xyz[:, 2] += 0.01 * np.sin(2 * np.pi * 23 * t)
    found = solve(t, xyz)
    assert found.lines[2].frequency_hz == pytest.approx(23, abs=0.2)
    assert "shakes at 23.0 Hz" in judge_lines("accel", found.lines)[0].cause
    with pytest.raises(DataError, match="at least 10 s"):
        solve(t[:500], xyz[:500])


def test_no_difference_is_taken_across_a_gap() -> None:
    """Hours that a power cut parted: the bias is another afterwards, and that is no noise."""
    values = simulated(8, 7200, 1e-3)
    starts = [len(values) // 3, len(values) // 2]
    apart = values.copy()
    apart[starts[0] :] += 0.05
    apart[starts[1] :] -= 0.02
    whole, parted = curve(values, RATE), curve(apart, RATE, starts)
    spliced = curve(apart, RATE)
    common = np.searchsorted(whole.tau_s, parted.tau_s[-1] * 0.3)
    same = np.interp(np.log(whole.tau_s[:common]), np.log(parted.tau_s), parted.deviation)
    assert same == pytest.approx(whole.deviation[:common], rel=0.25)
    assert spliced.deviation[-1] > 5 * parted.deviation[-1]
    assert parted.freedom[0] == pytest.approx(whole.freedom[0], rel=0.01)
    assert parted.tau_s[-1] <= 7200 / 2 / 4 + 1
    read = noise(parted)
    assert read.density.low < 1e-3 < read.density.high and read.walk is None


def test_a_gap_changes_neither_rate_nor_what_moved() -> None:
    rng = np.random.default_rng(3)
    xyz = rng.normal(0, 1e-3, (60_000, 3))
    t_s = np.arange(60_000) / 100
    whole = solve(t_s, xyz)
    xyz[30_000:] += 0.01  # warmed up meanwhile
    t_s[30_000:] += 500
    found = solve(t_s, xyz)
    assert not found.moved_s and found.longest_s == pytest.approx(300, abs=0.02)
    assert found.curves[0].tau_s[0] == pytest.approx(whole.curves[0].tau_s[0])
    assert found.noise[0].density.value == pytest.approx(whole.noise[0].density.value, rel=0.03)
