"""The body file: the one place that names joints, geometry, limits, rates and sensor mounting.

`load_body` parses it strictly and hands plain specs down: the limit table (`firmware_bridge`),
the policy layout (`models`), the nominal camera (`calibration`).
"""

from __future__ import annotations

import difflib
import re
import typing
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from calibration.camera import LensCamera, PinholeCamera
from firmware_bridge.limits import JointCommand, JointLimit, LimitTable
from models.layout import ActionJoint, Layout
from runtime.errors import ConfigError

BODIES = Path(__file__).parent / "bodies"

Positive = Annotated[float, msgspec.Meta(gt=0)]
Vec3 = tuple[float, float, float]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: unknown keys are refused by name."""


class Joint(Strict, frozen=True):
    """One joint: what its MOTION field commands and how far it may go."""

    name: str
    command: Literal["velocity", "position"]
    scale: Positive
    velocity_max_rad_s: Positive
    acceleration_max_rad_s2: Positive
    jerk_max_rad_s3: Positive
    stop_deceleration_rad_s2: Positive
    current_max_a: Positive
    torque_constant_n_m_a: Positive
    position_min_rad: float = 0.0
    position_max_rad: float = 0.0


class Geometry(Strict, frozen=True):
    """Lengths of the body, in the base frame (REP-103, origin on the wheel axle)."""

    wheel_radius_m: Positive
    track_width_m: Positive
    mass_kg: Positive
    chassis_m: Vec3
    chassis_centre_m: Vec3
    caster_m: tuple[Vec3, ...]
    neck_m: Vec3
    head_m: Vec3


class Motion(Strict, frozen=True):
    """Base speed caps and the default time-to-live of a MOTION frame."""

    speed_max_m_s: Positive
    speed_max_blind_m_s: Positive
    motion_ttl_ms: Annotated[int, msgspec.Meta(ge=20, le=200)]
    wheel_brake: bool = False  # spring-applied: falls in without enable, or when the MCU says so


class Inputs(Strict, frozen=True):
    """Optional safety inputs; absent ones cap the base speed."""

    range_front: bool = False
    range_half_cone_rad: float = 0.0  # the nearest thing within this of straight ahead; 0: one ray
    cliff: tuple[str, ...] = ()
    bumper: bool = False
    stop: bool = False


class Imu(Strict, frozen=True):
    """Where the IMU sits and what it can measure."""

    base_from_imu_m: Vec3
    accel_range_m_s2: Positive
    gyro_range_rad_s: Positive


class Camera(Strict, frozen=True):
    """Nominal camera: mounting, sensor size [px], Brown-Conrady lens, exposure and readout."""

    head_from_camera_m: Vec3
    width: int
    height: int
    fx: Positive
    fy: Positive
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float]
    exposure_s: Positive
    readout_s: Annotated[float, msgspec.Meta(ge=0)]


class Leds(Strict, frozen=True):
    """The LED ring, driven by the MCU alone."""

    count: int = 0


class Battery(Strict, frozen=True):
    """Below `low_v` the mind pauses, below `brown_out_v` the MCU stops by itself; 0: neither does."""

    brown_out_v: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0
    low_v: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0


class PolicyJoints(Strict, frozen=True):
    """The joints a policy commands, in action order."""

    actions: tuple[str, ...]


class Body(Strict, frozen=True):
    """A whole body file."""

    schema: Literal[1]
    name: str
    control_hz: int
    frame_hz: int
    imu_hz: int
    geometry: Geometry
    motion: Motion
    inputs: Inputs
    imu: Imu
    camera: Camera
    leds: Leds
    joint: tuple[Joint, ...]
    policy: PolicyJoints
    battery: Battery = Battery()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names in wire order."""
        return tuple(joint.name for joint in self.joint)

    @property
    def action_joints(self) -> tuple[int, ...]:
        """Wire index of each policy action."""
        return tuple(self.joint_names.index(name) for name in self.policy.actions)

    @property
    def speed_cap_m_s(self) -> float:
        """Base speed cap: the blind cap where range, cliff or bumper inputs are missing."""
        seeing = self.inputs.range_front and self.inputs.cliff and self.inputs.bumper
        return self.motion.speed_max_m_s if seeing else self.motion.speed_max_blind_m_s

    def limit_table(self) -> LimitTable:
        """The limits as the firmware and the gate know them."""
        return LimitTable(
            body=self.name,
            joints=tuple(
                JointLimit(
                    name=j.name,
                    command=JointCommand[j.command.upper()],
                    scale=j.scale,
                    position_min_rad=j.position_min_rad,
                    position_max_rad=j.position_max_rad,
                    velocity_max_rad_s=j.velocity_max_rad_s,
                    acceleration_max_rad_s2=j.acceleration_max_rad_s2,
                    jerk_max_rad_s3=j.jerk_max_rad_s3,
                    stop_deceleration_rad_s2=j.stop_deceleration_rad_s2,
                    current_max_a=j.current_max_a,
                )
                for j in self.joint
            ),
            control_hz=self.control_hz,
            imu_hz=self.imu_hz,
            motion_ttl_ms=self.motion.motion_ttl_ms,
            has_range=self.inputs.range_front,
            cliffs=len(self.inputs.cliff),
            has_bumper=self.inputs.bumper,
            has_stop=self.inputs.stop,
            led_count=self.leds.count,
            brown_out_mv=round(1000 * self.battery.brown_out_v),
            wheel_brake=self.motion.wheel_brake,
        )

    def layout(self) -> Layout:
        """What a policy sees and commands on this body."""
        return Layout(
            body=self.name,
            joints=tuple(
                ActionJoint(
                    name=self.joint[i].name,
                    index=i,
                    is_position=self.joint[i].command == "position",
                    velocity_max_rad_s=self.joint[i].velocity_max_rad_s,
                )
                for i in self.action_joints
            ),
            control_hz=self.control_hz,
            frame_hz=self.frame_hz,
            has_range=self.inputs.range_front,
        )

    def nominal_lens(self) -> LensCamera:
        """The camera as designed, until a device calibration is installed."""
        c = self.camera
        return LensCamera(PinholeCamera(c.width, c.height, c.fx, c.fy, c.cx, c.cy), c.distortion)


