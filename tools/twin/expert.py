"""The privileged driver of every skill: what a policy that knew the room would do; learners imitate it.

It knows every obstacle and where the target is while it sees it, but nothing of a target it never
saw: there it goes on from the last sight for a moment, waits for who went behind something (following,
it goes around), and then turns around, so that a learner with a memory can do the same. A potential
field keeps it clear of things and tall things out of the line of sight, the base tracks it as a
unicycle, and the head keeps the person centred against the base's own turning and ahead of their
walking.

    expert = Expert(twin, behind_m)  # how far it may back up (see `runtime/trail.py`)
    expert.look()                 # once per rendered frame
    action = expert.act(task)     # any task, as often as wanted: the label of this state
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tools.twin.field import (
    FRONT_RAD,
    REACH_M,
    Thing,
    beside,
    clip,
    force,
    long_thing,
    steer,
    thing,
    wrap,
)
from tools.twin.scene import ROOM_HALF_M
from tools.twin.task import Task
from tools.twin.twin import START_PITCH_RAD, Twin
from tools.twin.world import PERSON_RADIUS_M, RING_RADIUS_M, TARGET

SEEN_PX = 6  # of the camera's image: this much of the target tells where it is
EXTRAPOLATE_S = 1.0
PATIENCE_S, PATIENCE_LOOKING_S = 2.0, 1.0  # unseen that long: it searches
PATIENCE_BEHIND_S = 4.0  # something stands between: they come out of there, most likely
LOOKING_RAD = 0.45  # the camera points at where the target should be
GO_LOOK_S, GO_LOOK_M = 6.0, 0.5  # it goes to the last sight for so long, and so near
SIDE_RAD = 0.1  # head and base lead to a side
LEAD_S = 0.4  # so much later: where the base will have turned to
SEARCH_TURN_RAD_S, SEARCH_LEAD_RAD, SEARCH_M, SEARCH_REACH_M = 1.2, 0.5, 2.0, 0.15
AIM_SHARE = 0.6  # of the shirt's elevation: keeps face and floor in view
SHIRT_M, LOOK_M = 1.0, 1.1
PULL_1_S = 1.3  # speed per metre of distance error
FOLLOW_SHARE = 0.5  # of the person's own velocity, fed forward
VIEW_M, VIEW_M_S = 0.45, 0.8  # tall things nearer to the line of sight push it aside, so much
VIEW_AHEAD_S = 1.2  # the line to where the person will be by then
ROUND_M = 0.7  # following somebody out of sight: as near as this, for a look around the corner
TALL_M = 1.0  # hides a person from the camera
SPEED_MAX_M_S, TURN_MAX_RAD_S = 0.6, 2.2
TURN_1_S = 2.2
HEAD_1_S = 5.0
DRIFT_MAX_RAD_S = 1.5  # of the bearing's own change, fed forward
HEAD_MAX_RAD = 1.95
LOOK_TURN_RAD = 1.1  # looking at somebody, the base turns when the head has to turn further
CLEARANCE_M, CLEARANCE_1_S = 0.06, 1.5
BACK_M = 0.05  # less free way than this behind it: it turns instead of backing
WALL_REACH_M, PERSON_REACH_M = 0.4, 0.55
PULL_MAX_M_S = 0.75
REST_M_S = 0.1
REST_BAND_M, STOP_AT_M = 0.24, 0.05  # approaching: it rests within the band and stops at this error
GO_REACH_M, GO_PEOPLE_M = 0.3, 0.5
GO_MAX_M_S = 0.5
ARRIVED_M, FADE_M = 0.07, 0.6
LONG_M = 0.28  # half the length of a box that its circle is no fair likeness of
GO_HEAD_RAD = 0.6


class Expert:
    """See the module's text; a twin that was reset needs a new one."""

    def __init__(self, twin: Twin, behind_m: Callable[[], float] = lambda: math.inf) -> None:
        self.twin, self._behind_m = twin, behind_m
        body = twin.body
        self._yaw_joint, self._pitch_joint = (
            body.joint_names.index(n) for n in ("head_yaw", "head_pitch")
        )
        joints, radius = body.joint, body.geometry.wheel_radius_m
        self._full = tuple(joints[i].velocity_max_rad_s for i in (0, 1))
        self._head_full = tuple(
            joints[i].velocity_max_rad_s for i in (self._yaw_joint, self._pitch_joint)
        )
        self._half_track_m, self._radius_m = body.geometry.track_width_m / 2, radius
        self._round = [
            (o.x_m, o.y_m, o.radius_m + RING_RADIUS_M)
            for o in twin.scene.obstacles
            if max(o.half_m) < LONG_M
        ]
        self._long = [o for o in twin.scene.obstacles if max(o.half_m) >= LONG_M]
        self._tall = [o for o in twin.scene.obstacles if o.height_m > TALL_M]
        self._step = -1
        self._seen_ns = -1  # never
        self._last = (0.0, 0.0, 0.0, 0.0)  # the target when last seen: x, y, vx, vy
        self._rests = False  # approaching: it has come near, and stays until the person has gone on
        self._goes = False  # after losing them: to where they were last, before it turns around
        self.sees = False
        self.searching = 1.0  # 0: it knows where the target is; else the direction it turns

    def look(self) -> None:
        """Take in the frame that was rendered last."""
        twin = self.twin
        labels = twin.camera.classes[twin.camera.geom]
        self.sees = int(np.count_nonzero(labels == TARGET)) >= SEEN_PX
        self._step = -1
        self._sense()
        if self.sees:
            self._seen_ns = twin.now_ns
            self.searching = 0.0
        elif not self.searching:
            unseen_s = (twin.now_ns - self._seen_ns) / 1e9
            if unseen_s > self._patience_s():
                self.searching = math.copysign(1.0, self._bearing)
                self._goes = True
        else:
            # The way head and base lead already: a learner feels that, and need not remember a choice.
            leads = self._head_yaw + LEAD_S * self._yaw_rate
            if abs(leads) > SIDE_RAD:
                self.searching = math.copysign(1.0, leads)
            unseen_s = (twin.now_ns - self._seen_ns) / 1e9
            self._goes = self._goes and unseen_s < GO_LOOK_S and self._distance > GO_LOOK_M

    def act(self, task: Task) -> npt.NDArray[np.float32]:
        """(4,) in [-1, 1]: wheels as a fraction of their top speed, head joints as a rate."""
        if task.skill == "idle":
            return np.zeros(4, np.float32)
        self._sense()
        if task.skill == "go_to":
            return self._go_to(task)
        if self.searching:
            if self._goes and task.skill in ("follow", "approach"):
                return self._track(GO_MAX_M_S)
            return self._search()
        if task.skill == "follow":
            return self._follow(task.distance_m or self.twin.scenario.desired_distance_m)
        if task.skill == "approach":
            return self._approach(task.distance_m or 0.0)
        turn = TURN_1_S * self._bearing
        if task.skill == "look_at":
            turn -= clip(turn, TURN_1_S * LOOK_TURN_RAD)
        return self._action(0.0, turn, self._bearing, self._elevation(LOOK_M, 1.0))

    def _patience_s(self) -> float:
        """How long it keeps to where an unseen target should be."""
        if abs(wrap(self._bearing - self._head_yaw)) > LOOKING_RAD:
            return PATIENCE_S
        there = (
            self._x + self._toward[0] * self._distance,
            self._y + self._toward[1] * self._distance,
        )
        behind = any(beside(o, (self._x, self._y), there)[0] < 0 for o in self._tall)
        return PATIENCE_BEHIND_S if behind else PATIENCE_LOOKING_S

    def _sense(self) -> None:
        """The twin's present state as plain numbers, once per physics step."""
        twin = self.twin
        if twin.steps == self._step:
            return
        self._step = twin.steps
        data, ids = twin.data, twin.ids
        x, y, yaw = self._x, self._y, self._yaw = twin.pose()
        self._ahead = math.cos(yaw), math.sin(yaw)
        vx, vy = float(data.qvel[0]), float(data.qvel[1])
        self._speed = vx * self._ahead[0] + vy * self._ahead[1]
        self._yaw_rate = float(data.qvel[5])
        self._head_yaw = float(data.qpos[ids.joint_q[self._yaw_joint]])
        self._head_pitch = float(data.qpos[ids.joint_q[self._pitch_joint]])
        self._camera_m = float(data.site_xpos[ids.camera_site][2])
        target = twin.people.target
        if self.sees:
            self._last = (target.x, target.y, target.vx, target.vy)
        tx, ty, tvx, tvy = self._last
        unseen_s = 0.0 if self.sees else (twin.now_ns - self._seen_ns) / 1e9
        ahead_s = min(unseen_s, EXTRAPOLATE_S)
        self._person_v = (tvx, tvy) if unseen_s < EXTRAPOLATE_S else (0.0, 0.0)
        dx, dy = tx + tvx * ahead_s - x, ty + tvy * ahead_s - y
        self._distance = math.hypot(dx, dy) + 1e-6
        self._toward = dx / self._distance, dy / self._distance
        self._bearing = wrap(math.atan2(dy, dx) - yaw)
        across = dx * (self._person_v[1] - vy) - dy * (self._person_v[0] - vx)
        self._drift = clip(across / max(self._distance, 0.5) ** 2, DRIFT_MAX_RAD_S)
        self._target_thing = thing(
            x - target.x, y - target.y, PERSON_RADIUS_M + RING_RADIUS_M, PERSON_REACH_M
        )
        self._things = self._near(x, y)

    def _near(self, x: float, y: float) -> list[Thing]:
        """Everything but the target that is near enough to push."""
        things = [
            thing(x - ox, y - oy, size, REACH_M)
            for ox, oy, size in self._round
            if abs(x - ox) < size + REACH_M and abs(y - oy) < size + REACH_M
        ]
        things += [long_thing(o, x, y) for o in self._long]
        for w in self.twin.people.walkers[1:]:
            things.append(thing(x - w.x, y - w.y, PERSON_RADIUS_M + RING_RADIUS_M, PERSON_REACH_M))
        room = ROOM_HALF_M - RING_RADIUS_M
        for side in (-1.0, 1.0):
            things.append((-side, 0.0, WALL_REACH_M, room - side * x))
            things.append((0.0, -side, WALL_REACH_M, room - side * y))
        return [t for t in things if t[3] < t[2]]

    def _follow(self, desired_m: float) -> npt.NDArray[np.float32]:
        ux, uy = self._toward
        along = self._person_v[0] * ux + self._person_v[1] * uy
        wanted_m = desired_m if self.sees else min(desired_m, ROUND_M)
        toward = PULL_1_S * (self._distance - wanted_m) + FOLLOW_SHARE * along
        return self._track(clip(toward, PULL_MAX_M_S))

    def _view(self) -> tuple[float, float]:
        """Velocity that keeps tall things out of the line to where the person will be, m/s."""
        here = self._x, self._y
        ux, uy = self._toward
        vx, vy = self._person_v
        there = (
            self._x + ux * self._distance + vx * VIEW_AHEAD_S,
            self._y + uy * self._distance + vy * VIEW_AHEAD_S,
        )
        fx = fy = 0.0
        for o in self._tall:
            gap, side = beside(o, here, there)
            push = side * VIEW_M_S * min(1.0, max(0.0, (VIEW_M - gap) / VIEW_M))
            fx, fy = fx + push * uy, fy - push * ux
        size = math.hypot(fx, fy)
        return (fx, fy) if size < VIEW_M_S else (fx * VIEW_M_S / size, fy * VIEW_M_S / size)

    def _approach(self, desired_m: float) -> npt.NDArray[np.float32]:
        """Go near, stop in front and rest there until the person has gone on."""
        error = self._distance - desired_m
        if error < STOP_AT_M:
            self._rests = True
        elif error > REST_BAND_M:
            self._rests = False
        if self._rests and error > -REST_BAND_M:
            turn = TURN_1_S * self._bearing + self._bearing_rate()
            return self._action(
                0.0, clip(turn, TURN_MAX_RAD_S), self._bearing, self._elevation(SHIRT_M, AIM_SHARE)
            )
        ux, uy = self._toward
        along = self._person_v[0] * ux + self._person_v[1] * uy
        if error < 0:
            toward = PULL_1_S * (error + REST_BAND_M)
        else:
            toward = PULL_1_S * error + max(0.0, along)
        return self._track(clip(toward, PULL_MAX_M_S))

    def _track(self, toward: float) -> npt.NDArray[np.float32]:
        """Drive at this speed to the person, around things, and look at them."""
        fx, fy = force(self._toward, toward, self._things)
        vx, vy = self._view()
        speed, turn = self._unicycle(fx + vx, fy + vy, self._bearing)
        speed = self._clear_of_things(speed)
        return self._action(speed, turn, self._bearing, self._elevation(SHIRT_M, AIM_SHARE))

    def _search(self) -> npt.NDArray[np.float32]:
        """Turn in place, the head a little ahead; give way to what comes near."""
        near = [(x, y, SEARCH_REACH_M, gap) for x, y, _, gap in (*self._things, self._target_thing)]
        fx, fy = force((0.0, 0.0), 0.0, near)
        speed = clip(self._ahead[0] * fx + self._ahead[1] * fy, SPEED_MAX_M_S / 2)
        if self._behind_m() < BACK_M:
            speed = max(0.0, speed)
        turn, lead = self.searching * SEARCH_TURN_RAD_S, self.searching * SEARCH_LEAD_RAD
        pitch = -AIM_SHARE * math.atan2(SHIRT_M - self._camera_m, SEARCH_M)
        return self._action(self._clear_of_things(speed), turn, lead, pitch, fixed=False)

    def _go_to(self, task: Task) -> npt.NDArray[np.float32]:
        place = task.place_xy_m or (self._x, self._y)
        dx, dy = place[0] - self._x, place[1] - self._y
        distance = math.hypot(dx, dy) + 1e-6
        if distance < ARRIVED_M or (distance < 2 * ARRIVED_M and abs(self._speed) < REST_M_S / 4):
            off = 0.0 if task.heading_rad is None else wrap(task.heading_rad - self._yaw)
            return self._action(0.0, clip(TURN_1_S * off, 1.2), 0.0, START_PITCH_RAD, fixed=False)
        ux, uy = dx / distance, dy / distance
        toward = min(GO_MAX_M_S, PULL_1_S * distance)
        fade = min(1.0, distance / FADE_M)
        things = [
            (x, y, GO_PEOPLE_M if reach == PERSON_REACH_M else GO_REACH_M * fade, gap)
            for x, y, reach, gap in (*self._things, self._target_thing)
        ]
        fx, fy = force((ux, uy), toward, things)
        cosine, sine = self._ahead
        angle = math.atan2(-sine * fx + cosine * fy, cosine * fx + sine * fy)
        size = math.hypot(fx, fy)
        turn = clip(TURN_1_S * angle * size / (size + 0.05), TURN_MAX_RAD_S)
        forward = size * math.cos(angle)
        if forward > 0:
            speed = min(forward, SPEED_MAX_M_S) * max(0.0, 1 - abs(angle) / FRONT_RAD)
        else:  # only what pushes makes it back up; a place behind is turned to
            speed = max(forward + max(0.0, -toward * (cosine * ux + sine * uy)), -GO_MAX_M_S / 2)
            speed = min(0.0, speed) if self._behind_m() >= BACK_M else 0.0
        head = clip(angle, GO_HEAD_RAD)
        return self._action(self._clear_of_things(speed), turn, head, START_PITCH_RAD, fixed=False)

    def _unicycle(self, fx: float, fy: float, face: float) -> tuple[float, float]:
        """Speed and turn that follow a wanted velocity; with little of it the base faces `face`."""
        cosine, sine = self._ahead
        forward, left = cosine * fx + sine * fy, -sine * fx + cosine * fy
        size = math.hypot(forward, left)
        weight = size / (size + 0.2)
        if forward < 0 and self._behind_m() < BACK_M:
            lined = face if self.sees else math.atan2(left, forward)
            return 0.0, clip(TURN_1_S * (weight * lined + (1 - weight) * face), TURN_MAX_RAD_S)
        turn = TURN_1_S * (weight * steer(math.atan2(left, forward)) + (1 - weight) * face)
        turn = clip(turn, TURN_MAX_RAD_S)
        return clip(forward, SPEED_MAX_M_S) * max(0.0, 1 - abs(turn) / 4.0), turn

    def _clear_of_things(self, speed: float) -> float:
        """Never approach anything faster than the gap to it allows."""
        ahead_x, ahead_y = self._ahead
        for px, py, _, gap in (*self._things, self._target_thing):
            toward = -(px * ahead_x + py * ahead_y)
            allowed = CLEARANCE_1_S * max(0.0, gap - CLEARANCE_M)
            if toward * speed > allowed:
                speed = allowed / toward
        return speed

    def _bearing_rate(self) -> float:
        """How fast the person walks around the robot, rad/s."""
        ux, uy = self._toward
        return (ux * self._person_v[1] - uy * self._person_v[0]) / max(self._distance, 0.4)

    def _elevation(self, height_m: float, share: float) -> float:
        """The pitch (down positive) towards this height of the person."""
        return -share * math.atan2(height_m - self._camera_m, max(self._distance, 0.4))

    def _action(
        self, speed: float, turn: float, yaw: float, pitch: float, fixed: bool = True
    ) -> npt.NDArray[np.float32]:
        """Wheels for speed and turn, head towards yaw and pitch; `fixed` aims stand in the world."""
        turn = clip(turn, TURN_MAX_RAD_S)
        left = (speed - turn * self._half_track_m) / (self._radius_m * self._full[0])
        right = (speed + turn * self._half_track_m) / (self._radius_m * self._full[1])
        over = max(1.0, abs(left), abs(right))
        yaw_rate = HEAD_1_S * (clip(yaw, HEAD_MAX_RAD) - self._head_yaw)
        if fixed:
            yaw_rate += self._drift - self._yaw_rate
        yaw_rate = clip(yaw_rate / self._head_full[0], 1.0)
        pitch_rate = clip(HEAD_1_S * (pitch - self._head_pitch) / self._head_full[1], 1.0)
        return np.array((left / over, right / over, yaw_rate, pitch_rate), np.float32)
