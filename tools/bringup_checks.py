"""What a bring-up does, joint by joint, through the link alone: the same on a board and on the twin.

Each procedure is a generator that yields once per control period; whoever runs it lets 10 ms of real
or virtual time pass. Joints move in the MCU's BENCH mode: one at a time, a tenth of the current.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firmware_bridge import protocol
from firmware_bridge.limits import JointCommand, LimitTable
from firmware_bridge.link import Link
from firmware_bridge.protocol import Ack, Fault, Mode
from firmware_bridge.telemetry import NO_FAULT

PERIOD_NS = 10_000_000
WHEEL_RAD_S = 1.5
SERVO_RAD = 0.12
JOG_PERIODS = 80
REST_PERIODS = 30
MIN_WHEEL_RAD = 0.25  # of the 1.2 rad that a jog goes
MIN_SERVO_RAD = 0.04
ANSWER_PERIODS = 50
STOP_PERIODS = 3000  # half a minute for a hand to reach the button
BENCH_SHARE = 0.1
NOISE_A = 0.06  # of a current sensor, beside the limit
GRAVITY_M_S2 = 9.81

ONCE_STOPPED = "see why it was stopped, then run `companion bringup` again"
# only a stop button that is pressed and let go shows that somebody is there to clear a hand's stop
NO_BUTTON = "see why it was stopped, switch the board off and on, and run `companion bringup` again"

Steps = Iterator[None]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result; `advice` says what to do about a FAIL."""

    subject: str
    ok: bool
    says: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """PASS or FAIL."""
        return "PASS" if self.ok else "FAIL"


