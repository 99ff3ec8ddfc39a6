"""Open loop: roll the model from what it believed, under the actions really sent, and meet the truth.

Prediction is the mean of sampled rollouts. Baselines: the last frame unchanged (persistence), the
last frame turned by the camera's measured rotation (warp), the person where last believed
(persistence) or moving on as over the last four frames (constant velocity; asked of those who were in
view all the while, as is the model it is compared with), the gyro unchanged. Those two stand in the
base frame, where whoever knows how the base will move has half of it already; so the same is asked in
the room (standing, walking), with the base's true motion taken out: that is a person's own motion.
Sums per horizon are kept, so that ratios of any set of episodes follow from them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.camera import PinholeCamera, remap
from models.since import Senses, Since
from models.world import World, person_fields
from tools.compose import Setup
from tools.evaluate.context import Context

Arrays = dict[str, npt.NDArray[Any]]
STEPS = (1, 5, 10, 20)
WARM_UP = 20  # frames of context before the first rollout
EVERY = 20  # frames between starts
SLOPE = 4  # frames over which constant velocity is taken
INSIDE_90 = 4.605  # chi-square, two degrees of freedom
OCCLUDED_S = 2.0
FRAME_S = 0.05


def open_loop(context: Context, world: World, setup: Setup) -> dict[str, Any]:
    """One episode's sums: see `summary.open_loop_figures`."""
    data = context.arrays()
    sums: dict[str, dict[str, float]] = {str(k): {} for k in STEPS}
    for start in range(WARM_UP, len(data["belief"]) - STEPS[-1], EVERY):
        _rollout(data, world, setup, start, sums)
    return {"steps": sums, **_tracking(data)}


def _rollout(
    data: Arrays, world: World, setup: Setup, start: int, sums: dict[str, dict[str, float]]
) -> None:
    senses = Senses.of(setup.layout)
    scale = setup.layout.gyro_scale_rad_s
    foreseen, measured = Since(senses), Since(senses)
    foreseen.start(data["proprio"][start], data["innovation"][start])
    measured.start(data["proprio"][start])
    first = data["frame"][start].astype(np.float32) / 255
    beliefs = np.repeat(data["belief"][start][None], world.candidates, 0)
    gyro_then = float(data["imu"][start][:, 5].mean())
    for k in range(1, STEPS[-1] + 1):
        now = start + k
        imagined = world.imagine(beliefs, data["action"][now])
        beliefs[...] = imagined.beliefs
        foreseen.step(imagined.senses.mean(0))
        measured.step(np.concatenate([data["proprio"][now], data["imu"][now].mean(0)]))
        if k not in STEPS:
            continue
        add = _adder(sums[str(k)])
        seen = data["frame"][now].astype(np.float32) / 255
        add("image", _mse(world.decode(beliefs.mean(0), first, foreseen), seen))
        add("image_persistence", _mse(first, seen))
        add("image_warp", _mse(warp(first, measured, setup), seen))
        gyro = float(data["imu"][now][:, 5].mean())
        add("gyro", (float(foreseen.senses[senses.gyro_z]) - gyro) ** 2 * scale**2)
        add("gyro_persistence", (gyro_then - gyro) ** 2 * scale**2)
        _people(data, imagined.person, start, k, add)
        add("n", 1.0)


def _people(data: Arrays, raw: npt.NDArray[np.float32], start: int, k: int, add: Any) -> None:
    """The target, where it is seen at the start, in the base frame."""
    people = person_fields(raw)  # (N,H,5)
    then, before = data["people"][start], data["people"][start - SLOPE]
    hue = int(data["target_hue"][start])
    if data["person_seen"][start][hue]:
        truth = data["person_xy"][start + k][hue]
        samples = people[:, hue, 1:3]
        mean = samples.mean(0)
        apart = mean - truth
        add("person", float(np.hypot(*apart)))
        add("person_persistence", float(np.hypot(*(then[hue, 1:3] - truth))))
        here, there = data["pose"][start], data["pose"][start + k]
        add("person_standing", float(np.hypot(*(_moved(then[hue, 1:3], here, there) - truth))))
        if data["person_seen"][start - SLOPE : start + 1, hue].all():  # else it jumped, not walked
            slope = (then[hue, 1:3] - before[hue, 1:3]) / SLOPE
            add("person_velocity", float(np.hypot(*(then[hue, 1:3] + slope * k - truth))))
            was = _moved(before[hue, 1:3], data["pose"][start - SLOPE], here)
            ahead = then[hue, 1:3] + (then[hue, 1:3] - was) / SLOPE * k
            add("person_walking", float(np.hypot(*(_moved(ahead, here, there) - truth))))
            add("person_steady", float(np.hypot(*apart)))
        spread = np.cov(samples.T) + np.eye(2) * float((people[:, hue, 3] ** 2).mean())
        add("inside90", float(apart @ np.linalg.solve(spread, apart) <= INSIDE_90))
        add("people", 1.0)


