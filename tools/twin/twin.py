"""The twin: one seed's room, people and robot behind the firmware's plant.

    twin = Twin(load_body("companion"), seed, plant)
    twin.step_to(now_ns)   # physics, people, sensors into the plant, motors out of it
    frame = twin.render()  # the camera's image now; `twin.labels()` belongs to it

Everything random comes from the seed, split by purpose, so equal seeds give equal bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
import numpy.typing as npt

from calibration.camera import PinholeCamera, remap_table
from firmware_bridge.plant import Plant
from runtime.body import Body
from tools.twin.camera import RayCamera
from tools.twin.faults import At, Faults
from tools.twin.hands import Hands
from tools.twin.motors import Motors
from tools.twin.people import People, Walker
from tools.twin.scenario import Scenario
from tools.twin.scene import draw_scene
from tools.twin.sensors import Sensors
from tools.twin.specimen import CAMERA, IMU, PEOPLE, SCENE
from tools.twin.truth import TRUTH, measure
from tools.twin.world import HIP_M, STEP_S, TARGET, build

STEP_NS = round(STEP_S * 1e9)
SLOW_STEPS = 10  # people, range and battery: 50 Hz
SETTLE_STEPS = 150
START_PITCH_RAD = -0.3  # looks up a little, so that a person is in view
BUMP_MEMORY_STEPS = 50
SWING_RAD = 0.45
VISIBLE_PX = 20


@dataclass(frozen=True, slots=True)
class Goal:
    """What the follow skill is given: the target's colour and the distance to keep."""

    appearance: tuple[float, float, float]  # linear RGB albedo, 0..1
    distance_m: float


@dataclass(frozen=True, slots=True)
class Labels:
    """Truth of the last rendered frame."""

    mask: npt.NDArray[np.uint8]  # virtual pinhole: 0 other, 1 target, 2 distractor, 3 obstacle
    person_px: int
    person_base_m: tuple[float, float]
    distance_m: float


