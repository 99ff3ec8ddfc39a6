"""The host's own gate: the same limits as the MCU, written independently, in the same integers.

It may be stricter than the MCU (`tighten`), never looser; the MCU gates again (`limits.c`), and a
test finds no differing output between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

from firmware_bridge.limits import JointCounts, LimitTable

COUNT_RATE = 1_000_000  # velocities are kept in 1e-6 counts/s: integrating over ms stays exact
COUNT = 1_000_000_000  # positions in 1e-9 counts
LINEAR_1_S = 25  # close to its target a position joint's speed is so many times the distance
REACH = 32767  # counts that a MOTION carries; a joint measured further out starts there


@dataclass(slots=True)
class _Motion:
    """What one joint is commanded to do now; units as in firmware/limits.h."""

    position: int = 0
    velocity: int = 0
    acceleration: int = 0


class Gate:
    """Holds every joint's command within position, velocity, acceleration and jerk."""

    def __init__(self, table: LimitTable) -> None:
        self.joints = table.counts()
        self.dt_ms = 1000 // table.control_hz
        self.limited = 0  # one bit per joint whose target was out of bounds in the last step
        self._caps = [joint.velocity_max for joint in self.joints]
        self._motion = [_Motion() for _ in self.joints]

    def start(self, measured: Sequence[int]) -> None:
        """Begin at rest in the measured pose, in counts (velocity joints: ignored)."""
        for joint, motion, value in zip(self.joints, self._motion, measured, strict=True):
            within = max(-REACH, min(REACH, int(value)))
            motion.position = 0 if joint.velocity_joint else within * COUNT
            motion.velocity = 0
            motion.acceleration = 0

    def tighten(self, caps: Sequence[int] | None = None) -> None:
        """Cap each joint's speed in counts (velocity joints) or counts/s; None: the table's own."""
        limits = [joint.velocity_max for joint in self.joints]
        self._caps = limits if caps is None else _lower(caps, limits)

    def reach(self, index: int, rate: float) -> int:
        """How far ahead [counts] a position joint's target must stand to be approached at `rate`.

        `rate` in counts/s; the inverse of `_braking`: a target only one period's way ahead would be
        approached at a quarter of the rate.
        """
        joint = self.joints[index]
        speed = abs(rate)
        ahead = max(speed / LINEAR_1_S, speed * speed / joint.acceleration_max)
        return round(ahead if rate >= 0 else -ahead)

    def limit(self, target: Sequence[int]) -> list[int]:
        """One control step towards the targets [counts]; returns what may be sent [counts]."""
        out: list[int] = []
        self.limited = 0
        for index, joint in enumerate(self.joints):
            value = int(target[index])
            motion, cap = self._motion[index], self._caps[index]
            if joint.velocity_joint:
                allowed = max(-cap, min(cap, value))
                _steer(joint, motion, allowed * COUNT_RATE, self.dt_ms)
                out.append(_nearest(motion.velocity, COUNT_RATE))
            else:
                allowed = max(joint.position_min, min(joint.position_max, value))
                wanted = _braking(joint, cap, allowed * COUNT - motion.position)
                _steer(joint, motion, wanted, self.dt_ms)
                _move(joint, motion, self.dt_ms)
                out.append(_nearest(motion.position, COUNT))
            if allowed != value:
                self.limited |= 1 << index
        return out

    def stop(self) -> list[int]:
        """One control step of the stop ramp: own deceleration, no jerk limit; returns counts."""
        out: list[int] = []
        for joint, motion in zip(self.joints, self._motion, strict=True):
            rate = max(0, abs(motion.velocity) - joint.stop_deceleration * self.dt_ms * 1000)
            motion.velocity = rate if motion.velocity >= 0 else -rate
            motion.acceleration = 0
            if joint.velocity_joint:
                out.append(_nearest(motion.velocity, COUNT_RATE))
            else:
                _move(joint, motion, self.dt_ms)
                out.append(_nearest(motion.position, COUNT))
        return out


def _lower(caps: Sequence[int], limits: list[int]) -> list[int]:
    return [max(0, min(int(cap), limit)) for cap, limit in zip(caps, limits, strict=True)]


def _signed(size: int, like: int) -> int:
    return -size if like < 0 else size


def _nearest(value: int, unit: int) -> int:
    return _signed((abs(value) + unit // 2) // unit, value)


def _braking(joint: JointCounts, cap: int, error: int) -> int:
    """Speed from which half the deceleration ends at the target; linear close to it."""
    distance = abs(error)
    linear = min(cap * COUNT_RATE, distance // (1000 // LINEAR_1_S))
    square = joint.acceleration_max * (distance // 1000)
    if (linear // 1000) ** 2 > square:
        return _signed(isqrt(square) * 1000, error)
    return _signed(linear, error)


def _steer(joint: JointCounts, motion: _Motion, wanted: int, dt_ms: int) -> None:
    """Change the velocity towards the wanted one, within acceleration and jerk."""
    error = wanted - motion.velocity
    distance = abs(error)
    push = min(joint.acceleration_max * 1000, distance // 10)  # 100/s close to it
    if push * push > joint.jerk_max * distance:
        push = isqrt(joint.jerk_max * distance)
    step = joint.jerk_max * dt_ms
    before = motion.acceleration
    motion.acceleration = max(before - step, min(before + step, _signed(push, error)))
    top = joint.velocity_max * COUNT_RATE
    wished = motion.velocity + motion.acceleration * dt_ms
    motion.velocity = max(-top, min(top, wished))
    if motion.velocity != wished:
        motion.acceleration = 0


def _move(joint: JointCounts, motion: _Motion, dt_ms: int) -> None:
    """Integrate; a bound stops outward motion and lets a joint outside it come back by itself."""
    wished = motion.position + motion.velocity * dt_ms
    low = min(joint.position_min * COUNT, motion.position)
    high = max(joint.position_max * COUNT, motion.position)
    motion.position = max(low, min(high, wished))
    if motion.position != wished:
        motion.velocity = 0
        motion.acceleration = 0
