"""People who walk: from waypoint to waypoint, around furniture and others, never into the robot.

A scenario may have them stop and turn without warning, or go behind a screen and stay there.
Plain floats throughout: this runs fifty times a second for everybody in the room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tools.twin.scenario import Scenario
from tools.twin.scene import ROOM_HALF_M, Obstacle, Scene
from tools.twin.world import PERSON_RADIUS_M

LIMIT_M = ROOM_HALF_M - 0.4
ROBOT_KEEP_OUT_M = 0.62  # centre to centre: the two hulls touch at 0.39
ROBOT_AVOID_M = 0.95
SPEED_MAX_M_S = 0.75
ACCELERATION_M_S2 = 1.6
STRIDE_RAD_M = 5.0
STUCK_S = 1.5
SHARP_COSINE = 0.5  # a sharp turn: at least 60 degrees
SCREEN_HALF_M, SCREEN_HEIGHT_M = 0.25, 1.4  # what one can hide behind is at least that big
HIDE_GAP_M = 0.35  # behind the circle around it
PATIENCE_S = 12.0  # then they give up going behind a screen that the robot comes around
CLEAR_M, HIDING_CLEAR_M = 0.4, 0.1  # how early people step aside of things

Point = tuple[float, float]
Circle = tuple[float, float, float]  # x, y, radius


class Walker:
    """One person; `step` moves them by `dt_s`."""

    def __init__(
        self, rng: np.random.Generator, x_m: float, y_m: float, scenario: Scenario
    ) -> None:
        self.x, self.y = x_m, y_m
        self.vx = self.vy = 0.0
        self.heading = float(rng.uniform(-math.pi, math.pi))
        self.stride = 0.0  # phase of the legs, rad
        self._rng = rng
        self._speeds = scenario.person_speed_m_s
        self._scenario = scenario
        self._restless = scenario.stops_1_s > 0 or scenario.turns_1_s > 0
        self.screen: Circle | None = None  # behind which the waypoint lies, or they stand
        self._patience_s = 0.0
        self._stayed = False  # behind the screen, for as long as they wanted
        self.pause_s = 0.0
        self._stuck_s = 0.0
        self._goal: Point = (x_m, y_m)
        self._speed = 0.0

    def choose_goal(self, obstacles: Sequence[Circle]) -> None:
        """A free waypoint at least 1.8 m away and a speed to go there."""
        self._stuck_s = 0.0
        self._speed = float(self._rng.uniform(*self._speeds))
        for _ in range(50):
            x, y = (float(v) for v in self._rng.uniform(-LIMIT_M + 0.15, LIMIT_M - 0.15, 2))
            far = math.hypot(x - self.x, y - self.y) > 1.8
            if far and all(math.hypot(x - ox, y - oy) > r + 0.45 for ox, oy, r in obstacles):
                break
        self._goal = (x, y)

    def next_goal(self, avoid: Sequence[Circle], robot: Point, screens: Sequence[Circle]) -> None:
        """A waypoint: behind a screen as seen by the robot, or anywhere."""
        self.screen = None
        hides = self._scenario.hides
        self.choose_goal(avoid)
        if hides == 0 or not screens or self._rng.random() >= hides:
            return
        for i in self._rng.permutation(len(screens)):
            self.screen, self._patience_s = screens[int(i)], PATIENCE_S
            self._aim_behind(robot, avoid)
            if self.screen is not None:
                self._speed = self._speeds[1]  # on purpose, so without dawdling
                return

    def _aim_behind(self, robot: Point, avoid: Sequence[Circle]) -> None:
        """The waypoint goes with the robot, so that the screen stays between; if that is free."""
        assert self.screen is not None
        x, y, radius = self.screen
        away = math.hypot(x - robot[0], y - robot[1]) + 1e-6
        reach = (radius + HIDE_GAP_M) / away
        spot = x + reach * (x - robot[0]), y + reach * (y - robot[1])
        free = all(math.hypot(spot[0] - ox, spot[1] - oy) > r + 0.3 for ox, oy, r in avoid)
        if free and max(abs(spot[0]), abs(spot[1])) < LIMIT_M:
            self._goal = spot
        else:
            self.screen = None

    def _hide(self, dt_s: float, robot: Point, avoid: Sequence[Circle]) -> None:
        """Stay behind the screen, or get there, or tire of it."""
        self._patience_s -= dt_s
        if self._stayed or self._patience_s < 0:
            self._stayed = False
            self.screen = None
            self.choose_goal(avoid)
        else:
            self._aim_behind(robot, avoid)

    def _surprise(self, dt_s: float, avoid: Sequence[Circle]) -> None:
        """Stop or turn sharply, at the scenario's rates."""
        s, chance = self._scenario, self._rng.random()
        if chance < s.stops_1_s * dt_s:
            self.pause_s = float(self._rng.uniform(*s.stop_s))
        elif chance < (s.stops_1_s + s.turns_1_s) * dt_s:
            for _ in range(20):
                self.choose_goal(avoid)
                dx, dy = self._goal[0] - self.x, self._goal[1] - self.y
                size = math.hypot(dx, dy) * math.hypot(self.vx, self.vy)
                if self.vx * dx + self.vy * dy < SHARP_COSINE * size:
                    break

    def step(
        self,
        dt_s: float,
        robot: Point,
        avoid: Sequence[Circle],
        line: tuple[Point, Point] | None,
        screens: Sequence[Circle] = (),
    ) -> None:
        """Walk on: `avoid` are furniture and other people, `line` a view not to stand in."""
        wish_x, wish_y = self._wish(dt_s, avoid, robot, screens)
        clear = CLEAR_M if self.screen is None else HIDING_CLEAR_M
        for x, y, radius in avoid:
            reach = radius + PERSON_RADIUS_M + clear
            wish_x, wish_y = _aside(self, wish_x, wish_y, x, y, reach, 1.2)
        wish_x, wish_y = _aside(self, wish_x, wish_y, *robot, ROBOT_AVOID_M, 1.4)
        if line is not None:
            nearest = _nearest_on(line, self.x, self.y)
            wish_x, wish_y = _aside(self, wish_x, wish_y, *nearest, 0.6, 0.6)
        self._move(dt_s, wish_x, wish_y, robot)

    def _wish(
        self, dt_s: float, avoid: Sequence[Circle], robot: Point, screens: Sequence[Circle]
    ) -> Point:
        if self.pause_s > 0:
            self.pause_s -= dt_s
            return 0.0, 0.0
        if self._restless and self.screen is None:
            self._surprise(dt_s, avoid)
        elif self.screen is not None:
            self._hide(dt_s, robot, avoid)
        dx, dy = self._goal[0] - self.x, self._goal[1] - self.y
        distance = math.hypot(dx, dy)
        slow = math.hypot(self.vx, self.vy) < 0.3 * self._speed
        self._stuck_s = self._stuck_s + dt_s if slow else 0.0
        if distance < 0.25 or self._stuck_s > STUCK_S:
            if self.screen is not None and distance < 0.25:
                self.pause_s, self._stayed = float(self._rng.uniform(*self._scenario.stop_s)), True
                return 0.0, 0.0
            if distance < 0.25 and self._rng.random() < 0.2:
                self.pause_s = float(self._rng.uniform(0.4, 1.5))
            self.next_goal(avoid, robot, screens)
            return self.vx, self.vy
        return self._speed * dx / distance, self._speed * dy / distance

    def _move(self, dt_s: float, wish_x: float, wish_y: float, robot: Point) -> None:
        step = ACCELERATION_M_S2 * dt_s
        self.vx += max(-step, min(step, wish_x - self.vx))
        self.vy += max(-step, min(step, wish_y - self.vy))
        speed = math.hypot(self.vx, self.vy)
        if speed > SPEED_MAX_M_S:
            self.vx, self.vy = self.vx * SPEED_MAX_M_S / speed, self.vy * SPEED_MAX_M_S / speed
        x, y = self.x + self.vx * dt_s, self.y + self.vy * dt_s
        gap = math.hypot(x - robot[0], y - robot[1])
        nearer = gap < math.hypot(self.x - robot[0], self.y - robot[1])
        if gap < ROBOT_KEEP_OUT_M and nearer:  # stop rather than walk into the robot
            self.vx = self.vy = 0.0
            x, y = self.x, self.y
        self.x = max(-LIMIT_M, min(LIMIT_M, x))
        self.y = max(-LIMIT_M, min(LIMIT_M, y))
        self.stride += STRIDE_RAD_M * speed * dt_s
        if speed > 0.05:
            turn = math.atan2(self.vy, self.vx) - self.heading
            self.heading += 4.0 * dt_s * math.atan2(math.sin(turn), math.cos(turn))


