"""What moves during a calibration: the robot on its port, or the twin in virtual time; one interface.

    rig.advance()               # 10 ms pass: sensors in, command out
    rig.drive(1.0, 1.0)         # wheels [rad/s]; stays until changed
    rig.aim("head_yaw", 0.3)    # a joint [rad]

Every motion is guarded: what latches in the MCU, a touched bumper, or a released hold key parks the
motors and raises `Aborted`. The MCU's own limits hold all the time; nothing here widens them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.imu_map import ImuMap
from firmware_bridge import protocol
from firmware_bridge.limits import JointCommand, LimitTable
from firmware_bridge.link import Link
from firmware_bridge.lockstep import LockstepFirmware
from firmware_bridge.protocol import Ack, Mode
from firmware_bridge.transport import LockstepTransport
from runtime.body import Body
from runtime.errors import RuntimeFault
from tools.twin.mismade import CLEARED, Made, draw_made, mismake
from tools.twin.twin import STEP_NS, Twin

Floats = npt.NDArray[np.float64]
PERIOD_NS = 10_000_000
TTL_MS = 60
REST = 80  # periods until the motors are off
WAIT = 300  # periods for a session, a mode, a clock
START_NS = 1_000_000_000


class Aborted(RuntimeFault):
    """A motion ended early: what was in the way, or that the hold key was released."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One control period: time [ns], joints (J,) [rad, rad/s, A], IMU (5, 3) means over 2 ms."""

    t_ns: int
    position_rad: Floats
    velocity_rad_s: Floats
    current_a: Floats
    gyro_rad_s: Floats
    accel_m_s2: Floats
    target: Floats  # (J,) what was commanded: rad/s of wheels, rad of others