class BringUp:
    """The checks of one board; `now_ns` is what the runner says it is."""

    def __init__(self, link: Link, table: LimitTable) -> None:
        self.link, self.table = link, table
        self.now_ns = 0
        self.say = ""  # what the person at the bench shall do now
        self._target = np.zeros(len(table.joints), np.int16)
        self._mask = 0

    def tick(self, now_ns: int) -> None:
        """Once per control period, before the procedure goes on."""
        self.now_ns = now_ns
        self.link.step(now_ns)
        if self._mask:
            self.link.send_motion(now_ns, self._target, self._mask, 100)

    def connect(self) -> Generator[None, None, Check]:
        """A session, a clock, sensors."""
        for _ in range(400):
            if self.link.ready and self.link.sensors_seq and self.link.power is not None:
                break
            yield
        who, status = self.link.identity, self.link.status
        if who is None or not self.link.ready:
            return Check(
                "link", False, status.reason, "check cable, power and firmware: `companion flash`"
            )
        says = f"uid {who.uid}, firmware {who.version}, round trip {status.rtt_us / 1000:.1f} ms"
        if status.clock_note:
            says += f", {status.clock_note}"
        return Check("link", True, says, facts={"uid": who.uid, "version": who.version})

    def supply(self) -> Check:
        """Battery above its brown-out voltage."""
        power, low_v = self.link.power, self.table.brown_out_mv / 1000
        if power is None:
            return Check(
                "battery", False, "the gauge says nothing", "check its wiring in the board file"
            )
        says = f"{power.voltage_v:.1f} V, {power.current_a:.2f} A"
        return Check(
            "battery", power.voltage_v > low_v, says,
            f"below {low_v:.1f} V the MCU stops by itself: charge it, or check the divider",
            {"voltage_v": round(power.voltage_v, 2)},
        )  # fmt: skip

    def imu(self) -> Check:
        """Gravity on z and nothing else, and no turning, while it stands level."""
        s = self.link.sensors[0]
        accel = s["accel_m_s2"].mean(0).astype(float)
        gyro = s["gyro_rad_s"].mean(0).astype(float)
        tilt_deg = math.degrees(
            math.acos(max(-1.0, min(1.0, accel[2] / max(np.linalg.norm(accel), 1e-6))))
        )
        size, turning = float(np.linalg.norm(accel)), float(np.abs(gyro).max())
        says = (
            f"gravity {size:.2f} m/s2, tilted {tilt_deg:.0f} degrees, turning {turning:.3f} rad/s"
        )
        facts = {"gravity_m_s2": round(size, 3), "tilt_deg": round(tilt_deg, 1)}
        if abs(size - GRAVITY_M_S2) > 0.8:
            return Check(
                "imu",
                False,
                says,
                "the accelerometer's range or scale is wrong, or it is dead",
                facts,
            )
        if tilt_deg > 20:
            return Check(
                "imu",
                False,
                says,
                "set the robot level; if it is, `axes` in the board file are wrong",
                facts,
            )
        return Check(
            "imu", turning < 0.1, says, "keep the robot still; if it is, the gyro is broken", facts
        )

    def stop_input(self) -> Generator[None, None, Check]:
        """Closed, opens under a hand and latches, closes again and can be cleared."""
        if not self.table.has_stop:
            return Check("stop input", True, "this body has none: speed stays capped")
        if not self._stop_closed():
            return Check(
                "stop input",
                False,
                "open",
                "release the stop button, or connect it: it must be closed",
            )
        self.say = "press the stop button"
        opened = yield from self._until(lambda: not self._stop_closed(), STOP_PERIODS)
        latched = yield from self._until(
            lambda: bool(self.link.fault.latched & Fault.STOP_INPUT), ANSWER_PERIODS
        )
        self.say = "release the stop button"
        closed = yield from self._until(self._stop_closed, STOP_PERIODS)
        self.say = ""
        cleared = yield from self._clear()
        if not opened:
            return Check(
                "stop input",
                False,
                "never opened",
                "nobody pressed it, or it is bridged: that is no stop",
            )
        if not latched or not closed or not cleared:
            return Check(
                "stop input",
                False,
                "opened, and did not latch or clear",
                "flash the firmware again",
            )
        return Check("stop input", True, "opened, latched, closed, cleared")

    def joint(self, index: int) -> Generator[None, None, Check]:
        """Jog one joint out and back."""
        spec = self.table.joints[index]
        if self.stopped or not (yield from self._clear(of_hands=False)) and self.stopped:
            return Check(spec.name, False, "stopped by hand", self.once_stopped)
        refused = yield from self._arm(Mode.BENCH)
        if refused is not Ack.OK:
            yield from self._rest()
            why = refused.name.lower().replace("_", " ") if refused else "no answer"
            return Check(
                spec.name,
                False,
                f"not armed: {why}",
                "see the checks above; `companion link watch` shows why",
            )
        start, wheel = self._position(index), _is_wheel(spec.command)
        # a head that has sunk to its end is jogged back into its travel: there is no other way to go
        way = 1.0 if wheel or start + SERVO_RAD <= spec.position_max_rad else -1.0
        self._aim(index, WHEEL_RAD_S if wheel else start + way * SERVO_RAD)
        moved, fastest, current, fault = yield from self._watch(index, JOG_PERIODS)
        self._aim(index, -WHEEL_RAD_S if wheel else start)
        if not fault:
            back, _, more, fault = yield from self._watch(index, JOG_PERIODS)
            current = max(current, more)
        yield from self._rest()
        return _judge(self.table, index, way * moved, fastest, current, fault)

    @property
    def stopped(self) -> bool:
        """Whether somebody has stopped it: that is never cleared, or letting go would move a joint."""
        return bool(self.link.fault.latched & (Fault.STOP_INPUT | Fault.ESTOP))

    @property
    def once_stopped(self) -> str:
        """What to do about it."""
        return ONCE_STOPPED if self.table.has_stop else NO_BUTTON

    def _aim(self, index: int, value: float) -> None:
        """rad/s of a wheel, rad of any other joint."""
        spec = self.table.joints[index]
        self._target[index] = round(value / spec.scale)
        self._mask = 1 << index

    def _position(self, index: int) -> float:
        return float(self.link.sensors[0]["position_rad"][index])

    def _watch(
        self, index: int, periods: int
    ) -> Generator[None, None, tuple[float, float, float, Fault]]:
        """Let it move: the way it went [rad], its fastest [rad/s], its largest current [A], a fault."""
        start, moved, fastest, current = self._position(index), 0.0, 0.0, 0.0
        for _ in range(periods):
            yield
            s = self.link.sensors[0]
            moved = self._position(index) - start
            speed = float(s["velocity_rad_s"][index])
            fastest = speed if abs(speed) > abs(fastest) else fastest
            current = max(current, abs(float(s["current_a"][index])))
            if self.link.fault.latched:
                break
        return moved, fastest, current, self.link.fault.latched

    def _arm(self, mode: Mode) -> Generator[None, None, Ack | None]:
        self.link.arm(self.now_ns, mode)
        yield from self._until(lambda: self.link.answer(protocol.ARM) is not None, ANSWER_PERIODS)
        return self.link.answer(protocol.ARM)

    def _rest(self) -> Steps:
        """Park and let it come to rest."""
        self._mask = 0
        self.link.arm(self.now_ns, Mode.SAFE)
        for _ in range(REST_PERIODS):
            yield

    def _clear(self, of_hands: bool = True) -> Generator[None, None, bool]:
        """Clear what is latched, by hands where that was asked for; True when nothing is left."""
        if self.link.fault == NO_FAULT or not self.link.fault.latched:
            return True
        self.link.arm(self.now_ns, Mode.SAFE)
        yield from self._until(lambda: not self.link.waiting, ANSWER_PERIODS)
        if self.stopped and not of_hands:
            return False
        self.link.clear(self.now_ns)
        return (yield from self._until(lambda: not self.link.fault.latched, ANSWER_PERIODS))

    def _stop_closed(self) -> bool:
        return bool(self.link.sensors[0]["stop_ok"])

    def _until(self, holds: Any, periods: int) -> Generator[None, None, bool]:
        for _ in range(periods):
            if holds():
                return True
            yield
        return bool(holds())

    def park(self) -> None:
        """Whatever happens: nothing is driven when the bring-up ends."""
        self._mask = 0
        self.link.arm(self.now_ns, Mode.SAFE)