def _aside(
    walker: Walker, wish_x: float, wish_y: float, x: float, y: float, reach_m: float, gain: float
) -> Point:
    """Turn a wish away from (x, y), and sideways around it, within reach."""
    dx, dy = walker.x - x, walker.y - y
    distance = math.hypot(dx, dy)
    if distance >= reach_m or distance < 1e-6:
        return wish_x, wish_y
    ux, uy = dx / distance, dy / distance
    push = gain * (reach_m - distance) / reach_m
    side = 1.0 if ux * wish_y - uy * wish_x >= 0 else -1.0
    along = 0.6 * push * side * (abs(wish_x) + abs(wish_y) > 0.05)
    return wish_x + push * ux - along * uy, wish_y + push * uy + along * ux


def _nearest_on(line: tuple[Point, Point], x: float, y: float) -> Point:
    """The point of a segment nearest to (x, y)."""
    (ax, ay), (bx, by) = line
    dx, dy = bx - ax, by - ay
    share = ((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-9)
    share = max(0.0, min(1.0, share))
    return ax + share * dx, ay + share * dy


class People:
    """Everybody in the room; index 0 is the person to follow."""

    def __init__(self, rng: np.random.Generator, scene: Scene, scenario: Scenario) -> None:
        self._furniture = [_circle(o) for o in scene.obstacles]
        self._screens = [_circle(o) for o in scene.obstacles if _hides(o)]
        streams = rng.spawn(len(scene.people))
        self.walkers = [
            Walker(stream, p.x_m, p.y_m, scenario)
            for stream, p in zip(streams, scene.people, strict=True)
        ]
        for walker in self.walkers:
            walker.next_goal(self._furniture, scene.robot[:2], self._screens)

    @property
    def target(self) -> Walker:
        """The person to follow."""
        return self.walkers[0]

    def step(self, dt_s: float, robot: Point) -> None:
        """Everybody walks on for `dt_s`."""
        for i, walker in enumerate(self.walkers):
            others = [(w.x, w.y, PERSON_RADIUS_M) for w in self.walkers if w is not walker]
            line = ((self.target.x, self.target.y), robot) if i else None
            walker.step(dt_s, robot, self._furniture + others, line, self._screens)


def _hides(o: Obstacle) -> bool:
    return o.height_m >= SCREEN_HEIGHT_M and max(o.half_m) >= SCREEN_HALF_M


def _circle(obstacle: Obstacle) -> Circle:
    return obstacle.x_m, obstacle.y_m, obstacle.radius_m
