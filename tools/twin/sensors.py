"""What the board measures: IMU, encoders, motor current, range, battery, from the physics' truth.

The model's `sensordata` is one vector (gyro, accelerometer, joint positions, velocities, torques);
a gain, an offset and a row of noise make it what the chips deliver.
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.plant import Plant
from runtime.body import Body
from tools.twin.domain import STANDARD, Drawn
from tools.twin.world import HULL, ROBOT, ROOM, SEEN, Ids

NOISE_ROWS = 4096
WHEEL_ENCODER_COUNTS = 16384  # per turn
HEAD_ENCODER_COUNTS = 4096
VELOCITY_UNIT = 1e-3  # rad/s
WHEEL_POSITION_UNIT = 1e-4  # rad
RANGE_NONE = 0xFFFF
FLOORLESS_M = 0.01  # a cliff sensor further above the floor than this sees none
RANGE_MAX_M = 2.5
RANGE_RAYS = 13
IDLE_POWER_W = 9.0
CELL_OHM = 0.06


class Sensors:
    """Turns `sensordata` into the plant's fields, once per physics step."""

    def __init__(
        self,
        body: Body,
        model: mujoco.MjModel,
        ids: Ids,
        plant: Plant,
        rng: np.random.Generator,
        drawn: Drawn = STANDARD,
    ) -> None:
        self.imu = drawn
        self._model, self._ids, self._plant = model, ids, plant
        self._joints = len(body.joint)
        self._rng = rng
        n = self._joints
        encoder = np.full(n, HEAD_ENCODER_COUNTS / (2 * np.pi))
        encoder[:2] = WHEEL_ENCODER_COUNTS / (2 * np.pi)
        unit = np.array(
            [WHEEL_POSITION_UNIT if j.command == "velocity" else j.scale for j in body.joint]
        )
        self._to_encoder, self._to_position = encoder, 1 / (encoder * unit)
        strength = [
            drawn.wheel_strength if j.command == "velocity" else drawn.head_strength
            for j in body.joint
        ]
        current = np.array([1000 / j.torque_constant_n_m_a for j in body.joint]) / strength
        self._gain = np.concatenate((np.ones(6 + n), np.full(n, 1 / VELOCITY_UNIT), current))
        self._limit = np.array([body.imu.gyro_range_rad_s] * 3 + [body.imu.accel_range_m_s2] * 3)
        self._low = -self._limit
        self.bias = np.concatenate(
            (
                rng.normal(0, self.imu.gyro_bias_sd_rad_s, 3),
                rng.normal(0, self.imu.accel_bias_sd_m_s2, 3),
            )
        )
        self._own_bias_z = float(self.bias[2])
        self.axes: npt.NDArray[np.float64] | None = None  # (6, 6) of what is there; None: true ones
        self.renew_noise = False  # draw a new bank at its end: hours of it must not repeat
        self._sigma = self._noise_sigma(body)
        self._noise = self._draw_noise()
        self._row = 0
        self._measured = np.zeros(6 + 3 * n)
        self._inertial = self._measured[:6]
        self._noise_now, self._count = np.zeros(6 + 3 * n), np.zeros(n)
        self._wheel_radius = body.geometry.wheel_radius_m
        self._has_range = body.inputs.range_front
        half = body.inputs.range_half_cone_rad
        angles = np.linspace(-half, half, RANGE_RAYS) if half > 0 else np.zeros(1)
        self._fan = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], 1)
        sensors = plant.sensors
        self._accel, self._gyro = sensors["accel_m_s2"], sensors["gyro_rad_s"]
        self._position = sensors["position"][:n]
        self._velocity = sensors["velocity_mrad_s"][:n]
        self._current = sensors["current_ma"][:n]
        self._seq = 0
        self._every_cliff = (1 << len(body.inputs.cliff)) - 1
        self._lost_floor_m = body.geometry.wheel_radius_m + FLOORLESS_M
        self._unplugged = np.zeros(n, bool)
        self._any_unplugged = False
        self.edge = 0  # cliff sensors that look over an edge, one bit each
        self.sag_v = 0.0  # how far the battery has collapsed
        self._charge = 0.93
        self._groups = np.zeros(6, np.uint8)
        self._groups[[SEEN, ROOM, HULL]] = 1
        self._groups[ROBOT] = 0
        self._ray_geom = np.zeros(1, np.int32)
        sensors["temperature_c"] = 31
        sensors["stop_input"] = 1
        sensors["cliff"] = 0

    def _noise_sigma(self, body: Body) -> npt.NDArray[np.float64]:
        n = self._joints
        wheels = np.array([j.command == "velocity" for j in body.joint])
        return np.concatenate(
            (
                np.full(3, self.imu.gyro_noise_rad_s),
                np.full(3, self.imu.accel_noise_m_s2),
                np.zeros(n),
                np.where(wheels, 20.0, 10.0),  # 1e-3 rad/s
                np.full(n, 12.0),  # mA
            )
        )

    def _draw_noise(self) -> npt.NDArray[np.float64]:
        """Eight seconds of it."""
        return self._rng.normal(0, self._sigma, (NOISE_ROWS, len(self._sigma)))

    def measure(self, data: mujoco.MjData) -> bool:
        """Fill and publish the plant's fields; True while the bumper ring is pressed."""
        raw = data.sensordata
        n = self._joints
        measured, inertial, count = self._measured, self._inertial, self._count
        np.multiply(raw[: 6 + 3 * n], self._gain, out=measured)
        if self.axes is not None:
            inertial[:] = self.axes @ inertial
        noise = self._noise_now
        noise[:] = self._noise[self._row]
        self._row = self._row + 1 if self._row + 1 < NOISE_ROWS else 0
        if self._row == 0 and self.renew_noise:
            self._noise = self._draw_noise()
        speed = 0.5 * abs(raw[6 + n] + raw[7 + n]) * self._wheel_radius
        shake = 1 + self.imu.vibration_per_m_s * speed
        noise[:6] *= shake
        noise[:6] += self.bias
        measured += noise
        np.maximum(inertial, self._low, out=inertial)
        np.minimum(inertial, self._limit, out=inertial)
        self._gyro[:] = measured[:3]
        self._accel[:] = measured[3:6]
        np.multiply(measured[6 : 6 + n], self._to_encoder, out=count)
        np.floor(count, out=count)
        np.multiply(count, self._to_position, out=count)
        np.rint(count, out=count)
        velocity = np.rint(measured[6 + n : 6 + 2 * n])
        if self._any_unplugged:
            count[self._unplugged] = self._position[self._unplugged]
            velocity[self._unplugged] = 0
        self._position[:], self._velocity[:] = count, velocity
        self._current[:] = measured[6 + 2 * n :]
        self._seq = (self._seq + 1) & 0xFFFFFFFF
        pressed = bool(raw[self._ids.bumper_sensor] > 0)
        sensors = self._plant.sensors
        sensors["imu_seq"] = self._seq
        sensors["bumper"] = pressed
        lifted = data.qpos[2] > self._lost_floor_m
        sensors["cliff"] = (self._every_cliff if lifted else self.edge) & self._every_cliff
        self._plant.write_sensors()
        return pressed

    def skip_noise(self, samples: int) -> None:
        """As if so many had been measured: what is recorded on another day must not repeat the noise."""
        for _ in range(samples // NOISE_ROWS + 1 if samples else 0):
            self._noise = self._draw_noise()

    def swap(self, joint: int, on: bool) -> None:
        """A motor's current is measured as its driver sees it, wires swapped or not."""
        at = 6 + 2 * self._joints + joint
        self._gain[at] = -abs(self._gain[at]) if on else abs(self._gain[at])

    def bias_gyro(self, z_rad_s: float) -> None:
        """Something wrong with the gyro: what is added to its yaw rate, beside its own bias."""
        self.bias[2] = self._own_bias_z + z_rad_s

    def unplug(self, joint: int, on: bool) -> None:
        """An encoder that says nothing more: its last position stands, and no speed."""
        self._unplugged[joint] = on
        self._any_unplugged = bool(self._unplugged.any())

    def measure_slowly(self, data: mujoco.MjData, dt_s: float) -> None:
        """Range and battery, fifty times a second; published by the next `measure`."""
        sensors = self._plant.sensors
        if self._has_range:
            sensors["range_mm"] = self._range_mm(data)
        n = self._joints
        torque = data.sensordata[6 + 2 * n : 6 + 3 * n]
        rate = data.sensordata[6 + n : 6 + 2 * n]
        heat = float((torque * torque).sum()) * 1.5
        power_w = IDLE_POWER_W + max(0.0, float((torque * rate).sum())) + heat
        volts = 14.0 + 2.6 * self._charge
        amps = power_w / volts
        self._charge = max(0.0, self._charge - amps * dt_s / (5.0 * 3600))
        sensors["battery_mv"] = int(1000 * (volts - amps * CELL_OHM - self.sag_v))
        sensors["battery_ma"] = min(int(1000 * amps), 32767)
        sensors["soc"] = int(100 * self._charge)

    def _range_mm(self, data: mujoco.MjData) -> int:
        site = self._ids.range_site
        distance = RANGE_MAX_M
        for ray in self._fan @ data.site_xmat[site].reshape(3, 3).T:
            met = mujoco.mj_ray(
                self._model, data, data.site_xpos[site], ray, self._groups, True, -1, self._ray_geom
            )
            if 0 <= met < distance:
                distance = met
        if distance >= RANGE_MAX_M:
            return RANGE_NONE
        return max(0, int(1000 * distance * (1 + self._rng.normal(0, 0.01))))
