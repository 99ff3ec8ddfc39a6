"""The policy layout: which joints a model sees and commands, and how numbers are normalised.

`runtime/body.py` fills it from the body file; the manifest of a bundle must carry an equal one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

GRAVITY_M_S2 = 9.80665
GOAL_FIELDS = ("x_m", "y_m", "distance_m", "red", "green", "blue", "sin_heading", "cos_heading")
GOAL_MASKS = ("position", "distance", "appearance", "heading")
GOAL_SIZE = len(GOAL_FIELDS) + len(GOAL_MASKS)
OBSERVE_MASKS = ("frame", "imu", "proprio")
IMU_SLICES = 5  # the IMU window between two frames, as this many means
RANGE_SEEN_M = 2.0  # nearness of the range sensor: 1 touching, 0 from here on
SKILLS = ("idle", "follow", "approach", "look_at", "search", "go_to")  # the skill one-hot's order


@dataclass(frozen=True, slots=True)
class ActionJoint:
    """One policy action: its joint, the joint's index on the wire and what full scale means."""

    name: str
    index: int
    is_position: bool
    velocity_max_rad_s: float


@dataclass(frozen=True, slots=True)
class Layout:
    """What the graphs of a bundle read and write for one body."""

    body: str
    joints: tuple[ActionJoint, ...]
    control_hz: int
    frame_hz: int
    has_range: bool = False
    accel_scale_m_s2: float = 5.0
    gyro_scale_rad_s: float = 1.0

    @property
    def action_size(self) -> int:
        """Length of the action vector."""
        return len(self.joints)

    @property
    def proprio_names(self) -> tuple[str, ...]:
        """Velocities of all action joints, positions of the position joints, nearness ahead."""
        velocities = tuple(f"{j.name}.velocity" for j in self.joints)
        positions = tuple(f"{j.name}.position" for j in self.joints if j.is_position)
        return velocities + positions + (("range.nearness",) if self.has_range else ())

    @property
    def proprio_size(self) -> int:
        """Length of the proprioception vector."""
        return len(self.proprio_names)

    def describe(self) -> list[str]:
        """One line per action, as the manifest stores it and compares it."""
        return [
            f"{j.name} {'position' if j.is_position else 'velocity'} {j.velocity_max_rad_s:g} rad/s"
            for j in self.joints
        ]

    def proprio(
        self, position_rad: Float32, velocity_rad_s: Float32, range_m: float, out: Float32
    ) -> None:
        """Fill `out` (P,) from the wire-order joint arrays (16,): rates per full scale, then rad.

        `range_m` is what the front range sensor sees (inf: nothing); bodies without one ignore it.
        """
        k = len(self.joints)
        for i, joint in enumerate(self.joints):
            out[i] = velocity_rad_s[joint.index] / joint.velocity_max_rad_s
            if joint.is_position:
                out[k] = position_rad[joint.index]
                k += 1
        if self.has_range:
            out[k] = max(0.0, 1 - range_m / RANGE_SEEN_M) if range_m < RANGE_SEEN_M else 0.0

    def index(self, name: str) -> int | None:
        """Where a sense stands in the proprioception vector; None: this body has none."""
        names = self.proprio_names
        return names.index(name) if name in names else None

    def imu(self, accel_m_s2: Float32, gyro_rad_s: Float32, out: Float32) -> None:
        """Fill `out` (..., 6) from accel and gyro (..., 3), gravity removed on z, normalised."""
        out[..., :3] = accel_m_s2
        out[..., 2] -= GRAVITY_M_S2
        out[..., :3] /= self.accel_scale_m_s2
        out[..., 3:] = gyro_rad_s
        out[..., 3:] /= self.gyro_scale_rad_s


def goal_vector(
    *,
    distance_m: float | None = None,
    appearance: tuple[float, float, float] | None = None,
    position_m: tuple[float, float] | None = None,
    heading_rad: float | None = None,
) -> Float32:
    """The fixed goal vector (12,): eight values, then one valid mask per part."""
    goal = np.zeros(GOAL_SIZE, np.float32)
    if position_m is not None:
        goal[0:2], goal[8] = position_m, 1.0
    if distance_m is not None:
        goal[2], goal[9] = distance_m, 1.0
    if appearance is not None:
        goal[3:6], goal[10] = appearance, 1.0
    if heading_rad is not None:
        goal[6:8], goal[11] = (np.sin(heading_rad), np.cos(heading_rad)), 1.0
    return goal