class Rig:
    """Commands and samples over a link; `pump` lets 10 ms pass."""

    def __init__(
        self,
        body: Body,
        link: Link,
        table: LimitTable,
        pump: Callable[[], int],
        held: Callable[[], bool],
    ) -> None:
        self.body, self.link, self.table = body, link, table
        self._pump, self._held = pump, held
        self._wheels = [j.command is JointCommand.VELOCITY for j in table.joints]
        self._scale = np.array([j.scale for j in table.joints])
        self._target = np.zeros(len(table.joints))
        self._mask = 0
        self.now_ns = 0
        self.imu: ImuMap | None = None  # calibrations of its IMU, once they are known
        self.samples: list[Sample] = []
        self.recording = False

    @property
    def names(self) -> tuple[str, ...]:
        """Joints in the body's order."""
        return self.body.joint_names

    def advance(self) -> Sample:
        """Let one period pass; Aborted when something is in the way."""
        self.now_ns = self._pump()
        self.link.step(self.now_ns)
        if self._mask:
            self._guard()
            counts = np.rint(self._target / self._scale).astype(np.int16)
            self.link.send_motion(self.now_ns, counts, self._mask, TTL_MS)
        sample = self._sample()
        if self.recording:
            self.samples.append(sample)
        return sample

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(max(1, round(seconds * 1e9 / PERIOD_NS))):
            self.advance()

    def drive(self, left_rad_s: float, right_rad_s: float) -> None:
        """Wheel speeds from now on."""
        self._target[:2] = left_rad_s, right_rad_s

    def aim(self, joint: str, value: float) -> None:
        """A joint's position [rad], or a wheel's speed [rad/s], from now on."""
        self._target[self.names.index(joint)] = value

    @contextmanager
    def armed(self, mode: Mode = Mode.ACTIVE, joint: str = "") -> Iterator[None]:
        """Motors under power, from the measured pose; parked afterwards, whatever happens."""
        sample = self.advance()
        self._target[:] = np.where(self._wheels, 0.0, sample.position_rad)
        self._request(mode)
        self._mask = 1 << self.names.index(joint) if joint else (1 << len(self.names)) - 1
        try:
            yield
        finally:
            self._mask = 0
            self.link.arm(self.now_ns, Mode.SAFE)
            for _ in range(REST):
                self.now_ns = self._pump()
                self.link.step(self.now_ns)

    def connect(self) -> str:
        """Wait for a session; the board's uid."""
        for _ in range(WAIT):
            self.advance()
            if self.link.ready and self.link.sensors_seq and self.link.identity is not None:
                return self.link.identity.uid
        raise RuntimeFault(f"no answer from the board ({self.link.status.reason}); check cable and power: `companion doctor`")  # fmt: skip

    @property
    def stopped(self) -> bool:
        """Whether the board has latched, the link is lost, or the hold key was let go."""
        return bool(self.link.fault.latched) or not self.link.ready or not self._held()

    def _request(self, mode: Mode) -> None:
        if self.link.fault.latched:
            raise RuntimeFault(
                f"the board stands stopped: {_named(self.link.fault.latched)}; remove the cause, then "
                "switch it off and on, or run `companion bringup`, which clears it"
            )
        self.link.arm(self.now_ns, mode)
        for _ in range(WAIT):
            self.advance()
            answer = self.link.answer(protocol.ARM)
            if answer is Ack.OK:
                return
            if answer is not None:
                raise RuntimeFault(f"the board refuses to move: {answer.name.lower().replace('_', ' ')}; `companion link watch` tells more")  # fmt: skip
        raise RuntimeFault("the board does not answer when asked to move; check the cable")

    def _guard(self) -> None:
        latched = self.link.fault.latched
        if latched:
            raise Aborted(f"stopped by the board: {_named(latched)}")
        if not self.link.ready:
            raise Aborted("the link was lost; check the cable")
        if not self._held():
            raise Aborted("the hold key was released")

    def _sample(self) -> Sample:
        s = self.link.sensors[0]
        n = len(self.names)
        gyro, accel = np.array(s["gyro_rad_s"], float), np.array(s["accel_m_s2"], float)
        if self.imu is not None:
            gyro, accel = self.imu.gyro(gyro), self.imu.accel(accel)
        return Sample(
            self.now_ns,
            np.array(s["position_rad"][:n], float),
            np.array(s["velocity_rad_s"][:n], float),
            np.array(s["current_a"][:n], float),
            gyro,
            accel,
            self._target.copy(),
        )


def _named(fault: Any) -> str:
    return ", ".join(f.name.lower().replace("_", " ") for f in type(fault) if f in fault and f.name)


class TwinRig(Rig):
    """The twin behind the firmware's core, in virtual time: as fast as the machine allows.

    On a `stand` its wheels turn in the air; `raw_imu`: before the factory calibrated its IMU.
    """

    def __init__(self, body: Body, seed: int, stand: bool = False, raw_imu: bool = False) -> None:
        table = body.limit_table()
        self.firmware = LockstepFirmware(table, uid=f"twin-{seed}".encode())
        self.twin = Twin(body, seed, self.firmware.plant, CLEARED, start_ns=START_NS, stand=stand)
        self.made: Made = draw_made(self.twin)
        mismake(self.twin, self.made, raw_imu)
        self.released_at_ns = 0  # for tests: when the hold key is let go
        self.on_physics: Callable[[], None] | None = (
            None  # after each step, for who knows the truth
        )
        link = Link(LockstepTransport(self.firmware), table)
        super().__init__(body, link, table, self._pass, self._is_held)
        self.now_ns = START_NS

    def _is_held(self) -> bool:
        return not self.released_at_ns or self.now_ns < self.released_at_ns

    def _pass(self) -> int:
        end = self.now_ns + PERIOD_NS
        while self.twin.now_ns < end:
            self.twin.step_to(self.twin.now_ns + STEP_NS)
            if self.on_physics is not None:
                self.on_physics()
            self.firmware.run(self.firmware.mcu_us(self.twin.now_ns - START_NS))
        return end