def _is_wheel(command: JointCommand) -> bool:
    return command is JointCommand.VELOCITY


def _judge(
    table: LimitTable, index: int, moved: float, fastest: float, current: float, fault: Fault
) -> Check:
    """What a jog tells of leads, encoder and current; `moved` is the way that it was told to go."""
    spec = table.joints[index]
    wheel = _is_wheel(spec.command)
    least = MIN_WHEEL_RAD if wheel else MIN_SERVO_RAD
    counts = round(moved / (1e-4 if wheel else spec.scale))
    limit_a = spec.current_max_a * BENCH_SHARE
    facts = {
        "direction": int(np.sign(moved)) if abs(moved) >= least else 0, "counts": counts,
        "moved_rad": round(moved, 4), "fastest_rad_s": round(fastest, 3),
        "current_a": round(current, 3), "current_limit_a": round(limit_a, 3),
        "fault": fault.name.lower() if fault and fault.name else "",
    }  # fmt: skip
    says = f"{moved:+.3f} rad, {counts:+d} counts, at most {current:.2f} of {limit_a:.2f} A"
    if fault & Fault.OPPOSING or moved <= -least:
        return Check(
            spec.name, False, f"runs against the command: {says}",
            "if it turned the way it should, its encoder is the wrong way round: encoder_sign = -1 in the "
            "board file; else its motor leads are: polarity = -1", facts,
        )  # fmt: skip
    if fault & Fault.STALLED or (not fault and abs(moved) < least):
        pulls = current > max(NOISE_A, 0.4 * limit_a)
        advice = (
            "it draws current and no count comes: encoder unplugged, or the joint is blocked"
            if pulls
            else "it draws no current: motor leads or driver; if it turned all the same, the encoder is unplugged"
        )
        return Check(spec.name, False, f"no counts: {says}", advice, facts)
    if fault:
        return Check(
            spec.name,
            False,
            f"stopped by the MCU ({facts['fault']}): {says}",
            "remove the cause, then run it again",
            facts,
        )
    if current > limit_a + NOISE_A:
        return Check(
            spec.name,
            False,
            f"too much current: {says}",
            "check the current sensor's scale in the board file",
            facts,
        )
    return Check(spec.name, True, says, facts=facts)
