"""The limit table: what a body allows, as the wire and the MCU speak it.

`runtime/body.py` fills it from a body file; the C table and the host gate take its `counts()`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from enum import Enum

from firmware_bridge.errors import LimitError
from firmware_bridge.sensors import IMU_SAMPLES, MAX_JOINTS

__all__ = ["MAX_JOINTS", "JointCommand", "JointCounts", "JointLimit", "LimitTable"]

INT16 = 32767
FIXED_POINT = 1 << 62  # headroom of the products under the limiter's square roots


class JointCommand(Enum):
    """What one MOTION field means for a joint."""

    VELOCITY = 0
    POSITION = 1


@dataclass(frozen=True, slots=True)
class JointLimit:
    """Limits of one joint in SI units; `scale` is SI units per count of its MOTION field."""

    name: str
    command: JointCommand
    scale: float
    position_min_rad: float
    position_max_rad: float
    velocity_max_rad_s: float
    acceleration_max_rad_s2: float
    jerk_max_rad_s3: float
    stop_deceleration_rad_s2: float
    current_max_a: float


@dataclass(frozen=True, slots=True)
class JointCounts:
    """Limits of one joint as integers: counts of its MOTION scale, per second as often as named.

    A velocity joint counts rad/s and has no position; rounding never widens a limit.
    """

    velocity_joint: bool
    position_min: int
    position_max: int
    velocity_max: int
    acceleration_max: int
    jerk_max: int
    stop_deceleration: int
    current_max_ma: int
    scale_nano: int  # SI units per count, 1e-9


@dataclass(frozen=True, slots=True)
class LimitTable:
    """All joints of one body in wire order, and the rates and inputs the MCU must know."""

    body: str
    joints: tuple[JointLimit, ...]
    control_hz: int
    imu_hz: int
    motion_ttl_ms: int
    has_range: bool
    cliffs: int  # how many cliff sensors; all of them without floor: lifted
    has_bumper: bool
    has_stop: bool
    led_count: int
    brown_out_mv: int  # 0: no battery gauge
    wheel_brake: bool = False  # spring-applied brakes: without them wheels stop later

    def crc(self) -> int:
        """CRC-32 of the layout: stands in HELLO_ACK, so that host and MCU agree on the body."""
        return zlib.crc32(repr(self).encode())

    def counts(self) -> tuple[JointCounts, ...]:
        """The table in wire units; LimitError where it fits neither wire nor fixed point."""
        if not 1 <= len(self.joints) <= MAX_JOINTS:
            raise LimitError(
                f"body {self.body}: {len(self.joints)} joints; the wire carries 1 to {MAX_JOINTS}"
            )
        if self.control_hz not in (50, 100, 200) or self.imu_hz != IMU_SAMPLES * self.control_hz:
            raise LimitError(
                f"body {self.body}: control_hz {self.control_hz}, imu_hz {self.imu_hz}; needs "
                f"control_hz 50, 100 or 200 and imu_hz {IMU_SAMPLES} times that"
            )
        if not 0 <= self.cliffs <= 8:
            raise LimitError(f"body {self.body}: {self.cliffs} cliff sensors; STATE carries 0 to 8")
        return tuple(_counts(self.body, joint) for joint in self.joints)


def _floor(value: float) -> int:
    return math.floor(value + 1e-6)


def _counts(body: str, joint: JointLimit) -> JointCounts:
    """One joint in counts, checked against the int16 of MOTION and the limiter's products."""
    per = 1.0 / joint.scale
    velocity_joint = joint.command is JointCommand.VELOCITY
    counts = JointCounts(
        velocity_joint=velocity_joint,
        position_min=0 if velocity_joint else -_floor(-joint.position_min_rad * per),
        position_max=0 if velocity_joint else _floor(joint.position_max_rad * per),
        velocity_max=_floor(joint.velocity_max_rad_s * per),
        acceleration_max=_floor(joint.acceleration_max_rad_s2 * per),
        jerk_max=_floor(joint.jerk_max_rad_s3 * per),
        stop_deceleration=_floor(joint.stop_deceleration_rad_s2 * per),
        current_max_ma=_floor(joint.current_max_a * 1e3),
        scale_nano=round(joint.scale * 1e9),
    )
    biggest = max(-counts.position_min, counts.position_max)
    if velocity_joint:
        biggest = counts.velocity_max
    if biggest > INT16 or counts.position_min > counts.position_max:
        raise LimitError(
            f"body {body}, joint {joint.name}: {biggest} counts; MOTION carries {INT16}: "
            "use a coarser scale, and position_min below position_max"
        )
    small = (counts.velocity_max, counts.acceleration_max, counts.jerk_max, counts.scale_nano)
    if min(*small, counts.stop_deceleration) < 1 or counts.current_max_ma > INT16:
        raise LimitError(f"body {body}, joint {joint.name}: a limit is below one count or too big")
    largest = max(
        counts.jerk_max * 2_000_000 * counts.velocity_max,
        counts.acceleration_max * 2_000_000 * INT16,
        (1000 * counts.acceleration_max) ** 2,
        (1000 * counts.velocity_max) ** 2,
    )
    if largest >= FIXED_POINT:
        raise LimitError(
            f"body {body}, joint {joint.name}: limits too large for the fixed point; "
            "use a coarser scale"
        )
    return counts