class Twin:
    """See the module's text; `start_ns` is the time of `reset`.

    `faults` come at their times (`twin.faults` switches them by hand); on a `stand` the wheels turn
    in the air and the cliff sensors see no floor.
    """

    def __init__(
        self,
        body: Body,
        seed: int,
        plant: Plant,
        scenario: Scenario | None = None,
        start_ns: int = 0,
        faults: Sequence[At] = (),
        stand: bool = False,
    ) -> None:
        self.body, self.seed, self.plant = body, seed, plant
        self._schedule, self._stand = faults, stand
        self.scenario = scenario or Scenario()
        self._start_ns = start_ns
        self._label_index: npt.NDArray[np.int64] | None = None
        self.reset()

    def reset(self) -> None:
        """Back to the seed's first state."""
        scene_rng, people_rng, imu_rng, camera_rng = (
            np.random.default_rng((self.seed, purpose)) for purpose in (SCENE, PEOPLE, IMU, CAMERA)
        )
        self.drawn = drawn = self.scenario.domain.draw(self.seed)
        self.scene = draw_scene(scene_rng, self.scenario, drawn)
        roll, pitch = (float(a) for a in imu_rng.normal(0, drawn.mount_sd_rad, 2))
        self.model, self.ids = build(self.body, self.scene, (roll, pitch), drawn)
        self.data = mujoco.MjData(self.model)
        self.people = People(people_rng, self.scene, self.scenario)
        self.motors = Motors(self.body, self.model, self.ids, self.plant, drawn)
        self.sensors = Sensors(self.body, self.model, self.ids, self.plant, imu_rng, drawn)
        self.hands = Hands(self.ids)
        self.tyre_friction = float(self.model.geom_friction[self.ids.wheel_geom[0], 0])
        self.faults = Faults(self, self._schedule)
        self.camera = RayCamera(self.model, self.ids, self.body, self.scene, camera_rng, drawn)
        self.now_ns = self._start_ns
        self.steps = 0
        self._bumped_at = -BUMP_MEMORY_STEPS - 1
        self._person_px = 0
        self.frozen = False  # the camera delivers its last frame again and again
        self.camera_offset_ns = 0  # from a frame's stamp to its mid-exposure
        self._frame: npt.NDArray[np.uint8] | None = None
        self._settle()

    def _settle(self) -> None:
        """Weight on the wheels, sensors published and exposure right before time begins."""
        data = self.data
        if "head_pitch" in self.body.joint_names:
            data.qpos[self.ids.joint_q[self.body.joint_names.index("head_pitch")]] = START_PITCH_RAD
        if self._stand:
            self.hands.take(data, at_once=True)
        self.motors.hold(data)
        self._place_people()
        mujoco.mj_step(self.model, data, SETTLE_STEPS)
        self.sensors.measure_slowly(data, 0.0)
        self.sensors.measure(data)
        self._person_px = self.count_person()
        self.camera.settle_exposure(self.people)

    def step_to(self, now_ns: int) -> None:
        """Advance by whole physics steps up to `now_ns`."""
        in_a_row = 0
        while self.now_ns + STEP_NS <= now_ns:
            self._step(in_a_row)
            in_a_row += 1

    def skip_to(self, now_ns: int) -> None:
        """Let time pass without physics: a stalled machine must not be raced after."""
        self.now_ns = max(self.now_ns, now_ns)

    def _step(self, in_a_row: int) -> None:
        data = self.data
        if self.steps % SLOW_STEPS == 0:
            dt_s = SLOW_STEPS * STEP_S
            self.people.step(dt_s, (float(data.qpos[0]), float(data.qpos[1])))
            self._place_people()
            self.sensors.measure_slowly(data, dt_s)
        self.faults.step(self.now_ns)
        if self.hands.holding:
            self.hands.step(data)
        self.motors.drive(data, in_a_row)
        mujoco.mj_step(self.model, data)
        if self.sensors.measure(data):
            self._bumped_at = self.steps
        self.steps += 1
        self.now_ns += STEP_NS

    def _place_people(self) -> None:
        position, rotation = self.data.mocap_pos, self.data.mocap_quat
        for i, walker in enumerate(self.people.walkers):
            trunk, legs = self.ids.trunk_mocap[i], self.ids.legs_mocap[i]
            position[self.ids.hull_mocap[i]] = (walker.x, walker.y, 0.0)
            position[trunk] = (walker.x, walker.y, 0.02 * abs(math.sin(walker.stride)))
            half = walker.heading / 2
            rotation[trunk] = (math.cos(half), 0.0, 0.0, math.sin(half))
            for side, leg in ((1, legs[0]), (-1, legs[1])):
                position[leg], rotation[leg] = _leg(walker, side)

    def count_person(self) -> int:
        """Cast a frame's rays (no image) and count the pixels that meet the target."""
        self.camera.look(self.data)
        labels = self.camera.classes[self.camera.geom]
        self._person_px = int(np.count_nonzero(labels == TARGET))
        return self._person_px

    def render(self) -> npt.NDArray[np.uint8]:
        """(height, width, 3) uint8 RGB at this moment (mid-exposure of the middle row)."""
        self.count_person()
        if self._frame is None or not self.frozen:
            self._frame = self.camera.image(self.people)
        return self._frame

    def labels(self, pinhole: PinholeCamera) -> Labels:
        """Truth of the last rendered frame, its mask as the virtual pinhole sees it."""
        if self._label_index is None:
            map_x, map_y = remap_table(self.camera.lens, pinhole)
            x = np.clip(np.rint(map_x), 0, self.camera.width - 1).astype(np.int64)
            y = np.clip(np.rint(map_y), 0, self.camera.height - 1).astype(np.int64)
            self._label_index = y * self.camera.width + x
        mask = self.camera.classes[self.camera.geom[self._label_index]]
        x_m, y_m = self.person_base_m()
        return Labels(mask, self._person_px, (x_m, y_m), math.hypot(x_m, y_m))

    def pose(self) -> tuple[float, float, float]:
        """Where the robot stands: x, y [m], yaw [rad]."""
        x, y, _, w, i, j, k = (float(v) for v in self.data.qpos[:7])
        return x, y, math.atan2(2 * (w * k + i * j), 1 - 2 * (j * j + k * k))

    def person_base_m(self) -> tuple[float, float]:
        """The target's position in the base frame."""
        x, y, yaw = self.pose()
        dx, dy = self.people.target.x - x, self.people.target.y - y
        cosine, sine = math.cos(yaw), math.sin(yaw)
        return cosine * dx + sine * dy, -sine * dx + cosine * dy

    def truth(self, out: np.void | npt.NDArray[np.void]) -> None:
        """Fill one TRUTH record; `person_px` is that of the newest frame."""
        x, y, yaw = self.pose()
        forward, left = self.person_base_m()
        wheels = self.data.qvel[list(self.ids.joint_v[:2])]
        recently = self.steps - self._bumped_at <= BUMP_MEMORY_STEPS
        out["t_ns"] = self.now_ns
        out["x_m"], out["y_m"], out["yaw_rad"] = x, y, yaw
        out["wheel_rad_s"] = wheels
        out["person_xy_m"] = (self.people.target.x, self.people.target.y)
        out["person_base_m"] = (forward, left)
        out["person_px"] = self._person_px
        out["distance_m"] = math.hypot(forward, left)
        out["bump"] = recently
        out["motor_enable"] = self.motors.enabled
        measure(self, out)

    @property
    def bumped(self) -> bool:
        """Touched anything but the floor within the last 100 ms."""
        return self.steps - self._bumped_at <= BUMP_MEMORY_STEPS

    def goal(self) -> Goal:
        """Whom to follow, and how close."""
        return Goal(self.scene.people[0].look.shirt, self.scenario.desired_distance_m)

    @property
    def serial(self) -> str:
        """The serial this twin's devices carry."""
        return f"twin-{self.seed}"


def new_truth() -> np.void:
    """An empty TRUTH record to fill."""
    record: np.void = np.zeros(1, TRUTH)[0]
    return record


def _leg(
    walker: Walker, side: int
) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Hip position, and rotation by the swing about the walker's left after their heading."""
    cosine, sine = math.cos(walker.heading), math.sin(walker.heading)
    x, y = walker.x - 0.09 * side * sine, walker.y + 0.09 * side * cosine
    moving = min(1.0, math.hypot(walker.vx, walker.vy) / 0.3)
    half = 0.5 * SWING_RAD * moving * side * math.sin(walker.stride)
    c, s = math.cos(walker.heading / 2), math.sin(walker.heading / 2)
    a, b = math.cos(half), math.sin(half)
    return (x, y, HIP_M), (c * a, -s * b, c * b, s * a)
