"""The limit table: what a body allows, as the wire and the MCU speak it.

`runtime/body.py` fills it from a body file; the generated C header and the host gate read it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import Enum

MAX_JOINTS = 16


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
class LimitTable:
    """All joints of one body in wire order, and the rates and inputs the MCU must know."""

    body: str
    joints: tuple[JointLimit, ...]
    control_hz: int
    imu_hz: int
    motion_ttl_ms: int
    has_range: bool
    has_cliff: bool
    has_bumper: bool
    has_stop: bool
    led_count: int

    def crc(self) -> int:
        """CRC-32 of the layout: stands in HELLO_ACK, so that host and MCU agree on the body."""
        return zlib.crc32(repr(self).encode())
