"""One scene drawn from a seed: where everything stands, and what it looks like."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tools.twin.domain import STANDARD, Drawn
from tools.twin.errors import TwinError
from tools.twin.scenario import Scenario

ROOM_HALF_M = 3.2
ROOM_HEIGHT_M = 2.6
PILLAR_RADIUS_M = 0.06
GAP_M = 0.75  # between two things: twice the robot's width
ATTEMPTS = 400
SCENE_ATTEMPTS = 100
SCREEN_HEIGHTS_M = (1.5, ROOM_HEIGHT_M)  # above anybody's face as the robot sees it, or all the way
SCREEN_LIMIT_M = 1.8  # from the room's middle, so that there is room behind
SCREEN_GAP_M = 0.75  # from a screen's middle to who starts behind it
OUT_OF_VIEW_RAD = 1.0  # the lens ends at 0.8

Rgb = tuple[float, float, float]
Point = npt.NDArray[np.float64]  # (2,) world, m

# Saturated hues a shirt may have; everything else in the room stays pale.
HUES = {
    "red": 0.0,
    "yellow": 0.125,
    "green": 0.35,
    "cyan": 0.5,
    "blue": 0.64,
    "magenta": 0.86,
}
SKIN: tuple[Rgb, ...] = ((0.87, 0.68, 0.56), (0.72, 0.50, 0.38), (0.47, 0.31, 0.23))


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A box or a cylinder on the floor: half sizes (x, y) or (radius, radius), and height [m]."""

    kind: str  # box | cylinder
    x_m: float
    y_m: float
    yaw_rad: float
    half_m: tuple[float, float]
    height_m: float
    rgb: Rgb

    @property
    def radius_m(self) -> float:
        """Of the circle around it."""
        return math.hypot(*self.half_m) if self.kind == "box" else self.half_m[0]


@dataclass(frozen=True, slots=True)
class Look:
    """A person's appearance, linear RGB albedo 0..1."""

    hue: str
    shirt: Rgb
    trousers: Rgb
    skin: Rgb


@dataclass(frozen=True, slots=True)
class Start:
    """A person's appearance and first position [m]."""

    look: Look
    x_m: float
    y_m: float


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that stands; `people[0]` is the one to follow."""

    robot: tuple[float, float, float]  # x, y, yaw
    obstacles: tuple[Obstacle, ...]
    people: tuple[Start, ...]
    wall_rgb: tuple[Rgb, ...]  # four walls, floor, ceiling
    pillars: int  # the last so many of `obstacles`


def draw_scene(rng: np.random.Generator, scenario: Scenario, drawn: Drawn = STANDARD) -> Scene:
    """Draw a scene; placement tries again from the same stream until everything fits."""
    for _ in range(SCENE_ATTEMPTS):
        scene = _attempt(rng, scenario, drawn)
        if scene is not None:
            return scene
    raise TwinError(f"no room for {scenario}: ask for fewer obstacles or people")


def _attempt(rng: np.random.Generator, scenario: Scenario, drawn: Drawn) -> Scene | None:
    x, y = rng.uniform(-1.7, 1.7, 2)
    yaw = float(rng.uniform(-math.pi, math.pi))
    robot = np.array([x, y])
    hidden = _hidden(rng, scenario)
    target = _start(rng, scenario, robot, yaw, hidden)
    if target is None:
        return None
    taken = [(robot, 0.4), (target, 0.1), (0.5 * (robot + target), 0.1)]
    pillars = int(rng.integers(scenario.occluders[0], scenario.occluders[1] + 1))
    standing = int(rng.integers(scenario.obstacles[0], scenario.obstacles[1] + 1))
    obstacles = _stand(rng, scenario, taken, standing, pillars, hidden == "screen")
    if obstacles is None:
        return None
    looks = _looks(rng, int(rng.integers(scenario.distractors[0], scenario.distractors[1] + 1)))
    people = [Start(looks[0], float(target[0]), float(target[1]))]
    taken[2:3] = []  # people may stand between robot and person, furniture may not
    for look in looks[1:]:
        spot = _free_spot(rng, taken, 0.55, 2.6)
        if spot is None:
            return None
        taken.append((spot, 0.3))
        people.append(Start(look, float(spot[0]), float(spot[1])))
    walls = tuple(
        _pale(rng, drawn.wall_saturation, drawn.wall_value_low, drawn.wall_value_high)
        for _ in range(6)
    )
    return Scene((float(x), float(y), yaw), tuple(obstacles), tuple(people), walls, pillars)


def _hidden(rng: np.random.Generator, scenario: Scenario) -> str:
    """How the target starts: in view (""), "aside" of the camera's view, or behind a "screen"."""
    if scenario.start_hidden == 0 or rng.random() >= scenario.start_hidden:
        return ""
    behind = scenario.screens > 0 and scenario.occluders[0] > 0 and rng.random() < 0.5
    return "screen" if behind else "aside"


