"""One judgement of a run and one reward of each of its moments, from the twin's truth alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tools.twin.task import Task

VISIBLE_PX = 20  # of the camera's image
SETTLE_NS = 3_000_000_000
SHARE = 0.9
LIMIT_NS = 15_000_000_000  # approach, search and go_to: done by then
NEAR_M, FACING_RAD, REST_M_S = 0.3, math.radians(25), 0.1  # approach
AIM_RAD, AIM_SHARE, STAY_M = math.radians(15), 0.85, 0.15  # look_at
OCCLUDED_RAD = 0.5  # this near to the axis and not one pixel: something stands between
FOUND_RAD = math.radians(20)  # search
THERE_M, STOPPED_M_S = 0.2, 0.05  # go_to
HOLD_NS = {"approach": 1_000_000_000, "search": 1_000_000_000, "go_to": 500_000_000}
CLOSE_M, CLOSE_COST = 0.1, 0.2  # nearer than this to anything costs up to so much reward
BONUS = 0.3  # share of the reward for resting where a skill ends

Truth = npt.NDArray[np.void]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SkillResult:
    """Success, and the figures it rests on."""

    success: bool
    metrics: dict[str, float]


def judge(truth: Truth, task: Task) -> SkillResult:
    """Whether a run did its task.

    follow: seen > 90 % after 3 s, distance within 1 m for > 90 %. approach: near, facing, at rest
    for 1 s. look_at: aimed at after 3 s while nothing stands between, from where it stood. search:
    seen near the middle for 1 s. go_to: at rest at the place for 0.5 s. The three with an end have
    15 s for it. Nothing may be touched (up to the end, where there is one).
    """
    if len(truth) == 0:
        return SkillResult(False, {})
    good, metrics = JUDGES[task.skill](truth, task)
    metrics["bumps"] = float(_count(truth["bump"] > 0))
    metrics["return"] = float(reward(truth, task).mean())
    return SkillResult(good, metrics)


def reward(truth: Truth, task: Task) -> Float32:
    """(T,) in [-1, 1]: how well each moment serves the task; a touch is -1."""
    value = REWARDS[task.skill](truth, task)
    value -= CLOSE_COST * np.clip(1 - truth["gap_m"] / CLOSE_M, 0, 1)
    value[truth["bump"] > 0] = -1
    return np.clip(value, -1, 1).astype(np.float32)


def _follow(truth: Truth, task: Task) -> tuple[bool, dict[str, float]]:
    settled = truth[truth["t_ns"] >= truth["t_ns"][0] + SETTLE_NS]
    error = np.abs(truth["distance_m"] - _distance_m(task))
    metrics = {
        "visible_share": _share(settled["person_px"] >= VISIBLE_PX),
        "distance_share": _share(error < 1.0),
        "distance_error_m": float(error.mean()),
    }
    good = metrics["visible_share"] > SHARE and metrics["distance_share"] > SHARE
    return bool(good and not truth["bump"].any()), metrics


def _approach(truth: Truth, task: Task) -> tuple[bool, dict[str, float]]:
    return _ends(truth, task, _near(truth, task) & _seen(truth) & _facing(truth) & _slow(truth))


def _search(truth: Truth, task: Task) -> tuple[bool, dict[str, float]]:
    return _ends(truth, task, _seen(truth) & (truth["off_axis_rad"] < FOUND_RAD))


def _go_to(truth: Truth, task: Task) -> tuple[bool, dict[str, float]]:
    away = _away_m(truth, task)
    stopped = np.abs(truth["speed_m_s"]) < STOPPED_M_S
    good, metrics = _ends(truth, task, (away < THERE_M) & stopped)
    return good, metrics | {"distance_m": float(away[-1])}


def _look_at(truth: Truth, task: Task) -> tuple[bool, dict[str, float]]:
    settled = truth[truth["t_ns"] >= truth["t_ns"][0] + SETTLE_NS]
    between = (settled["person_px"] == 0) & (settled["off_axis_rad"] < OCCLUDED_RAD)
    open_view = settled[~between]
    metrics = {
        "aimed_share": _share(open_view["off_axis_rad"] < AIM_RAD),
        "moved_m": float(
            np.hypot(truth["x_m"] - truth["x_m"][0], truth["y_m"] - truth["y_m"][0]).max()
        ),
    }
    good = metrics["aimed_share"] > AIM_SHARE and metrics["moved_m"] < STAY_M
    return bool(good and not truth["bump"].any()), metrics


def _idle(truth: Truth, task: Task) -> tuple[bool, dict[str, float]]:
    return not bool(truth["bump"].any()), {}


def _ends(truth: Truth, task: Task, done: Bool) -> tuple[bool, dict[str, float]]:
    """Success once `done` has held long enough, in time and before anything was touched."""
    t_ns = truth["t_ns"]
    end = _held(t_ns, done, HOLD_NS[task.skill])
    if end is None or t_ns[end] - t_ns[0] > LIMIT_NS:
        return False, {}
    good = not bool(truth["bump"][: end + 1].any())
    return good, {"time_s": float((t_ns[end] - t_ns[0]) / 1e9)} if good else {}


def _held(t_ns: npt.NDArray[np.int64], condition: Bool, hold_ns: int) -> int | None:
    """The first row at which a condition has been true without a break for `hold_ns`."""
    rows = np.arange(len(condition))
    start = np.maximum.accumulate(np.where(condition, -1, rows)) + 1
    held = condition & (t_ns - t_ns[np.minimum(start, len(rows) - 1)] >= hold_ns)
    return int(held.argmax()) if held.any() else None


def _reward_follow(truth: Truth, task: Task) -> npt.NDArray[np.float64]:
    near = np.maximum(0.0, 1 - np.abs(truth["distance_m"] - _distance_m(task)) / 1.0)
    return np.asarray(_seen(truth) * near, np.float64)


def _reward_approach(truth: Truth, task: Task) -> npt.NDArray[np.float64]:
    ends = _near(truth, task) & _facing(truth) & _slow(truth)
    return _reward_follow(truth, task) * (1 - BONUS + BONUS * ends)


def _reward_look(truth: Truth, task: Task) -> npt.NDArray[np.float64]:
    """1 on the axis, 0 at 45 degrees from it and unseen."""
    return np.asarray(_seen(truth) * np.cos(np.minimum(2 * truth["off_axis_rad"], math.pi / 2)))


def _reward_go_to(truth: Truth, task: Task) -> npt.NDArray[np.float64]:
    away = _away_m(truth, task)
    there = (away < THERE_M) & (np.abs(truth["speed_m_s"]) < STOPPED_M_S)
    return np.asarray(np.maximum(0.0, 1 - away / 2) * (1 - BONUS + BONUS * there))


def _reward_idle(truth: Truth, task: Task) -> npt.NDArray[np.float64]:
    return np.asarray(np.abs(truth["speed_m_s"]) < STOPPED_M_S, np.float64)


def _seen(truth: Truth) -> Bool:
    return np.asarray(truth["person_px"] >= VISIBLE_PX)


def _near(truth: Truth, task: Task) -> Bool:
    return np.asarray(np.abs(truth["distance_m"] - _distance_m(task)) < NEAR_M)


def _facing(truth: Truth) -> Bool:
    forward, left = truth["person_base_m"][:, 0], truth["person_base_m"][:, 1]
    return np.asarray(np.abs(np.arctan2(left, forward)) < FACING_RAD)


def _slow(truth: Truth) -> Bool:
    return np.asarray(np.abs(truth["speed_m_s"]) < REST_M_S)


def _away_m(truth: Truth, task: Task) -> npt.NDArray[np.float64]:
    x, y = task.place_xy_m or (math.inf, math.inf)
    return np.hypot(truth["x_m"] - x, truth["y_m"] - y)


def _distance_m(task: Task) -> float:
    return math.nan if task.distance_m is None else task.distance_m


def _count(condition: Bool) -> int:
    """How often it became true."""
    return int(np.count_nonzero(condition[1:] & ~condition[:-1])) + bool(condition[0])


def _share(condition: Bool) -> float:
    return float(condition.mean()) if len(condition) else 0.0


Judge = Callable[[Truth, Task], tuple[bool, dict[str, float]]]
Reward = Callable[[Truth, Task], npt.NDArray[np.float64]]
JUDGES: dict[str, Judge] = {
    "idle": _idle,
    "follow": _follow,
    "approach": _approach,
    "look_at": _look_at,
    "search": _search,
    "go_to": _go_to,
}
REWARDS: dict[str, Reward] = {
    "idle": _reward_idle,
    "follow": _reward_follow,
    "approach": _reward_approach,
    "look_at": _reward_look,
    "search": _reward_look,
    "go_to": _reward_go_to,
}
