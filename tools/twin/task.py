"""What a skill is asked for in one seed's scene: whom, how close, where to, within which time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.layout import goal_vector
from runtime.errors import ConfigError
from tools.twin import scenario as scenarios
from tools.twin.scenario import Scenario
from tools.twin.scene import ROOM_HALF_M, Scene

TASKS = 64  # the purpose a seed is split by, beside those of `specimen.py`
APPROACH_M = 0.8
FOLLOW_S, LIMIT_S = 20.0, 15.0
PLACE_NEAR_M, PLACE_FAR_M = 1.0, 2.5  # from where the robot starts
PLACE_CLEAR_M = 0.45  # to the surface of anything that stands
HEADING_SHARE = 0.5  # of the places come with a heading
WAY_CLEAR_M = 0.3  # what the robot's middle keeps on the way: its ring and a hand's width
CELL_M = 0.1
ATTEMPTS = 400

Pose = tuple[float, float, float]  # world: x, y [m], yaw [rad]
SCENARIOS = {"default": Scenario()} | {
    name.lower(): value for name, value in vars(scenarios).items() if isinstance(value, Scenario)
}


@dataclass(frozen=True, slots=True)
class Task:
    """One skill with its goal; place and heading are the world's."""

    skill: str
    appearance: tuple[float, float, float] | None = None  # linear RGB of the target's shirt
    distance_m: float | None = None
    place_xy_m: tuple[float, float] | None = None
    heading_rad: float | None = None
    timeout_s: float = LIMIT_S

    def goal(self, pose: Pose) -> npt.NDArray[np.float32]:
        """The goal vector (12,) of a robot that stands at `pose`: place and heading in its base."""
        x, y, yaw = pose
        position: tuple[float, float] | None = None
        if self.place_xy_m is not None:
            dx, dy = self.place_xy_m[0] - x, self.place_xy_m[1] - y
            cosine, sine = math.cos(yaw), math.sin(yaw)
            position = cosine * dx + sine * dy, -sine * dx + cosine * dy
        return goal_vector(
            distance_m=self.distance_m,
            appearance=self.appearance,
            position_m=position,
            heading_rad=None if self.heading_rad is None else self.heading_rad - yaw,
        )


def tasks_of(seed: int, scene: Scene, scenario: Scenario) -> dict[str, Task]:
    """One task for every skill, the same for the same seed and scene."""
    rng = np.random.default_rng((seed, TASKS))
    shirt = scene.people[0].look.shirt
    place = _place(rng, scene)
    with_heading = bool(rng.random() < HEADING_SHARE)
    heading = float(rng.uniform(-math.pi, math.pi))
    tasks = (
        Task("idle"),
        Task("follow", shirt, scenario.desired_distance_m, timeout_s=FOLLOW_S),
        Task("approach", shirt, APPROACH_M),
        Task("look_at", shirt),
        Task("search", shirt),
        Task("go_to", place_xy_m=place, heading_rad=heading if with_heading else None),
    )
    return {task.skill: task for task in tasks}


def scenario_named(name: str) -> Scenario:
    """A scenario by its name on the command line.

    Raises:
        ConfigError: no scenario has this name.
    """
    if name not in SCENARIOS:
        raise ConfigError(f"no scenario {name}: known are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def _place(rng: np.random.Generator, scene: Scene) -> tuple[float, float]:
    """A free spot that a way leads to; where a room is too full for one, the best of those drawn."""
    x, y, _ = scene.robot
    reached = _reached(scene)
    best, best_clear_m = (x, y), -math.inf
    for _ in range(ATTEMPTS):
        distance, angle = rng.uniform(PLACE_NEAR_M, PLACE_FAR_M), rng.uniform(-math.pi, math.pi)
        spot = float(x + distance * math.cos(angle)), float(y + distance * math.sin(angle))
        clear_m = _clear_m(scene, *spot)
        if clear_m <= best_clear_m or not reached[_cell(spot[0]), _cell(spot[1])]:
            continue
        best, best_clear_m = spot, clear_m
        if clear_m >= PLACE_CLEAR_M:
            break
    return best


def _clear_m(scene: Scene, x: float, y: float) -> float:
    things = (math.hypot(x - o.x_m, y - o.y_m) - o.radius_m for o in scene.obstacles)
    return min(ROOM_HALF_M - max(abs(x), abs(y)), *things, math.inf)


def _cell(along_m: float) -> int:
    last = round(2 * ROOM_HALF_M / CELL_M) - 1
    return max(0, min(last, int((along_m + ROOM_HALF_M) / CELL_M)))


def _reached(scene: Scene) -> npt.NDArray[np.bool_]:
    """Cells of the floor that a way clear of everything joins to the robot's start."""
    size = round(2 * ROOM_HALF_M / CELL_M)
    middle = (np.arange(size) + 0.5) * CELL_M - ROOM_HALF_M
    x, y = middle[:, None], middle[None]
    free = np.maximum(np.abs(x), np.abs(y)) < ROOM_HALF_M - WAY_CLEAR_M
    for o in scene.obstacles:
        free &= np.hypot(x - o.x_m, y - o.y_m) > o.radius_m + WAY_CLEAR_M
    reached = np.zeros((size, size), bool)
    reached[_cell(scene.robot[0]), _cell(scene.robot[1])] = True
    while True:
        wide = reached.copy()
        wide[1:] |= reached[:-1]
        wide[:-1] |= reached[1:]
        wide[:, 1:] |= reached[:, :-1]
        wide[:, :-1] |= reached[:, 1:]
        wide &= free | reached
        if (wide == reached).all():
            return reached
        reached = wide