def _stand(
    rng: np.random.Generator,
    scenario: Scenario,
    taken: list[tuple[Point, float]],
    standing: int,
    pillars: int,
    screened: bool,
) -> list[Obstacle] | None:
    """Furniture, then occluders, each where it is free; `screened`: the first screen hides taken[1]."""
    robot, target = taken[0][0], taken[1][0]
    obstacles = []
    for i in range(standing + pillars):
        drawn = _furniture(rng) if i < standing else _occluder(rng, scenario, i == standing)
        if screened and i == standing:
            along = (target - robot) / math.dist(target, robot)
            spot, yaw = target - SCREEN_GAP_M * along, math.atan2(along[1], along[0]) + math.pi / 2
            if any(math.dist(spot, o) < r + drawn.radius_m + 0.45 for o, r in taken[3:]):
                return None
        else:
            wide = i >= standing and drawn.kind == "box"
            limit_m = SCREEN_LIMIT_M if wide else 2.75
            free = _free_spot(rng, taken, drawn.radius_m + GAP_M, limit_m)
            if free is None:
                return None
            spot, yaw = free, float(rng.uniform(0, math.pi))
        taken.append((spot, drawn.radius_m))
        obstacles.append(_moved(drawn, spot, yaw))
    return obstacles


def _occluder(rng: np.random.Generator, scenario: Scenario, first: bool) -> Obstacle:
    if scenario.screens > 0 and (rng.random() < scenario.screens or first):
        return _screen(rng)
    return _pillar(rng)


def _screen(rng: np.random.Generator) -> Obstacle:
    """A wardrobe or a folding screen, wide along its own x."""
    half = (float(rng.uniform(0.3, 0.45)), float(rng.uniform(0.03, 0.15)))
    height = SCREEN_HEIGHTS_M[int(rng.integers(2))]
    return Obstacle("box", 0, 0, 0, half, height, _pale(rng, 0.3, 0.3, 0.85))


def _start(
    rng: np.random.Generator, scenario: Scenario, robot: Point, yaw: float, hidden: str
) -> Point | None:
    """Where the target starts; a screen needs room between the two."""
    near, far = scenario.start_distance_m
    for _ in range(ATTEMPTS):
        if hidden == "aside":
            side = math.copysign(1.0, rng.uniform(-1, 1))
            bearing = yaw + side * rng.uniform(OUT_OF_VIEW_RAD, math.pi)
        else:
            bearing = yaw + rng.uniform(-1, 1) * scenario.start_bearing_rad
        distance = rng.uniform(near, far) if hidden != "screen" else rng.uniform(1.9, 2.6)
        spot = robot + distance * _unit(bearing)
        if np.abs(spot).max() < 2.7:
            return spot
    return None


def _free_spot(
    rng: np.random.Generator, taken: list[tuple[Point, float]], clearance_m: float, limit_m: float
) -> Point | None:
    for _ in range(ATTEMPTS):
        spot = rng.uniform(-limit_m, limit_m, 2)
        if all(math.dist(spot, other) > radius + clearance_m for other, radius in taken):
            return spot
    return None


def _furniture(rng: np.random.Generator) -> Obstacle:
    rgb = _pale(rng, 0.3, 0.3, 0.8)
    height = float(rng.uniform(0.2, 0.5))
    if rng.random() < 0.5:
        half = (float(rng.uniform(0.12, 0.25)), float(rng.uniform(0.12, 0.25)))
        return Obstacle("box", 0, 0, 0, half, height, rgb)
    radius = float(rng.uniform(0.12, 0.22))
    return Obstacle("cylinder", 0, 0, 0, (radius, radius), height, rgb)


def _pillar(rng: np.random.Generator) -> Obstacle:
    half = (PILLAR_RADIUS_M, PILLAR_RADIUS_M)
    return Obstacle("cylinder", 0, 0, 0, half, ROOM_HEIGHT_M, _pale(rng, 0.15, 0.35, 0.8))


def _moved(drawn: Obstacle, spot: Point, yaw: float) -> Obstacle:
    x, y = float(spot[0]), float(spot[1])
    return Obstacle(drawn.kind, x, y, yaw, drawn.half_m, drawn.height_m, drawn.rgb)


def _looks(rng: np.random.Generator, distractors: int) -> list[Look]:
    """The target's look, then the distractors': no two people share a hue."""
    names = [str(n) for n in rng.permutation(list(HUES))[: distractors + 1]]
    looks = []
    for name in names:
        hue = (HUES[name] + rng.uniform(-0.015, 0.015)) % 1.0
        shirt = colorsys.hsv_to_rgb(hue, rng.uniform(0.82, 0.97), rng.uniform(0.75, 0.95))
        trousers = _pale(rng, 0.4, 0.08, 0.3)
        skin = SKIN[int(rng.integers(len(SKIN)))]
        looks.append(Look(name, _rgb(shirt), trousers, skin))
    return looks


def _pale(rng: np.random.Generator, saturation: float, low: float, high: float) -> Rgb:
    """A colour of at most this saturation, its value between low and high."""
    return _rgb(
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, saturation), rng.uniform(low, high))
    )


def _rgb(colour: tuple[float, float, float]) -> Rgb:
    red, green, blue = (float(c) for c in colour)
    return red, green, blue


def _unit(angle: float) -> Point:
    return np.array([math.cos(angle), math.sin(angle)])
