"""What noise figures are worth: regions, confidence, units, and what others published."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.allan import Noise, Reading
from calibration.still import Line
from calibration.verdict import Finding, Level

Floats = npt.NDArray[np.float64]
CONFIDENT = 0.2  # half of a 95 % interval by its value
TURNED_DEG, TURNED_BLOCK_S = 3.0, 1.0
SHAKEN = 0.3  # of a sensor's variance: nothing else can be read
GOOD_S = 7200.0
SI = {"gyro": "rad/s", "accel": "m/s^2"}
PER_SI = {  # how many of a unit are one SI unit
    "rad/s": 1.0, "mrad/s": 1e3, "deg/s": 180 / np.pi, "deg/h": 180 / np.pi * 3600,
    "m/s^2": 1.0, "g": 1 / 9.80665, "mg": 1e3 / 9.80665, "ug": 1e6 / 9.80665,
}  # fmt: skip
USUAL = {"gyro": (2e-6, 2e-3), "accel": (2e-5, 2e-2)}  # densities of chips, SI/sqrt(Hz)
AXES = "xyz"


def unit_of(kind: str, stated: str, level: float) -> tuple[str, list[Finding]]:
    """The unit of data at rest, and what is odd about it; `level` is the mean length of its vector.

    An accelerometer tells its unit by gravity; a gyro at rest shows none: what is not stated is asked.
    """
    if kind == "gyro":
        if stated in PER_SI:
            return stated, []
        return "rad/s", [Finding("MARGINAL", "the log does not say the gyro's unit; taken for rad/s", "give --gyro-unit, or name the unit in the log's header")]  # fmt: skip
    for unit in ("m/s^2", "g", "mg"):
        if abs(level / (9.80665 * PER_SI[unit]) - 1) < 0.1:
            wrong = stated in PER_SI and stated != unit
            said = [Finding("MARGINAL", f"the log says {stated}, at rest it shows gravity in {unit}", f"correct the unit to {unit}; the figures here are converted from it")]  # fmt: skip
            return unit, said if wrong else []
    said = [Finding("FAIL", f"at rest the accelerometer shows {level:.4g}, which is gravity in no known unit", "give data in m/s^2 or g: scale raw counts first (imu-multi)")]  # fmt: skip
    return stated if stated in PER_SI else "m/s^2", said


def judge_noise(kind: str, axes: Sequence[Noise], length_s: float) -> list[Finding]:
    """Findings over the axes of one sensor, densities in SI units."""
    out = []
    for name, found in zip(AXES, axes, strict=False):
        if found.density is None:
            out.append(Finding("FAIL", f"{kind} {name}: {found.reasons['density']}; its noise density cannot be read", "record raw data without a filter, at rest, at the full rate"))  # fmt: skip
        else:
            out += _confidence(f"{kind} {name}: the noise density", found.density)
            out += _usual(kind, name, found.density.value)
    missing = [n for n, f in zip(AXES, axes, strict=False) if f.instability is None]
    if missing and length_s < GOOD_S:
        out.append(Finding("MARGINAL", f"only {_span(length_s)}: bias instability of {kind} {', '.join(missing)} not readable", "record 2 to 6 h at rest, warmed up, at constant temperature"))  # fmt: skip
    for name, found in zip(AXES, axes, strict=False):
        if found.instability is not None:
            out += _confidence(f"{kind} {name}: the bias instability", found.instability, 2)
    return out


def _span(length_s: float) -> str:
    return f"{length_s / 60:.0f} min" if length_s >= 120 else f"{length_s:.0f} s"


def _confidence(what: str, found: Reading, ease: float = 1) -> list[Finding]:
    half = (found.high - found.low) / 2 / found.value
    if half <= CONFIDENT * ease:
        return []
    return [Finding("MARGINAL", f"{what} is known to {half:.0%} only", "record longer")]


def _usual(kind: str, name: str, density: float) -> list[Finding]:
    least, most = USUAL.get(kind, (0.0, np.inf))
    if least <= density <= most:
        return []
    other = 180 / np.pi if kind == "gyro" else 9.80665
    factor = other if density > most else 1 / other
    unit = (
        ("deg/s" if kind == "gyro" else "mg")
        if density > most
        else ("deg/s for rad/s" if kind == "gyro" else "g")
    )
    hint = f"; are the data in {unit}?" if least <= density / factor <= most else ""
    return [Finding("MARGINAL", f"{kind} {name}: a noise density of {density:.3g} {SI[kind]}/sqrt(Hz) is no chip's{hint}", "check the unit of the data")]  # fmt: skip


def judge_lines(kind: str, lines: Sequence[Line | None]) -> list[Finding]:
    """Vibration, named by its frequency."""
    strong = [one for one in lines if one is not None]
    if not strong:
        return []
    worst = max(strong, key=lambda one: one.share)
    level: Level = "FAIL" if worst.share > SHAKEN else "MARGINAL"
    return [Finding(level, f"the {kind} shakes at {worst.frequency_hz:.1f} Hz ({worst.share:.0%} of its noise)", "take it off whatever vibrates (fan, table, motor), and record again")]  # fmt: skip


def judge_moved(kind: str, moved_s: Sequence[float], level: Level = "FAIL") -> list[Finding]:
    """It must lie still all the time; in hours, a knock spoils less than in a minute."""
    if not moved_s:
        return []
    more = f", and {len(moved_s) - 1} times more" if len(moved_s) > 1 else ""
    return [Finding(level, f"the {kind} moved at {moved_s[0]:.0f} s{more}", "lay it on something firm, hands off, and record again")]  # fmt: skip


def judge_turned(t_s: Floats, accel: Floats) -> list[Finding]:
    """Whether gravity came from elsewhere meanwhile; t_s (N,), accel (N, 3) in any unit.

    Means over a second, for noise turns single samples; against their median.
    """
    edges = np.searchsorted(t_s, np.arange(t_s[0], t_s[-1], TURNED_BLOCK_S))
    edges = np.unique(edges[edges < len(t_s)])
    count = np.diff(np.append(edges, len(t_s)))[:, None]
    ways = np.add.reduceat(accel, edges, axis=0) / count
    ways /= np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-12)
    usual = np.median(ways, axis=0)
    usual /= max(float(np.linalg.norm(usual)), 1e-12)
    off_deg = np.rad2deg(np.arccos(np.clip(ways @ usual, -1, 1)))
    if off_deg.max() <= TURNED_DEG:
        return []
    when = t_s[edges[int(np.argmax(off_deg > TURNED_DEG))]]
    return [Finding("FAIL", f"the device was turned, by {off_deg.max():.0f} deg; gravity leaves its usual direction at {when:.0f} s", "lay it on something firm, hands off, and record again")]  # fmt: skip


def judge_published(
    kind: str, published: float, density: float, rate_hz: float | None
) -> list[Finding]:
    """A density that others wrote down against the one read here: equal, or off by what factor.

    Published files mix continuous and discrete densities, which differ by the root of the rate.
    """
    ratio = published / density
    if 0.7 < ratio < 1.4:
        return []
    said = (
        f"the file says {published:.3g} for the {kind}'s noise density, the recording {density:.3g}"
    )
    for root, word in ((rate_hz, "discrete"), (1 / rate_hz if rate_hz else None, "divided twice")):
        if root and abs(np.log(ratio / np.sqrt(root))) < 0.25:
            return [Finding("MARGINAL", f"{said}: {max(ratio, 1 / ratio):.3g} times is the root of the rate ({rate_hz:.0f} Hz); the file's value is {word}", "use the continuous value found here")]  # fmt: skip
    for unit, per in PER_SI.items():
        if abs(ratio / per - 1) < 0.3 and per != 1:
            return [Finding("MARGINAL", f"{said}: the file's value is in {unit}", "use the value found here")]  # fmt: skip
    return [Finding("MARGINAL", f"{said}: {max(ratio, 1 / ratio):.3g} times apart", "find out which sensor, rate and unit the file is of")]  # fmt: skip
