"""What a joint is commanded -> what its encoder then tells, out of an installed `motor` calibration.

told = offset + gain * command of a position; gain * command - friction * sign(command) of a rate. The
encoder sits on the joint and is the reference; what is off is the drive: a horn set askew, a servo's own
scale, a speed loop that droops. So commands are inverted, and what is measured stays as it is. What lies
between encoder and camera is in the head's calibration, and between a wheel's angle and the floor in
that of the wheels: neither holds this, and nothing is corrected twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibration.errors import RecordError
from calibration.motor import TRAVEL_OFF

AGAIN = "sweep the joints again: `companion calibrate motor record`"
GAIN_OFF = 0.2  # of 1: more is another gear than the body file's
OFFSET_MAX_RAD = 0.3  # a tooth of a horn's spline is 0.25
FRICTION_MAX_RAD_S = 0.5


@dataclass(frozen=True, slots=True)
class JointMap:
    """One joint; `gain` without unit; a position has an offset, a rate has friction.

    `reach_rad`: where its travel ended before the sweep did; infinite where it did not.
    """

    is_rate: bool
    gain: float
    offset_rad: float = 0.0
    reach_rad: tuple[float, float] = (-math.inf, math.inf)
    friction_rad_s: float = 0.0

    def told_rad(self, command_rad: float) -> float:
        """What a position's encoder tells at a command."""
        return self.offset_rad + self.gain * command_rad


def joint_maps(result: Mapping[str, Any]) -> dict[str, JointMap]:
    """Every joint of a `motor` result, by name. RecordError names the one that cannot be used."""
    return {name: _joint(name, part) for name, part in result.items() if name != "std"}


def _joint(name: str, part: Any) -> JointMap:
    try:
        gain, offset = float(part["gain"]), float(part["offset"])
        is_rate = bool(part["is_rate"])
        (low, high), (least, most) = (map(float, part[k]) for k in ("travel", "commanded"))
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"it does not tell how {name} answers ({type(error).__name__}: {error}); {AGAIN}") from error  # fmt: skip
    if not all(map(math.isfinite, (gain, offset, low, high, least, most))) or not (low < high and least < most):  # fmt: skip
        raise RecordError(f"its figures of {name} are no numbers of a sweep; {AGAIN}")
    if not abs(gain - 1) <= GAIN_OFF:
        raise RecordError(f"{name} goes {gain:.3f} of what is commanded: another gear than the body file's; see its drive, then {AGAIN}")  # fmt: skip
    if is_rate:  # without an offset: the command for standing is zero
        return JointMap(True, gain, friction_rad_s=_friction(name, part))
    if not abs(offset) <= OFFSET_MAX_RAD:
        raise RecordError(f"{name} stands {offset:.2f} rad off its command; set its horn anew, then {AGAIN}")  # fmt: skip
    short = TRAVEL_OFF * (most - least)
    found = JointMap(False, gain, offset)
    return JointMap(
        False, gain, offset,
        (low if low > found.told_rad(least) + short else -math.inf, high if high < found.told_rad(most) - short else math.inf),
    )  # fmt: skip


def _friction(name: str, part: Mapping[str, Any]) -> float:
    """Of a rate; what comes out below zero is noise."""
    try:
        found = float(part["friction_rad_s"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"it does not tell the friction of {name} ({type(error).__name__}: {error}); {AGAIN}") from error  # fmt: skip
    if not abs(found) <= FRICTION_MAX_RAD_S:
        raise RecordError(f"{name} loses {found:.2f} rad/s to friction, no free wheel does; see what rubs, then {AGAIN}")  # fmt: skip
    return max(0.0, found)
