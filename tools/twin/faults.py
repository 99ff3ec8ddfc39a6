"""Faults on demand: what breaks in a robot's wiring, floor or way, switched at a time.

    twin = Twin(body, seed, plant, faults=(At("lift", start_ns=2_000_000_000),))
    twin.faults.start("unplugged_encoder", joint="wheel_left")
    twin.faults.end("unplugged_encoder", joint="wheel_left")

Nothing is drawn at random, so a twin with faults is as repeatable as one without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from tools.twin.errors import TwinError
from tools.twin.world import BLOCK_HALF_M, BLOCK_HEIGHT_M

if TYPE_CHECKING:
    from tools.twin.twin import Twin

ICE = 0.02  # friction of a wheel that slips
SAG_V = 4.0
PUSH_N = (12.0, 16.0)  # forwards, left: 20 N, a firm hand
PUSH_N_M = 1.5  # and how it turns the robot; from 2 on the firmware stops for opposing motion
GYRO_BIAS_RAD_S = 0.5
BLOCK_GAP_M = 0.002


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: what it is, what switches it, and which joints may have it."""

    note: str
    switch: Callable[[Twin, int, bool], None]
    joints: str = ""  # "any", "wheel", or none: it belongs to the whole robot


@dataclass(frozen=True, slots=True)
class At:
    """A fault at a time of the twin's clock; `end_ns` None: for good."""

    name: str
    joint: str | None = None
    start_ns: int = 0
    end_ns: int | None = None


def _swap(twin: Twin, joint: int, on: bool) -> None:
    twin.motors.swap(joint, on, twin.data)
    twin.sensors.swap(joint, on)


def _unplug(twin: Twin, joint: int, on: bool) -> None:
    twin.motors.unplug(joint, on)
    twin.sensors.unplug(joint, on)


def _lift(twin: Twin, _joint: int, on: bool) -> None:
    if on:
        twin.hands.take(twin.data)
    else:
        twin.hands.let_go(twin.data)


def _cliff(twin: Twin, _joint: int, on: bool) -> None:
    twin.sensors.edge = int(on)  # the first sensor alone: all of them would be a lift


def _jam(twin: Twin, joint: int, on: bool) -> None:
    twin.motors.jam(joint, on)


def _slip(twin: Twin, _joint: int, on: bool) -> None:
    wheels = list(twin.ids.wheel_geom)
    twin.model.geom_priority[wheels] = int(on)  # else the floor's friction would count
    twin.model.geom_friction[wheels, 0] = ICE if on else twin.tyre_friction


def _open_stop(twin: Twin, _joint: int, on: bool) -> None:
    twin.plant.sensors["stop_input"] = int(not on)


def _brown_out(twin: Twin, _joint: int, on: bool) -> None:
    twin.sensors.sag_v = SAG_V if on else 0.0


def _block(twin: Twin, joint: int, on: bool) -> None:
    """A low block right in front of a wheel, the way it rolls; the bumper ring passes over it."""
    place, data = twin.ids.block_mocap[joint], twin.data
    data.mocap_pos[place] = (0.0, 0.0, -1.0)
    if not on:
        return
    x, y, yaw = twin.pose()
    radius = twin.body.geometry.wheel_radius_m
    reach = float(np.sqrt(radius**2 - (radius - BLOCK_HEIGHT_M) ** 2)) + BLOCK_HALF_M + BLOCK_GAP_M
    ahead = reach if data.qvel[twin.ids.joint_v[joint]] >= 0 else -reach
    side = twin.body.geometry.track_width_m / 2 * (1 if joint == 0 else -1)
    c, s = np.cos(yaw), np.sin(yaw)
    data.mocap_pos[place] = (x + c * ahead - s * side, y + s * ahead + c * side, BLOCK_HEIGHT_M / 2)
    data.mocap_quat[place] = (np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2))


def _push(twin: Twin, _joint: int, on: bool) -> None:
    """A hand from behind on the right, for as long as it is on: its direction stays in the room."""
    force = twin.data.xfrc_applied[twin.ids.base]
    force[:] = 0.0
    if on:
        yaw = twin.pose()[2]
        c, s = np.cos(yaw), np.sin(yaw)
        force[:2] = c * PUSH_N[0] - s * PUSH_N[1], s * PUSH_N[0] + c * PUSH_N[1]
        force[5] = PUSH_N_M


def _cover(twin: Twin, _joint: int, on: bool) -> None:
    twin.camera.covered = on


def _freeze(twin: Twin, _joint: int, on: bool) -> None:
    twin.frozen = on


def _gyro_bias(twin: Twin, _joint: int, on: bool) -> None:
    twin.sensors.bias_gyro(GYRO_BIAS_RAD_S if on else 0.0)


FAULTS: Final = {
    "swapped_polarity": Row("the motor's wires are swapped: it turns the other way", _swap, "any"),
    "unplugged_encoder": Row("the encoder says nothing more, whatever turns", _unplug, "any"),
    "blocked_wheel": Row("jammed: it turns no more, at any current", _jam, "wheel"),
    "obstacle": Row("a low block in the wheel's way that no bumper sees", _block, "wheel"),
    "slip": Row("the wheels stand on ice", _slip),
    "lift": Row("hands lift the robot off the floor", _lift),
    "cliff": Row("one cliff sensor looks over an edge", _cliff),
    "stop_input_open": Row("the stop input is open", _open_stop),
    "brown_out": Row("the battery sags", _brown_out),
    "push": Row("a hand shoves the robot", _push),
    "cover": Row("a hand is on the lens", _cover),
    "freeze": Row("the camera shows its last frame again and again", _freeze),
    "gyro_bias": Row("the gyro turns while the robot does not", _gyro_bias),
}


class Faults:
    """The faults of one twin: those that hold, and those whose time comes."""

    def __init__(self, twin: Twin, schedule: Iterable[At] = ()) -> None:
        self._twin = twin
        self.active: set[tuple[str, str | None]] = set()
        for at in schedule:
            self._row(at.name, at.joint)
        self._due = sorted(
            [(at.start_ns, True, at.name, at.joint) for at in schedule]
            + [(at.end_ns, False, at.name, at.joint) for at in schedule if at.end_ns is not None],
            key=lambda due: due[:3],
        )

    def start(self, name: str, joint: str | None = None) -> None:
        """From the next physics step on."""
        self._switch(name, joint, True)

    def end(self, name: str, joint: str | None = None) -> None:
        """Over; ending what does not hold changes nothing."""
        self._switch(name, joint, False)

    def step(self, now_ns: int) -> None:
        """Switch what is due by now."""
        while self._due and self._due[0][0] <= now_ns:
            _, on, name, joint = self._due.pop(0)
            self._switch(name, joint, on)

    def _switch(self, name: str, joint: str | None, on: bool) -> None:
        row = self._row(name, joint)
        if on == ((name, joint) in self.active):
            return
        row.switch(self._twin, self._twin.body.joint_names.index(joint) if joint else 0, on)
        (self.active.add if on else self.active.discard)((name, joint))

    def _row(self, name: str, joint: str | None) -> Row:
        row = FAULTS.get(name)
        if row is None:
            raise TwinError(f"no fault named {name}: known are {', '.join(FAULTS)}")
        names = self._twin.body.joint_names[: 2 if row.joints == "wheel" else None]
        if row.joints and joint not in names:
            raise TwinError(
                f"fault {name}: needs one of the joints {', '.join(names)}, not {joint}"
            )
        if not row.joints and joint is not None:
            raise TwinError(f"fault {name}: belongs to the whole robot, not to {joint}")
        return row