def _tracking(data: Arrays) -> dict[str, Any]:
    """Errors of the belief itself: of the target in view, of everybody two seconds after that."""
    hue = int(data["target_hue"][0])
    people, truth = data["people"][:, hue], data["person_xy"][:, hue]
    errors = np.hypot(*(people[:, 1:3] - truth).T)
    seen = data["person_seen"][:, hue] > 0
    hidden, last = _hidden(data)
    settled = seen.copy()
    settled[:WARM_UP] = False
    inside = errors**2 <= INSIDE_90 * people[:, 3] ** 2
    return {
        "seen_m": [round(float(e), 3) for e in errors[settled][::4]],
        "seen_inside90": [float(inside[settled].sum()), float(settled.sum())],
        "hidden_m": hidden,
        "hidden_last_seen_m": last,
    }


def _hidden(data: Arrays) -> tuple[list[float], list[float]]:
    """Whenever somebody has not been seen for 2 s: the model's error, and the last seen place's.

    The last seen place is the truth then, carried into the present base frame by the true pose.
    """
    model, last = [], []
    wait = round(OCCLUDED_S / FRAME_S)
    seen, xy, pose = data["person_seen"] > 0, data["person_xy"], data["pose"]
    for t in range(WARM_UP + wait, len(seen)):
        lost = seen[t - wait] & ~seen[t - wait + 1 : t + 1].any(0) & (data["person_present"][t] > 0)
        for hue in np.flatnonzero(lost):
            truth = xy[t][hue]
            off = data["people"][t, hue, 1:3] - truth
            stayed = _moved(xy[t - wait][hue], pose[t - wait], pose[t]) - truth
            model.append(round(float(np.hypot(*off)), 3))
            last.append(round(float(np.hypot(*stayed)), 3))
    return model, last


def _moved(xy: Any, then: Any, now: Any) -> npt.NDArray[np.float64]:
    """A place in the base frame of one pose, in that of another."""
    c, s = np.cos(then[2]), np.sin(then[2])
    dx, dy = then[0] + c * xy[0] - s * xy[1] - now[0], then[1] + s * xy[0] + c * xy[1] - now[1]
    c, s = np.cos(now[2]), np.sin(now[2])
    return np.array([c * dx + s * dy, -s * dx + c * dy])


def warp(frame: npt.NDArray[np.float32], since: Since, setup: Setup) -> npt.NDArray[np.float32]:
    """A frame (3,64,64) turned by what the camera turned; what comes into view repeats the edge."""
    camera = setup.bundle.manifest.camera
    pinhole = PinholeCamera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    rays = pinhole.unproject(pinhole.pixels())
    x, y, z = rays[:, 2], -rays[:, 0], -rays[:, 1]
    turn, then, now = (float(v) for v in since.value[:3])
    x, z = np.cos(now) * x + np.sin(now) * z, np.cos(now) * z - np.sin(now) * x
    x, y = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    x, z = np.cos(then) * x - np.sin(then) * z, np.cos(then) * z + np.sin(then) * x
    ahead = np.maximum(x, 0.05)
    u = np.clip(camera.cx - camera.fx * y / ahead, 0, camera.width - 1.001)
    v = np.clip(camera.cy - camera.fy * z / ahead, 0, camera.height - 1.001)
    shape = (camera.height, camera.width)
    table = u.reshape(shape).astype(np.float32), v.reshape(shape).astype(np.float32)
    bytes_in = np.rint(frame.transpose(1, 2, 0) * 255).astype(np.uint8)
    turned: npt.NDArray[np.float32] = (remap(bytes_in, table) / 255).astype(np.float32)
    return np.ascontiguousarray(turned.transpose(2, 0, 1))


def _mse(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    return float(((a - b) ** 2).mean())


def _adder(row: dict[str, float]) -> Any:
    def add(key: str, value: float) -> None:
        row[key] = row.get(key, 0.0) + value

    return add
