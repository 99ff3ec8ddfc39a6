"""What a chain of delays is worth. Gates are proposals of the design; fitted to no recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.latency import Delay
from calibration.stamps import Stamps
from calibration.verdict import Finding, Level

MOVED_RAD_S = (0.15, 0.05)  # RMS of the gyro's turn rate
ALIKE = {"command_to_encoder": (0.97, 0.9), "encoder_to_gyro": (0.97, 0.9), "gyro_to_image": (0.95, 0.85)}  # fmt: skip
HALVES_S = (0.002, 0.005)
STD_S = (0.001, 0.003)
REPEATS = 0.95
GAINS = {"command_to_encoder": (0.8, 1.1), "encoder_to_gyro": (0.9, 1.1), "gyro_to_image": (0.75, 1.35)}  # fmt: skip
SANE_S = {"command_to_encoder": (0.0, 0.25), "encoder_to_gyro": (-0.03, 0.05), "gyro_to_image": (-0.03, 0.25)}  # fmt: skip
LOST = (0.1, 0.3)
MISSING = (0.1, 0.4)
STAMP_JITTER_S = 0.002  # p95; a shutter's own stamps are a hundred times steadier
ARRIVAL_AGE_S, ARRIVAL_LATE_S = 0.001, 0.005
SHAKE = (0.15, 0.5)  # RMS of the gyro above 8 Hz by that of the turning
SAID = {
    "command_to_encoder": ("the wheels", "their command"),
    "encoder_to_gyro": ("the gyro", "the wheels"),
    "gyro_to_image": ("the picture", "the gyro"),
}


@dataclass(frozen=True, slots=True)
class Chain:
    """All that was found: delays by name (None: not measurable), stamps, and how it moved."""

    delays: dict[str, Delay]
    stamps: Stamps | None
    moved_rad_s: float  # RMS turn rate
    shake: float  # the gyro's RMS above 8 Hz by that below
    lost: float  # share of frames without a rotation
    frames: int


def judge_latency(chain: Chain) -> list[Finding]:
    """All that speaks against it, most telling first."""
    if chain.moved_rad_s < MOVED_RAD_S[1]:
        return [Finding("FAIL", f"hardly anything turned: {chain.moved_rad_s:.3f} rad/s in the mean ({MOVED_RAD_S[0]} wanted)", "put it on the floor, wheels free, and record again while holding the key")]  # fmt: skip
    out = []
    if chain.moved_rad_s < MOVED_RAD_S[0]:
        out.append(Finding("MARGINAL", f"it turned by {chain.moved_rad_s:.2f} rad/s in the mean only ({MOVED_RAD_S[0]} wanted)", "record again on a hard, level floor"))  # fmt: skip
    out += _shaken(chain.shake)
    out += _frames(chain)
    for name, found in chain.delays.items():
        out += _likeness(name, found)
        out += _agreement(name, found)
    return out


def _shaken(shake: float) -> list[Finding]:
    level = _level(shake, SHAKE)
    if level == "PASS":
        return []
    return [Finding(level, f"it shakes: the gyro swings {shake:.2f} times as much above 8 Hz as it turns ({SHAKE[0]} allowed)", "tighten the board's screws, leave the table or the rough floor, and record again")]  # fmt: skip


def _frames(chain: Chain) -> list[Finding]:
    out = []
    level = _level(chain.lost, LOST)
    if level != "PASS":
        out.append(Finding(level, f"{chain.lost:.0%} of the frames show no corners to follow", "record in good light, before a wall with texture"))  # fmt: skip
    s, image = chain.stamps, chain.delays.get("gyro_to_image")
    if s is None or image is None:
        return out
    late_s = image.delay_s
    if s.jitter_s > STAMP_JITTER_S:
        out.append(Finding("MARGINAL", f"camera stamps are arrival times: they jitter by {s.jitter_s * 1e3:.1f} ms (p95) about the frame clock and come {late_s * 1e3:.1f} ms after the picture", "take the driver's own stamp (V4L2 buffer time, start of exposure), and record again"))  # fmt: skip
    elif abs(s.age_s) < ARRIVAL_AGE_S and late_s > ARRIVAL_LATE_S:
        out.append(Finding("MARGINAL", f"camera stamps are arrival times: every frame is stamped when it is read, {late_s * 1e3:.1f} ms after the picture", "take the driver's own stamp (V4L2 buffer time, start of exposure), or install this and keep camera, mode and load as they are"))  # fmt: skip
    level = _level(s.missing, MISSING)
    if level != "PASS":
        out.append(Finding(level, f"{s.missing:.0%} of the frames are missing", "close other programs, use a USB port of its own, and record again"))  # fmt: skip
    return out


def _likeness(name: str, found: Delay) -> list[Finding]:
    effect, cause = SAID[name]
    out = []
    if abs(found.correlation) < ALIKE[name][0]:
        level: Level = "MARGINAL" if abs(found.correlation) >= ALIKE[name][1] else "FAIL"
        out.append(Finding(level, f"{effect} and {cause} are alike to {abs(found.correlation):.2f} only ({ALIKE[name][0]} wanted)", _hint(name)))  # fmt: skip
    elif found.runner_up > REPEATS:
        out.append(Finding("FAIL", f"the motion repeats itself, so several delays of {effect} after {cause} fit", "record the chirp that `calibrate latency record` drives"))  # fmt: skip
    low, high = GAINS[name]
    if found.gain < 0 and name == "gyro_to_image":
        out.append(Finding("FAIL", "the picture turns against the gyro: it is mirrored, or upside down", "switch mirroring off, or turn the picture in the driver, and record again"))  # fmt: skip
    elif found.gain < 0:
        turns = "turn" if name == "command_to_encoder" else "turns"
        out.append(Finding("FAIL", f"{effect} {turns} against {cause}", "exchange the encoders (or the motors' leads), or turn the IMU's z axis up: `companion bringup`"))  # fmt: skip
    elif not low <= abs(found.gain) <= high:
        out.append(_gain(name, abs(found.gain)))
    low_s, high_s = SANE_S[name]
    if not low_s <= found.delay_s <= high_s:
        out.append(Finding("FAIL", f"{effect} would follow {cause} by {found.delay_s * 1e3:.0f} ms ({low_s * 1e3:.0f} to {high_s * 1e3:.0f} are possible)", "stamp all sensors by one clock, and record again"))  # fmt: skip
    return out


def _hint(name: str) -> str:
    return {
        "command_to_encoder": "put it on a hard, level floor, charge it, and record again",
        "encoder_to_gyro": "a wheel slips, or the gyro's z axis is not upright: `companion bringup`",
        "gyro_to_image": "fix the camera, keep people out of its sight, and record again",
    }[name]


def _gain(name: str, gain: float) -> Finding:
    effect, cause = SAID[name]
    if name == "gyro_to_image":
        stabilised = gain < 0.75
        what = f"picture stabilised: it turns {gain:.2f} times as much as the gyro" if stabilised else f"the picture turns {gain:.2f} times as much as the gyro"  # fmt: skip
        return Finding("FAIL" if stabilised else "MARGINAL", what, "switch the stabiliser off, check which lens is on it, and record again")  # fmt: skip
    for factor, unit in ((180 / np.pi, "deg/s"), (np.pi / 180, "rad/s where degrees are meant")):
        if abs(gain / factor - 1) < 0.15:
            return Finding("FAIL", f"{effect} is in {unit}", "give rad/s, and solve again")
    return Finding("FAIL", f"{effect} turn {gain:.2f} times as much as {cause}" if name == "command_to_encoder" else f"{effect} turns {gain:.2f} times as much as {cause}", "is a wheel slipping or blocked? `companion calibrate wheels record` tells the geometry")  # fmt: skip


def _agreement(name: str, found: Delay) -> list[Finding]:
    effect, cause = SAID[name]
    out = []
    level = _level(found.halves_apart_s, HALVES_S)
    if level != "PASS":
        out.append(Finding(level, f"the halves differ by {found.halves_apart_s * 1e3:.1f} ms about how late {effect} follows {cause} ({HALVES_S[0] * 1e3:.0f} allowed)", "stamp all sensors by one clock (their own, not arrival times), and record again"))  # fmt: skip
    level = _level(found.std_s, STD_S)
    if level != "PASS":
        out.append(Finding(level, f"the delay of {effect} after {cause} is known to {found.std_s * 1e3:.1f} ms only", "record longer (--seconds 40), in good light"))  # fmt: skip
    return out


def _level(value: float, limits: tuple[float, float]) -> Level:
    return "PASS" if value <= limits[0] else "MARGINAL" if value <= limits[1] else "FAIL"
