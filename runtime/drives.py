"""Where the motors' calibration enters: a joint's own angle or rate -> the command its drive needs for it.

The gate works on the joint's own counts; what it lets through is translated last, on the way to the
link. Its limits are drawn in so far that no translated command meets the MCU's, which know nothing
of calibrations: what was sent is then what the MCU does, and the model hears of just that.

A wheel's command is the usual feed-forward of a motor, gain and static friction (as kV and kS of WPILib's
SimpleMotorFeedforward), with the wanted rate's sign: nothing measured is fed back, so nothing hunts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from calibration.errors import RecordError
from calibration.joint_map import JointMap
from firmware_bridge.limits import JointCommand, JointLimit, LimitTable
from runtime.body import Body

REACH = 32767  # counts that a MOTION carries
EASE_RAD_S = 0.5  # below this rate friction is made up for in part: a step at zero would chatter


class Drives:
    """Of the joints that `maps` names; the others take their commands as they are."""

    def __init__(self, table: LimitTable, maps: Mapping[str, JointMap]) -> None:
        self.table = replace(
            table,
            joints=tuple(drawn_in(j, maps[j.name]) if j.name in maps else j for j in table.joints),
        )
        self._joints = [_line(maps.get(j.name), j.scale) for j in table.joints]

    def translate(self, counts: Sequence[int], out: npt.NDArray[np.int16]) -> None:
        """Counts of the joints' own angles and rates into those of commands, `out` (J,)."""
        for i, (offset, gain, friction, ease) in enumerate(self._joints):
            lost = friction * max(-1.0, min(1.0, counts[i] / ease))
            value = round((counts[i] - offset + lost) / gain)
            out[i] = max(-REACH, min(REACH, value))


def drives_of(body: Body, maps: Mapping[str, JointMap]) -> Drives:
    """Drives of this body. RecordError where the maps are another's, or leave a joint nowhere to go."""
    table = body.limit_table()
    kinds = {j.name: j.command is JointCommand.VELOCITY for j in table.joints}
    for name, found in maps.items():
        if name not in kinds:
            raise RecordError(f"it knows a joint {name}, and the body {body.name} has {', '.join(kinds)}; sweep the joints of this body")  # fmt: skip
        if found.is_rate != kinds[name]:
            raise RecordError(f"it knows {name} by its {'rate' if found.is_rate else 'position'}, the body {body.name} commands the other; sweep the joints again")  # fmt: skip
    drives = Drives(table, maps)
    for joint in drives.table.joints:
        if joint.command is JointCommand.POSITION and not joint.position_min_rad < joint.position_max_rad:  # fmt: skip
            raise RecordError(f"it leaves {joint.name} nowhere to go; sweep the joints again")
    return drives


def drawn_in(joint: JointLimit, found: JointMap) -> JointLimit:
    """Limits of a joint's own motion under which its command stays within those of the table."""
    slow = min(1.0, found.gain / (1 + found.friction_rad_s / EASE_RAD_S))
    top = found.gain * joint.velocity_max_rad_s - found.friction_rad_s
    out = replace(
        joint,
        velocity_max_rad_s=min(joint.velocity_max_rad_s, top),
        acceleration_max_rad_s2=slow * joint.acceleration_max_rad_s2,
        jerk_max_rad_s3=slow * joint.jerk_max_rad_s3,
        stop_deceleration_rad_s2=slow * joint.stop_deceleration_rad_s2,
    )
    if joint.command is JointCommand.VELOCITY:
        return out
    low, high = joint.position_min_rad, joint.position_max_rad
    return replace(
        out,
        position_min_rad=max(low, found.told_rad(low), found.reach_rad[0]),
        position_max_rad=min(high, found.told_rad(high), found.reach_rad[1]),
    )


def _line(found: JointMap | None, scale: float) -> tuple[float, float, float, float]:
    """Offset [counts], gain, friction [counts], and below which rate it is eased [counts]."""
    if found is None:
        return 0.0, 1.0, 0.0, 1.0
    return found.offset_rad / scale, found.gain, found.friction_rad_s / scale, EASE_RAD_S / scale
