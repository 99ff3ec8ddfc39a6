"""What an alignment of turn rates is worth: whether motion could answer, and whether halves agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.rate_alignment import Alignment, apart_deg
from calibration.verdict import Finding, Level

Floats = npt.NDArray[np.float64]

CORRELATION = (0.95, 0.9)
NO_RELATION = 0.7  # below it no offset is given
EXCITED = (0.2, 0.1)  # second and third singular value by the first
HALVES_S = (0.001, 0.005)
HALVES_DEG = (0.5, 2.0)
OFFSET_STD_S = (0.001, 0.005)
SCALE = (0.98, 1.02)
REPEATS = 0.95
LEAST_RMS_RAD_S = 0.1
LOST = (0.05, 0.2)  # share of frames without a rotation


@dataclass(frozen=True, slots=True)
class Seen:
    """What a video adds: share of frames without a rotation, times of cuts [s], was the lens known."""

    lost: float
    cuts_s: tuple[float, ...]
    lens_known: bool


def rotation_known(found: Alignment) -> bool:
    """Two axes must have moved; with one, any turn about it fits as well."""
    return bool(found.excitation[1] >= EXCITED[0] and found.whole.correlation >= NO_RELATION)


def offset_known(found: Alignment) -> bool:
    """Without a likeness of the rates an offset would be made up."""
    return found.whole.correlation >= NO_RELATION and found.rms_rad_s >= LEAST_RMS_RAD_S / 3


def judge(found: Alignment, seen: Seen | None = None) -> list[Finding]:
    """All that speaks against the alignment; `seen` for a video."""
    out = _seen(seen) if seen else []
    if found.rms_rad_s < LEAST_RMS_RAD_S:
        level: Level = "FAIL" if found.rms_rad_s < LEAST_RMS_RAD_S / 3 else "MARGINAL"
        out.append(Finding(level, f"hardly anything turned: {found.rms_rad_s:.3f} rad/s in the mean ({LEAST_RMS_RAD_S} wanted)", "turn it by hand about all three axes, 30 s, one turn a second"))  # fmt: skip
        if level == "FAIL":
            return out
    out += _likeness(found, seen)
    out += _scale(found, seen)
    out += _axes(found, "the IMU" if seen else "B")
    return out + _agreement(found)


def _seen(seen: Seen) -> list[Finding]:
    out = []
    if seen.cuts_s:
        out.append(Finding("FAIL", f"the picture jumps at {seen.cuts_s[0]:.1f} s: a cut, or frames are missing", "give one uncut recording"))  # fmt: skip
    if seen.lost > LOST[0]:
        level: Level = "MARGINAL" if seen.lost <= LOST[1] else "FAIL"
        out.append(Finding(level, f"{seen.lost:.0%} of the frames show no corners to follow", "turn more slowly, in good light, before a wall with texture, and record again"))  # fmt: skip
    if not seen.lens_known:
        out.append(Finding("MARGINAL", "the lens is not known; its focal length was fitted to the gyro", "give the camera's calibration with --calibration"))  # fmt: skip
    return out


def _likeness(found: Alignment, seen: Seen | None) -> list[Finding]:
    value = found.whole.correlation
    out = []
    if value < CORRELATION[0]:
        level: Level = "MARGINAL" if value >= CORRELATION[1] else "FAIL"
        hint = (
            "was the camera fixed to the IMU, and is the picture not stabilised?"
            if seen
            else "were both fixed to one body?"
        )
        out.append(Finding(level, f"the turn rates are alike to {value:.2f} only ({CORRELATION[0]} wanted)", f"{hint} record again"))  # fmt: skip
    if found.runner_up > REPEATS:
        out.append(Finding("FAIL", "the motion repeats itself, so several time offsets fit", "turn irregularly, and record again"))  # fmt: skip
    return out


def _scale(found: Alignment, seen: Seen | None) -> list[Finding]:
    scale = found.whole.scale
    if SCALE[0] <= scale <= SCALE[1]:
        return []
    if seen is not None:
        if seen.lens_known or not 0.6 < scale < 1.7:
            return [Finding("FAIL", f"picture stabilised: it turns {scale:.2f} times as much as the gyro", "switch the stabiliser off (or give the right lens), and record again")]  # fmt: skip
        return []
    for unit, per in (("deg/s", 180 / np.pi), ("deg/h", 180 / np.pi * 3600)):
        for which, factor in (("A", per), ("B", 1 / per)):
            if abs(scale / factor - 1) < 0.1:
                return [Finding("MARGINAL", f"log {which} is in {unit}, the other in rad/s (scale {scale:.4g})", "correct the unit; offset and rotation hold all the same")]  # fmt: skip
    level: Level = "MARGINAL" if 0.9 < scale < 1.1 else "FAIL"
    return [Finding(level, f"A turns {scale:.3f} times as much as B ({SCALE[0]} to {SCALE[1]} wanted)", "check both units, and calibrate the gyros' scales (imu-multi)")]  # fmt: skip


def _named(axis: Floats) -> str:
    """An axis in B, in words."""
    strongest = int(np.abs(axis).argmax())
    return (
        f"{'xyz'[strongest]}"
        if abs(axis[strongest]) > 0.9
        else "(" + ", ".join(f"{v:+.2f}" for v in axis) + ")"
    )


def _axes(found: Alignment, name: str) -> list[Finding]:
    second, third = found.excitation[1:]
    out = []
    if second < EXCITED[0]:
        out.append(Finding("FAIL", f"only one axis excited: {name} turned about {_named(found.main_axis)} alone (the others {second:.2f} and {third:.2f} of it); the rotation about that axis is unknown", "turn about all three axes, and record again"))  # fmt: skip
    elif third < EXCITED[1]:
        out.append(Finding("MARGINAL", f"{name} hardly turned about {_named(found.still_axis)} ({third:.2f} of the strongest axis, {EXCITED[1]} wanted)", f"turn about {_named(found.still_axis)} too, and record again"))  # fmt: skip
    if found.mirrored and rotation_known(found):
        out.append(Finding("FAIL", "one of the two is mirrored: its axes are left-handed, or the picture is flipped", "correct the signs of the axes (or unflip the picture), then solve again"))  # fmt: skip
    return out


def _level(value: float, limits: tuple[float, float]) -> Level:
    return "PASS" if value <= limits[0] else "MARGINAL" if value <= limits[1] else "FAIL"


def _agreement(found: Alignment) -> list[Finding]:
    out = []
    level = _level(found.whole.offset_std_s, OFFSET_STD_S)
    if level != "PASS":
        out.append(Finding(level, f"the time offset is known to {found.whole.offset_std_s * 1e3:.1f} ms only", "turn faster and longer, and record again"))  # fmt: skip
    if found.halves is None:
        return [*out, Finding("MARGINAL", "too short to compare its halves", "record 30 s")]
    first, second = found.halves
    apart_s = abs(first.offset_s - second.offset_s)
    level = _level(apart_s, HALVES_S)
    if level != "PASS":
        out.append(Finding(level, f"the halves' time offsets differ by {apart_s * 1e3:.1f} ms ({HALVES_S[0] * 1e3:.0f} allowed)", "check that stamps are the sensors' own, not arrival times, and record again"))  # fmt: skip
    angle = apart_deg(first.rotation, second.rotation)
    level = _level(angle, HALVES_DEG)
    if level != "PASS" and rotation_known(found):
        out.append(Finding(level, f"the halves' rotations differ by {angle:.1f} deg ({HALVES_DEG[0]} allowed)", "fix both firmly to one body, turn about all axes throughout, and record again"))  # fmt: skip
    return out
