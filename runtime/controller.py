"""The controller: link -> sensors -> mode -> policy -> gate -> link, once per control period.

Woken by the sensor batch, or by an absolute-time fallback when the batch does not come. Nothing
here opens, logs, sleeps or catches; trouble is an event with an effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calibration.imu_map import ImuMap
from firmware_bridge.link import Link, LinkState
from firmware_bridge.protocol import Mode as McuMode
from models.layout import Layout
from models.policy import Policy
from runtime.body import Body
from runtime.channels import Channels
from runtime.checks import Checks, why_unarmed
from runtime.command import Command
from runtime.conditions import Condition
from runtime.corrections import Corrections
from runtime.driver import Driver
from runtime.drives import Drives
from runtime.event_log import EventLog
from runtime.events import Event
from runtime.gestures import Gestures
from runtime.inputs import Inputs
from runtime.modes import MOVING, Mode, Signal, next_mode
from runtime.odometry import WheelGeometry
from runtime.skills import SKILLS
from runtime.trail import Trail

ARM_WAIT_NS = 3_000_000_000  # an MCU that has not switched the motors on by then will not
ASK_AGAIN_NS = 200_000_000  # one that has just come up may refuse at first
RESUME_NS = 5_000_000_000  # a longer hold waits to be asked: whoever was near has gone on, too
SLOW_FACTOR = 0.5  # of the speed cap while a SLOW event is active
STATUS_EVERY = 5  # ticks
LINK_STATES = list(LinkState)
SKILL_NAMES = {skill.index: skill.name for skill in SKILLS.values()}


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """What differs between twin and robot."""

    auto_engage: bool
    needs_operator: bool
    conditions: int  # conditions decided at start (bundle, calibration, camera)
    speed_cap_m_s: float
    imu: ImuMap | None = None  # what the IMU delivers -> the base's axes; None: as delivered
    drives: Drives | None = None  # how the joints answer their commands; None: as drawn
    doubts: tuple[str, ...] = ()  # calibrations that are there and do not count, in words


class Controller:
    """See the module's text."""

    def __init__(
        self,
        body: Body,
        layout: Layout,
        link: Link,
        policy: Policy | None,
        channels: Channels,
        config: ControllerConfig,
        stopwatch_us: Callable[[], float],
    ) -> None:
        self.link, self.config = link, config
        self.mode = Mode.BOOT
        self.ticks = 0
        self.commands = 0
        self._us = stopwatch_us
        self._speed_cap_m_s = min(config.speed_cap_m_s, body.speed_cap_m_s)
        self._at_start = Condition(config.conditions)
        self._sensors_out = channels.writer("sensors", "controller")
        self._sent = channels.writer("sent", "controller")
        self._tick = channels.writer("tick", "controller")
        self._status = channels.writer("status", "controller")
        self._events = EventLog(channels.writer("event.controller", "controller"))
        self._inputs = Inputs(channels)
        self._gestures = Gestures(link, self._inputs, self._events, config.auto_engage)
        self._checks = Checks(
            link, self._inputs, self._events, self._at_start,
            config.needs_operator, self._sensors_out.row.stale_s,
        )  # fmt: skip
        self._driver = Driver(body, layout, policy, self._inputs)
        # as drawn is near enough for some metres
        self._trail = Trail(WheelGeometry.drawn(body.geometry))
        drives = config.drives or Drives(body.limit_table(), {})
        self._command = Command(body, layout, link, drives)
        self._corrections = Corrections(self._sensors_out.record, config.imu)
        self._sensors_seq = 0
        self._unarmed_ns = self._held_ns = self._asked_ns = 0
        self._arming = False  # asked for, and not switched on since

    def step(self, now_ns: int) -> bool:
        """One control period; True when a MOTION frame was sent."""
        start_us = self._us()
        self.link.step(now_ns)
        fresh = self._sense()
        self._inputs.read()
        self._change_mode(now_ns)
        policy_us = self._us()
        moving = self.mode in MOVING and self._armed()
        if moving:
            self._driver.step(now_ns, self.mode, self._speed_cap())
        policy_us = self._us() - policy_us
        sent = self._send(now_ns) if moving else self._rest()
        batch_age_us = (now_ns - int(self._sensors_out.record["t_ns"])) / 1e3 if sent else 0.0
        sensor_to_command_us = batch_age_us + self._us() - start_us
        self._publish_sent(now_ns)
        if self.ticks % STATUS_EVERY == 0:
            self._publish_status(now_ns)
        self.ticks += 1
        tick = self._tick.record
        tick["number"], tick["sent"], tick["fallback"] = self.ticks, sent, not fresh
        tick["policy_wall_us"] = policy_us
        tick["sensor_to_command_wall_us"] = sensor_to_command_us
        tick["tick_wall_us"] = self._us() - start_us
        self._tick.publish(now_ns)
        return sent

    @property
    def belief_number(self) -> int:
        """Number of the frame whose belief the policy acts on."""
        return int(self._inputs.belief.record["number"])

    def behind_m(self) -> float:
        """How far back the base may go by itself: see `runtime/trail.py`."""
        return self._trail.behind_m()

    def park(self, now_ns: int) -> None:
        """Leaving always parks: controlled stop, then motors off."""
        self.link.arm(now_ns, McuMode.SAFE)
        self.mode = Mode.IDLE

    def _sense(self) -> bool:
        """Publish a new sensor batch, if one came."""
        if self.link.sensors_seq == self._sensors_seq:
            return False
        self._sensors_seq = self.link.sensors_seq
        sensors = self.link.sensors[0]
        self._sensors_out.record[...] = sensors
        self._corrections.apply()
        self._sensors_out.publish(int(sensors["t_ns"]))
        self._driver.sense(self._sensors_out.record)
        self._trail.sense(self._sensors_out.record)
        return True

    def _change_mode(self, now_ns: int) -> None:
        before = self.mode
        if self.ticks == 0:
            self._tell_start(now_ns)
        signals = self._checks.signals(now_ns, before, self._driver.finite)
        signals |= self._gestures.signals(now_ns, before)
        signals |= self._overdue(now_ns, before)
        self.mode = next_mode(before, frozenset(signals))
        if self.mode is not before:
            self._enter(now_ns, before)

    def _overdue(self, now_ns: int, mode: Mode) -> set[Signal]:
        """What has waited for too long ends in idle, and waits for a gesture."""
        if mode not in MOVING or self._armed():
            self._unarmed_ns, self._arming = now_ns, False
        if mode is not Mode.HOLD:
            self._held_ns = now_ns
        if now_ns - self._unarmed_ns > ARM_WAIT_NS:
            self._events.note(now_ns, Event.NOT_ARMED, text=why_unarmed(self.link))
            return {Signal.DISENGAGE}
        if self._arming and now_ns - self._asked_ns > ASK_AGAIN_NS:
            self._ask_on(now_ns)
        held_ns = now_ns - self._held_ns
        if self.config.needs_operator and held_ns > RESUME_NS:
            self._events.note(now_ns, Event.HOLD_ENDED, held_ns / 1e9)
            return {Signal.DISENGAGE}
        return set()

    def _tell_start(self, now_ns: int) -> None:
        """What will hold for the whole run."""
        if Condition.CAMERA not in self._at_start:
            self._events.note(now_ns, Event.DISARMED, text="a recording has no body to move")
        for doubt in self.config.doubts:
            self._events.note(now_ns, Event.UNCALIBRATED, text=doubt)

    def _enter(self, now_ns: int, before: Mode) -> None:
        """Arm the MCU or not, as the new mode asks."""
        if self.mode in MOVING:
            self._ask_on(now_ns)
            if before not in MOVING:
                self._trail.forget()
            if self.mode is Mode.ACTIVE:
                self._gestures.engaged()
                name = SKILL_NAMES[int(self._inputs.intent.record["skill"])]
                self._events.note(now_ns, Event.ENGAGED, text=name)
            else:
                self._events.note(now_ns, Event.TELEOP)
        elif before in MOVING or before is Mode.BOOT:
            self.link.arm(now_ns, McuMode.IDLE)  # the MCU stops with its own deceleration
            if before in MOVING and self.mode is Mode.IDLE:
                self._events.note(now_ns, Event.DISENGAGED)

    def _ask_on(self, now_ns: int) -> None:
        self.link.arm(now_ns, McuMode.ACTIVE)
        self._asked_ns, self._arming = now_ns, True

    def _armed(self) -> bool:
        return int(self.link.sensors[0]["mcu_mode"]) == McuMode.ACTIVE

    def _speed_cap(self) -> float:
        cap = self._speed_cap_m_s
        mind_cap = float(self._inputs.intent.record["speed_cap"])
        if mind_cap > 0:
            cap = min(cap, mind_cap)
        return cap * (SLOW_FACTOR if self._checks.slow else 1.0)

    def _send(self, now_ns: int) -> bool:
        # with bad numbers the last target stands for this period; from the next on BAD_NUMBERS holds
        if self._driver.finite:
            behind_m = None if self.mode is Mode.TELEOP else self._trail.behind_m
            self._command.aim(self._driver.action, self._speed_cap(), behind_m)
        sent = self._command.send(now_ns)
        self.commands += int(sent)
        return sent

    def _rest(self) -> bool:
        self._driver.rest()
        self._command.rest()
        return False

    def _publish_sent(self, now_ns: int) -> None:
        r, command, action = self._sent.record, self._command, self._driver.action
        r["action"][: len(action)] = command.sent
        r["wanted"][: len(action)] = action
        r["target"][: len(command.last)] = command.last
        r["belief_seq"] = self.belief_number
        r["mode"], r["skill"], r["armed"] = self.mode, self._driver.skill, self._armed()
        r["limited"] = command.limited
        self._sent.publish(now_ns)

    def _publish_status(self, now_ns: int) -> None:
        r, status, sensors = self._status.record, self.link.status, self.link.sensors[0]
        r["mode"], r["skill"] = self.mode, self._driver.skill
        r["link"], r["mcu_mode"] = LINK_STATES.index(status.state), sensors["mcu_mode"]
        r["conditions"] = int(self._checks.conditions)
        r["degraded"] = self._inputs.degraded
        r["speed_cap"] = self._speed_cap()
        r["battery_v"] = sensors["battery_v"]
        r["rtt_us"], r["rx_bad"] = status.rtt_us, status.bad
        r["commands"], r["ticks"] = self.commands, self.ticks
        r["sync_ok"] = status.state is LinkState.READY
        r["disarmed"] = Condition.CAMERA not in self._at_start
        self._status.publish(now_ns)
