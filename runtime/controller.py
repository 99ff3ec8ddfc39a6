"""The controller: link -> sensors -> mode -> policy -> gate -> link, once per control period.

Woken by the sensor batch, or by an absolute-time fallback when the batch does not come. Nothing
here opens, logs, sleeps or catches; trouble is an event with an effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from firmware_bridge.link import Link, LinkState
from firmware_bridge.protocol import EstopReason
from firmware_bridge.protocol import Mode as McuMode
from models.layout import Layout
from models.policy import Policy
from runtime.body import Body
from runtime.channels import MAX_ACTIONS, Channels
from runtime.conditions import ALL, Condition
from runtime.event_log import EventLog
from runtime.events import EVENTS, Effect, Event
from runtime.gate import Gate
from runtime.modes import MOVING, Mode, Signal, next_mode

SLOW_FACTOR = 0.5  # of the speed cap while a SLOW event is active
DRIVE_EXPIRY_NS = 250_000_000
TELEOP_SPEED_M_S = 0.4
TELEOP_TURN_RAD_S = 1.5
OPERATOR_EXPIRY_NS = 2_000_000_000
REARM_WAIT_NS = 1_000_000_000  # for the MCU to clear its latches
IDLE_SKILL = 0
LINK_STATES = list(LinkState)


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """What differs between twin and robot."""

    auto_engage: bool
    needs_operator: bool
    conditions: int  # conditions decided at start (bundle, calibration, camera)
    degraded: int
    speed_cap_m_s: float


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
        self.body, self.layout, self.link, self.policy = body, layout, link, policy
        self.config = config
        self.gate = Gate(body.limit_table())
        self.mode = Mode.BOOT
        self.ticks = 0
        self.commands = 0
        self._us = stopwatch_us
        self._period_ns = 1_000_000_000 // body.control_hz
        self._events = EventLog(channels.writer("event.controller", "controller"))
        self._sensors_out = channels.writer("sensors", "controller")
        self._sent = channels.writer("sent", "controller")
        self._tick = channels.writer("tick", "controller")
        self._status = channels.writer("status", "controller")
        self._belief = channels.reader("belief")
        self._intent = channels.reader("intent")
        self._operator = channels.reader("operator")
        self._surprise = channels.reader("surprise")
        self._health = channels.reader("health")
        self._other_events = {p: channels.reader(f"event.{p}") for p in ("perception", "mind", "supervisor")}  # fmt: skip
        self._active_elsewhere: dict[tuple[str, int], Effect] = {}
        self._gestures: dict[str, int] = {}
        self._auto_engaged = False
        self._rearm_until_ns = 0
        self._sensors_seq = 0
        self._skill = IDLE_SKILL
        self._conditions = Condition(0)
        n = len(body.joint)
        self._n = n
        self._proprio = np.zeros(layout.proprio_size, np.float32)
        self._imu = np.zeros(6, np.float32)
        self._action = np.zeros(layout.action_size, np.float32)
        self._target = [0] * n
        self._last_target = [0] * n
        self._wire = np.zeros(n, np.int16)
        self._all_joints = (1 << n) - 1
        self._ttl_ms = body.motion.motion_ttl_ms
        self._scale = [j.scale for j in body.joint]
        self._is_position = [j.command == "position" for j in body.joint]

    # ── one control period ──────────────────────────────────────────────────────────────
    def step(self, now_ns: int) -> bool:
        """One period; True when a MOTION frame was sent."""
        start_us = self._us()
        self.link.step(now_ns)
        fresh = self._publish_sensors(now_ns)
        self._read_inputs()
        before = self.mode
        self.mode = next_mode(before, self._signals(now_ns))
        if self.mode is not before:
            self._enter(now_ns, before)
        policy_us = self._us()
        moving = self.mode in MOVING and self._armed()
        if moving:
            self._want(now_ns)
        else:
            self._pose_from_measurement()
        policy_us = self._us() - policy_us
        sent = moving and self._send(now_ns)
        self._publish(now_ns, sent)
        self._publish_tick(now_ns, sent, fresh, start_us, policy_us)
        return sent

    @property
    def belief_number(self) -> int:
        """Number of the frame whose belief the policy acts on."""
        return int(self._belief.record["number"])

    def park(self, now_ns: int) -> None:
        """Leaving always parks: controlled stop, then motors off."""
        self.link.arm(now_ns, McuMode.SAFE)
        self.mode = Mode.IDLE

    # ── what comes in ───────────────────────────────────────────────────────────────────
    def _publish_sensors(self, now_ns: int) -> bool:
        if self.link.sensors_seq == self._sensors_seq:
            return False
        self._sensors_seq = self.link.sensors_seq
        s = self.link.sensors[0]
        self._sensors_out.record[...] = s
        self._sensors_out.publish(int(s["t_ns"]))
        self.layout.proprio(s["position_rad"], s["velocity_rad_s"], self._proprio)
        self.layout.imu(s["accel_m_s2"].mean(0), s["gyro_rad_s"].mean(0), self._imu)
        return True

    def _read_inputs(self) -> None:
        for reader in (self._belief, self._intent, self._operator, self._surprise, self._health):
            reader.latest()
        for process, reader in self._other_events.items():
            if not reader.latest():
                continue
            for record in reader.drain():
                key = (process, int(record["code"]))
                effect = EVENTS[Event(int(record["code"]))].effect
                if effect is Effect.NOTE:
                    continue
                if record["active"]:
                    self._active_elsewhere[key] = effect
                else:
                    self._active_elsewhere.pop(key, None)

    # ── events, conditions, signals ─────────────────────────────────────────────────────
    def _signals(self, now_ns: int) -> frozenset[Signal]:
        self._raise_events(now_ns)
        self._conditions = self._check_conditions(now_ns)
        signals: set[Signal] = set()
        effects = {EVENTS[e].effect for e in self._events.active}
        effects |= set(self._active_elsewhere.values())
        for effect, signal in ((Effect.FAULT, Signal.FAULT), (Effect.STOP, Signal.STOP), (Effect.HOLD, Signal.HOLD)):  # fmt: skip
            if effect in effects:
                signals.add(signal)
        self._slow = Effect.SLOW in effects
        if self._conditions & self._needed() != self._needed():
            signals.add(Signal.REFUSED)
        if self.link.status.state is LinkState.READY:
            signals.add(Signal.BOOTED)
        signals |= self._gesture_signals(now_ns)
        return frozenset(signals)

    def _needed(self) -> Condition:
        needed = ALL
        if not self.config.needs_operator:
            needed &= ~Condition.OPERATOR
        return needed

    def _raise_events(self, now_ns: int) -> None:
        e, status = self._events, self.link.status
        started = self.mode is not Mode.BOOT
        age_s = (now_ns - int(self.link.sensors[0]["t_ns"])) / 1e9
        e.keep(now_ns, Event.LINK_LOST, started and status.state is not LinkState.READY)
        mismatch = status.state is LinkState.MISMATCH
        e.keep(now_ns, Event.FIRMWARE_MISMATCH, mismatch, text=status.reason)
        e.keep(now_ns, Event.SENSORS_STALE, started and age_s > self._sensors_out.row.stale_s, age_s)
        belief_age = (now_ns - int(self._belief.record["t_ns"])) / 1e9
        moved = self.mode in (Mode.ACTIVE, Mode.HOLD)
        e.keep(now_ns, Event.BELIEF_STALE, moved and self._belief.stale(now_ns), belief_age)
        e.keep(now_ns, Event.INTENT_STALE, moved and self._intent.stale(now_ns))
        latched = self.link.fault.latched
        stopped = ", ".join(str(f.name).lower().replace("_", " ") for f in type(latched) if f in latched)
        e.keep(now_ns, Event.MCU_STOP, bool(stopped) and started, text=stopped)
        finite = bool(np.isfinite(self._action).all())
        e.keep(now_ns, Event.BAD_NUMBERS, not finite)
        operator = self._operator.record
        gone = now_ns - int(operator["t_ns"]) > OPERATOR_EXPIRY_NS or not operator["present"]
        e.keep(now_ns, Event.OPERATOR_GONE, self.config.needs_operator and moved and gone)

    def _check_conditions(self, now_ns: int) -> Condition:
        met = Condition(self.config.conditions)
        ready = self.link.status.state is LinkState.READY
        operator = self._operator.record
        checks = (
            (Condition.LINK, ready),
            (Condition.FIRMWARE, self.link.status.state is not LinkState.MISMATCH),
            (Condition.SENSORS, not Event.SENSORS_STALE in self._events.active and ready),
            (Condition.BELIEF, not self._belief.stale(now_ns) and bool(self._belief.record["valid"])),
            (Condition.SURPRISE, not self._slow_or_held_by_surprise()),
            (Condition.STOP_INPUT, bool(self.link.sensors[0]["stop_ok"])),
            (Condition.OPERATOR, bool(operator["present"]) and now_ns - int(operator["t_ns"]) < OPERATOR_EXPIRY_NS),  # fmt: skip
            (Condition.MIND, not self._intent.stale(now_ns)),
        )
        for condition, holds in checks:
            if holds:
                met |= condition
        return met | Condition(int(self._health.record["conditions"]))

    def _slow_or_held_by_surprise(self) -> bool:
        return any(key[0] == "perception" for key in self._active_elsewhere)

    def _gesture_signals(self, now_ns: int) -> set[Signal]:
        out: set[Signal] = set()
        operator = self._operator.record
        for field, signal in (("stops", Signal.STOP), ("rearms", Signal.REARM), ("engages", Signal.ENGAGE), ("disengages", Signal.DISENGAGE)):  # fmt: skip
            count = int(operator[field])
            if count != self._gestures.setdefault(field, 0):
                self._gestures[field] = count
                self._on_gesture(now_ns, signal)
                if signal is not Signal.REARM:
                    out.add(signal)
        if now_ns < self._rearm_until_ns and Event.MCU_STOP not in self._events.active:
            self._rearm_until_ns = 0  # the MCU has let go of its latches
            self._events.note(now_ns, Event.REARMED)
            out.add(Signal.REARM)
        fresh = now_ns - int(operator["drive_t_ns"]) < DRIVE_EXPIRY_NS
        if operator["hold"] and fresh:
            out.add(Signal.DRIVE)
        wants = bool(self._intent.record["engage"]) and self.config.auto_engage
        if wants and self.mode is Mode.IDLE and not self._auto_engaged:
            out.add(Signal.ENGAGE)
        return out

    def _on_gesture(self, now_ns: int, signal: Signal) -> None:
        if signal is Signal.STOP:
            self.link.estop(EstopReason.OPERATOR)
            self._events.note(now_ns, Event.OPERATOR_STOP)
        elif signal is Signal.REARM and self.mode in (Mode.STOPPED, Mode.FAULT):
            self.link.arm(now_ns, McuMode.SAFE)  # latches are cleared in SAFE only
            self.link.clear(now_ns)
            self._rearm_until_ns = now_ns + REARM_WAIT_NS

    def _enter(self, now_ns: int, before: Mode) -> None:
        if self.mode in MOVING:
            self.link.arm(now_ns, McuMode.ACTIVE)
            if self.mode is Mode.ACTIVE:
                self._auto_engaged = True
                name = self.layout_skill_name(int(self._intent.record["skill"]))
                self._events.note(now_ns, Event.ENGAGED, text=name)
            else:
                self._events.note(now_ns, Event.TELEOP)
        elif before in MOVING or before is Mode.BOOT:
            self.link.arm(now_ns, McuMode.IDLE)  # the MCU stops with its own deceleration
            if before in MOVING and self.mode is Mode.IDLE:
                self._events.note(now_ns, Event.DISENGAGED)

    def layout_skill_name(self, skill: int) -> str:
        """Name of a skill index, for the log."""
        return ("idle", "follow")[skill] if skill < 2 else f"skill {skill}"

    # ── what goes out ───────────────────────────────────────────────────────────────────
    def _armed(self) -> bool:
        return int(self.link.sensors[0]["mcu_mode"]) == McuMode.ACTIVE

    def _pose_from_measurement(self) -> None:
        """Enabling starts from the measured pose, whatever was commanded before."""
        self._action[:] = 0
        position = self.link.sensors[0]["position_rad"]
        for i in range(self._n):
            value = round(float(position[i]) / self._scale[i]) if self._is_position[i] else 0
            self._target[i] = self._last_target[i] = value
        self.gate.start(self._target)

    def _want(self, now_ns: int) -> None:
        intent = self._intent.record
        self._skill = int(intent["skill"]) if now_ns < int(intent["expires_ns"]) else IDLE_SKILL
        if self.mode is Mode.TELEOP:
            self._want_teleop(now_ns)
        elif self._skill == IDLE_SKILL or self.policy is None or not intent["allow"]:
            self._action[:] = 0
        else:
            belief = self._belief.record
            self._action[:] = self.policy.act(
                belief["belief"],
                (now_ns - int(belief["t_ns"])) / 1e9,
                self._proprio,
                self._imu,
                self._skill,
                intent["goal"],
            )
            np.clip(self._action, -1, 1, out=self._action)
        if not np.isfinite(self._action).all():
            return  # BAD_NUMBERS holds from the next tick; the last target stands for this one
        self._to_targets()

    def _want_teleop(self, now_ns: int) -> None:
        operator = self._operator.record
        self._skill = IDLE_SKILL
        self._action[:] = 0
        if not operator["hold"] or now_ns - int(operator["drive_t_ns"]) >= DRIVE_EXPIRY_NS:
            return
        geometry = self.body.geometry
        forward = float(np.clip(operator["forward"], -1, 1)) * TELEOP_SPEED_M_S
        turn = float(np.clip(operator["turn"], -1, 1)) * TELEOP_TURN_RAD_S
        for i, side in ((0, -1.0), (1, 1.0)):
            rim = (forward + side * turn * geometry.track_width_m / 2) / geometry.wheel_radius_m
            self._action[i] = rim / self.layout.joints[i].velocity_max_rad_s

    def _speed_cap(self) -> float:
        cap = min(self.config.speed_cap_m_s, self.body.speed_cap_m_s)
        mind_cap = float(self._intent.record["speed_cap"])
        if mind_cap > 0:
            cap = min(cap, mind_cap)
        return cap * (SLOW_FACTOR if self._slow else 1.0)

    def _to_targets(self) -> None:
        """Action (A,) in [-1, 1] to wire targets, with the base speed cap."""
        dt_s = self._period_ns / 1e9
        radius = self.body.geometry.wheel_radius_m
        fastest = max(
            (abs(float(a)) * j.velocity_max_rad_s * radius
             for a, j in zip(self._action, self.layout.joints, strict=True) if not j.is_position),
            default=0.0,
        )  # fmt: skip
        cap = self._speed_cap()
        slow = cap / fastest if fastest > cap else 1.0
        for a, joint in zip(self._action, self.layout.joints, strict=True):
            i = joint.index
            rate = float(a) * joint.velocity_max_rad_s
            if joint.is_position:
                self._target[i] = self._last_target[i] + round(rate * dt_s / self._scale[i])
            else:
                self._target[i] = round(rate * slow / self._scale[i])

    def _send(self, now_ns: int) -> bool:
        limited = self.gate.limit(self._target)
        self._wire[:] = limited
        sent = self.link.send_motion(now_ns, self._wire, self._all_joints, self._ttl_ms)
        record = self._sent.record["action"]
        dt_s = self._period_ns / 1e9
        for k, joint in enumerate(self.layout.joints):
            i = joint.index
            full = joint.velocity_max_rad_s / self._scale[i]
            if joint.is_position:
                record[k] = (limited[i] - self._last_target[i]) / (full * dt_s)
            else:
                record[k] = limited[i] / full
        self._last_target[:] = limited
        self.commands += int(sent)
        return sent

    def _publish(self, now_ns: int, sent: bool) -> None:
        r = self._sent.record
        if not sent:
            r["action"] = 0
        r["wanted"][: len(self._action)] = self._action
        r["target"][: self._n] = self._last_target
        r["belief_seq"] = self._belief.record["number"]
        r["mode"], r["skill"], r["armed"] = self.mode, self._skill, self._armed()
        r["limited"] = sum(abs(a - b) > 1 for a, b in zip(self._target, self._last_target, strict=True))  # fmt: skip
        self._sent.publish(now_ns)
        if self.ticks % 5 == 0:
            self._publish_status(now_ns)

    def _publish_status(self, now_ns: int) -> None:
        r, status = self._status.record, self.link.status
        r["mode"], r["skill"], r["link"] = self.mode, self._skill, LINK_STATES.index(status.state)
        r["mcu_mode"] = self.link.sensors[0]["mcu_mode"]
        r["conditions"] = int(self._conditions)
        r["degraded"] = self.config.degraded
        r["speed_cap"] = self._speed_cap()
        r["battery_v"] = self.link.sensors[0]["battery_v"]
        r["rtt_us"], r["rx_bad"] = status.rtt_us, status.bad
        r["commands"], r["ticks"] = self.commands, self.ticks
        r["sync_ok"] = status.state is LinkState.READY
        r["disarmed"] = not Condition(self.config.conditions) & Condition.CAMERA
        self._status.publish(now_ns)

    def _publish_tick(
        self, now_ns: int, sent: bool, fresh: bool, start_us: float, policy_us: float
    ) -> None:
        self.ticks += 1
        r = self._tick.record
        r["number"], r["sent"], r["fallback"] = self.ticks, sent, not fresh
        r["policy_wall_us"] = policy_us
        r["tick_wall_us"] = self._us() - start_us
        r["sensor_to_command_wall_us"] = r["tick_wall_us"]
        self._tick.publish(now_ns)


assert MAX_ACTIONS >= 4
