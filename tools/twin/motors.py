"""Motors between the firmware's outputs and the physics' actuators, and the hardware watchdog."""

from __future__ import annotations

from collections import deque

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.plant import Plant
from runtime.body import Body
from tools.twin.domain import STANDARD, Drawn
from tools.twin.world import BRAKE_N_M_S, SHORT_BRAKE_KV, STEP_S, WHEEL_KV, Ids

WATCHDOG_STEPS = round(0.020 / STEP_S)
CAUGHT_UP_STEPS = 5  # of steps made in a row: a firmware cannot tick in between, and is not dead
BRAKE_STEPS = round(0.020 / STEP_S)  # until a brake's spring has come to its full force


class Motors:
    """Wheels run as velocity servos with a current limit; without power windings and brakes hold them.

    Position joints are geared so high that without power they stay where they are.
    """

    def __init__(
        self,
        body: Body,
        model: mujoco.MjModel,
        ids: Ids,
        plant: Plant,
        drawn: Drawn = STANDARD,
    ) -> None:
        self._model, self._ids, self._plant = model, ids, plant
        joints = body.joint
        self._joints = len(joints)
        self._scale = np.array([j.scale for j in joints])
        self._wheels = np.array([j.command == "velocity" for j in joints])
        self._torque_per_ma = np.array([j.torque_constant_n_m_a / 1000 for j in joints])
        self._torque_per_ma *= np.where(self._wheels, drawn.wheel_strength, drawn.head_strength)
        self._wheel_kv = WHEEL_KV * drawn.wheel_kv_share
        self._current_max = np.array([1000 * j.current_max_a for j in joints])
        self._sign = np.ones(self._joints)
        self._any_swapped = False
        self._gain, self._zero = self._scale.copy(), np.zeros(self._joints)  # of a count, and rad
        self._mirror = np.zeros(self._joints)  # a position joint turns about where it was swapped
        self._blind = np.zeros(self._joints, bool)
        self._wheel_v = list(ids.joint_v[:2])
        self._drag = model.dof_damping[self._wheel_v].copy()
        self._has_brake = body.motion.wheel_brake
        self._jammed = np.zeros(2, bool)
        self._held_steps = np.zeros(2, np.int64)
        self._braked = (False, False, False)  # by command, and what jams either wheel
        self._braked_steps = BRAKE_STEPS  # since that changed
        self._limits = b""
        self._late: deque[npt.NDArray[np.float64]] = (
            deque()
        )  # targets on their way to a slow driver
        self._lag_steps = 0
        self._tick = -1
        self._still_steps = WATCHDOG_STEPS
        self.enabled = False
        self._power(False)

    def drive(self, data: mujoco.MjData, in_a_row: int = 0) -> None:
        """Once per physics step: the newest outputs become this step's actuator targets.

        `in_a_row`: steps made just before this one without a pause, as a twin that was held up does.
        """
        outputs = self._plant.read_outputs()
        tick = outputs.tick_count
        if tick != self._tick:
            self._still_steps = 0
        elif in_a_row < CAUGHT_UP_STEPS:
            self._still_steps += 1
        self._tick = tick
        enabled = outputs.enable and self._still_steps < WATCHDOG_STEPS
        self._brake(outputs.brake or not enabled)
        if enabled != self.enabled:
            self.enabled = enabled
            self._power(enabled)
            self._late.clear()
            if not enabled:
                held = data.qpos[list(self._ids.joint_q)]
                data.ctrl[:] = np.where(self._wheels, 0.0, held)
        if enabled:
            ctrl = data.ctrl
            np.multiply(outputs.target[: self._joints], self._gain, out=ctrl)
            ctrl += self._zero
            if self._any_swapped:
                ctrl *= self._sign
                ctrl += self._mirror
            if self._lag_steps:
                self._late.append(ctrl.copy())
                ctrl[:] = (
                    self._late.popleft() if len(self._late) > self._lag_steps else self._late[0]
                )
            limits = outputs.current_limit_ma.tobytes()
            if limits != self._limits:
                self._limits = limits
                self._limit_torque(outputs.current_limit_ma[: self._joints])

    def hold(self, data: mujoco.MjData) -> None:
        """Without power from the start: position joints stay where they are."""
        held = data.qpos[list(self._ids.joint_q)]
        data.ctrl[:] = np.where(self._wheels, 0.0, held)

    def _brake(self, on: bool) -> None:
        """Brakes (and what jams a wheel) take hold with the square of the time, and let go at once."""
        on = on and self._has_brake
        braked = (on, bool(self._jammed[0]), bool(self._jammed[1]))
        if braked != self._braked:
            self._braked, self._braked_steps = braked, 0
        if self._braked_steps >= BRAKE_STEPS:  # all springs have come to their end
            return
        self._braked_steps += 1
        held = self._jammed | on
        self._held_steps = np.where(held, np.minimum(self._held_steps + 1, BRAKE_STEPS), 0)
        brake = BRAKE_N_M_S * (self._held_steps / BRAKE_STEPS) ** 2
        self._model.dof_damping[self._wheel_v] = self._drag + brake

    def lag(self, steps: int) -> None:
        """Motor drivers that act on a target so many physics steps after the firmware gave it."""
        self._lag_steps = steps
        self._late.clear()

    def answer(self, gain: npt.NDArray[np.float64], zero_rad: npt.NDArray[np.float64]) -> None:
        """What drives (J,) make of a command c: zero + gain * c."""
        self._gain, self._zero = gain * self._scale, zero_rad

    def jam(self, wheel: int, on: bool) -> None:
        """Something is stuck in a wheel: it turns no more."""
        self._jammed[wheel] = on

    def swap(self, joint: int, on: bool, data: mujoco.MjData) -> None:
        """Swap a motor's wires: what was forwards is backwards."""
        here = data.qpos[self._ids.joint_q[joint]]
        self._sign[joint] = -1.0 if on else 1.0
        self._any_swapped = bool((self._sign < 0).any())
        self._mirror[joint] = 2 * here if on and not self._wheels[joint] else 0.0

    def unplug(self, joint: int, on: bool) -> None:
        """A wheel's speed loop without its encoder never comes to the end of its error."""
        self._blind[joint] = on
        self._power(self.enabled)

    def _power(self, on: bool) -> None:
        """Servo gain with power; a short-circuited motor without."""
        gain = self._wheel_kv if on else SHORT_BRAKE_KV
        self._model.actuator_gainprm[self._wheels, 0] = gain
        self._model.actuator_biasprm[self._wheels, 2] = -gain
        if on:
            self._model.actuator_biasprm[self._wheels & self._blind, 2] = 0.0

    def _limit_torque(self, limit_ma: np.ndarray) -> None:
        """A firmware may lower the current limit below the body's, never raise it above."""
        torque = np.minimum(limit_ma, self._current_max) * self._torque_per_ma
        self._model.actuator_forcerange[:, 0] = -torque
        self._model.actuator_forcerange[:, 1] = torque
