"""What a multi-position calibration is worth: its gates, and the raw units it was given in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.accel_fit import Triad
from calibration.imu_poses import GOOD_POSES, ImuPoses
from calibration.sphere import covered, missing
from calibration.verdict import Finding, Level

Floats = npt.NDArray[np.float64]

HELD_OUT_M_S2 = (0.01, 0.03)  # PASS up to the first, FAIL above the second
GYRO_DEG = (1.0, 2.0)
FEW_POSES = 16
CELLS, CELLS_FEW = 24, 9
STILL_S = (20.0, 5.0)  # a first still period shorter than this: MARGINAL, FAIL
GYRO_SCALE_STD, ACCEL_SCALE_STD = 0.003, 0.001  # of the scale
ODD_AXES_DEG = 5.0
ODD_SCALE = 1.2  # largest by smallest scale of one sensor
OUTLIERS = (0.15, 0.34)
KNOWN = {
    "accel": {"m/s^2": 1.0, "g": 1 / 9.80665, "mg": 1000 / 9.80665},
    "gyro": {"rad/s": 1.0, "deg/s": 180 / np.pi, "mrad/s": 1000.0, "deg/h": 180 / np.pi * 3600},
}
SI = {"accel": "m/s^2", "gyro": "rad/s"}
NEAR = 0.05


@dataclass(frozen=True, slots=True)
class Stated:
    """What a log says about a sensor: its unit or ``, and whether all its values are whole."""

    unit: str
    whole: bool


def raw_unit(kind: str, triad: Triad) -> str:
    """The unit that the found scale speaks for; `counts` where it is none of the usual."""
    scale = float(np.exp(np.log(np.abs(triad.inverse_scale)).mean()))
    return next((u for u, s in KNOWN[kind].items() if abs(scale / s - 1) < NEAR), "counts")


def judge(found: ImuPoses, accel: Stated, gyro: Stated) -> list[Finding]:
    """All that speaks against the result; thresholds as in the table of the tools."""
    findings = [*_poses(found), *_errors(found), *_axes(found)]
    findings += _unit("accel", found.accel, accel) + _unit("gyro", found.gyro, gyro)
    return findings


def _level(value: float, limits: tuple[float, float]) -> Level:
    return "PASS" if value <= limits[0] else "MARGINAL" if value <= limits[1] else "FAIL"


def _poses(found: ImuPoses) -> list[Finding]:
    """Enough poses, of enough directions, and a still period to begin with."""
    out = []
    kept = found.accel_fit.kept
    if kept.sum() < GOOD_POSES:
        level: Level = "MARGINAL" if kept.sum() >= FEW_POSES else "FAIL"
        more = GOOD_POSES - int(kept.sum())
        out.append(Finding(level, f"{int(kept.sum())} still poses, {GOOD_POSES} wanted", f"record again with at least {more} more poses, each still for 2 s"))  # fmt: skip
    ways = found.ways[kept]
    hit, absent = int(covered(ways).sum()), missing(ways)
    worst = float(found.accel_fit.cell_std_m_s2.max())
    if any("half" not in way for way in absent) or hit < CELLS_FEW:
        named = ", ".join(absent) or "few ways up"
        level = "FAIL" if len(absent) > 1 or worst > HELD_OUT_M_S2[1] else "MARGINAL"
        out.append(Finding(level, f"no pose with {named}; |g| is known to {worst:.3f} m/s^2 in the worst direction", f"record again with poses {named}"))  # fmt: skip
    elif hit < CELLS and worst > HELD_OUT_M_S2[0]:
        out.append(Finding("MARGINAL", f"poses in {hit} of 32 directions, none with {absent[0]}; |g| is known to {worst:.3f} m/s^2 in the worst direction", f"add poses such as {absent[0]}"))  # fmt: skip
    first = found.poses[0].length_s
    longest = max(p.length_s for p in found.poses)
    if longest < STILL_S[0]:
        level = "MARGINAL" if longest >= STILL_S[1] else "FAIL"
        out.append(Finding(level, f"too short a still period: {first:.1f} s at the start, {longest:.1f} s at most; the gyro's bias and noise need {STILL_S[0]:.0f} s", "record again, hands off for the first 50 s"))  # fmt: skip
    lost = 1 - float(kept.mean())
    if lost > OUTLIERS[0]:
        when = ", ".join(
            f"{p.start_s:.0f} s" for p, k in zip(found.poses, kept, strict=True) if not k
        )
        out.append(Finding(_level(lost, OUTLIERS), f"{int((~kept).sum())} of {len(kept)} poses do not fit and were left out (at {when})", "lay the device on something firm, hands off, and record again"))  # fmt: skip
    return out


def _errors(found: ImuPoses) -> list[Finding]:
    """Held-out errors and standard deviations."""
    out = []
    level = _level(found.held_out_g_m_s2, HELD_OUT_M_S2)
    if level != "PASS":
        out.append(Finding(level, f"poses that the fit had not seen miss gravity by {found.held_out_g_m_s2:.3f} m/s^2 ({HELD_OUT_M_S2[0]} allowed)", "hold each pose stiller, on a firm surface, and record again"))  # fmt: skip
    level = _level(found.gyro_deg_per_move, GYRO_DEG)
    if level != "PASS":
        out.append(Finding(level, f"the gyro misses the next pose by {found.gyro_deg_per_move:.1f} deg a move ({GYRO_DEG[0]} allowed)", "check that both logs have one clock, turn more slowly, and record again"))  # fmt: skip
    for name, triad, limit in (("accelerometer", found.accel_fit.triad, ACCEL_SCALE_STD), ("gyro", found.gyro, GYRO_SCALE_STD)):  # fmt: skip
        share = np.abs(triad.inverse_scale_std / triad.inverse_scale)
        if share.max() > limit:
            axis = "xyz"[int(share.argmax())]
            out.append(Finding("MARGINAL" if share.max() < 3 * limit else "FAIL", f"the {name}'s {axis} scale is known to {share.max():.2%} only ({limit:.1%} allowed)", f"record more poses, turned about {axis} in between"))  # fmt: skip
    lost = 1 - float(found.gyro_fit.kept.mean())
    if lost > OUTLIERS[0]:
        out.append(Finding(_level(lost, OUTLIERS), f"{int((~found.gyro_fit.kept).sum())} of {len(found.gyro_fit.kept)} moves do not fit and were left out", "move in one smooth turn from pose to pose, and record again"))  # fmt: skip
    if found.saturated:
        out.append(Finding("MARGINAL", f"the gyro stood at the end of its range for {found.saturated} samples", "turn more slowly, or set a wider range, and record again"))  # fmt: skip
    return out


def _axes(found: ImuPoses) -> list[Finding]:
    """Axes named otherwise than mounted, crooked axes, scales that differ."""
    out = []
    if found.gyro_fit.axes != ("x", "y", "z"):
        named = ", ".join(found.gyro_fit.axes)
        out.append(Finding("FAIL", f"the gyro's axes are not the accelerometer's: along accelerometer x, y, z lie gyro {named}", "correct the order and signs of the columns, then solve again"))  # fmt: skip
    for name, triad in (("accelerometer", found.accel), ("gyro", found.gyro)):
        crooked = np.rad2deg(np.abs(triad.misalignment - np.eye(3)).max())
        if crooked > ODD_AXES_DEG:
            out.append(Finding("MARGINAL", f"an axis of the {name} is {crooked:.1f} deg crooked; chips have less than {ODD_AXES_DEG:.0f}", "check the columns and the mount, and record again"))  # fmt: skip
        scale = np.abs(triad.inverse_scale)
        if scale.max() > ODD_SCALE * scale.min():
            out.append(Finding("FAIL", f"the {name}'s axes have scales of {scale.min():.4g} to {scale.max():.4g}", "give all three axes in one unit, and solve again"))  # fmt: skip
    return out


def _unit(kind: str, triad: Triad, stated: Stated) -> list[Finding]:
    """The unit trap: what the log states against what gravity and the moves say."""
    found = raw_unit(kind, triad)
    scale = float(np.exp(np.log(np.abs(triad.inverse_scale)).mean()))
    if stated.unit and stated.unit != "counts" and found != stated.unit:
        really = found if found != "counts" else f"{scale:.4g} of its units to a {SI[kind]}"
        return [Finding("MARGINAL", f"the {kind} log says {stated.unit}, the data say {really}", "correct the unit (or the clock) in the log; the scales found here hold for the data as they are")]  # fmt: skip
    if not stated.unit and found == "counts" and not stated.whole:
        return [Finding("MARGINAL", f"the {kind} data are in an unknown unit: {scale:.4g} of it to a {SI[kind]}, and no counts", "name the unit in the log's header and check its clock")]  # fmt: skip
    return []