def _valid_keys(message: str) -> str:
    """The keys that may stand where an unknown one was found."""
    if "unknown field" not in message:
        return ""
    place = re.search(r"at `\$\.(\w+)", message)
    hints = typing.get_type_hints(Body)
    section = hints[place.group(1)] if place else Body
    section = next(iter(typing.get_args(section)), section)  # joint is a tuple of sections
    return f": valid are {', '.join(section.__struct_fields__)}"


def load_body(name: str) -> Body:
    """Read a body by name (`runtime/bodies/NAME.toml`) or by path; ConfigError says what is wrong."""
    path = Path(name) if name.endswith(".toml") else BODIES / f"{name}.toml"
    if not path.is_file():
        known = sorted(p.stem for p in BODIES.glob("*.toml"))
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no body named {name}: known bodies are {', '.join(known)}{hint}")
    try:
        body = msgspec.toml.decode(path.read_bytes(), type=Body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"body file {path}: {error}{_valid_keys(str(error))}; mend the file"
        ) from error
    unknown = [a for a in body.policy.actions if a not in body.joint_names]
    if unknown:
        raise ConfigError(
            f"body file {path}: policy.actions names {', '.join(unknown)}; "
            f"the joints are {', '.join(body.joint_names)}"
        )
    low_v, brown_out_v = body.battery.low_v, body.battery.brown_out_v
    if 0 < low_v <= brown_out_v:
        raise ConfigError(
            f"body file {path}: battery.low_v = {low_v:g} is not above battery.brown_out_v = "
            f"{brown_out_v:g}: the motor controller would stop before the robot pauses; raise low_v"
        )
    return body
