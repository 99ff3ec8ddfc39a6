"""Surprise, by a paired protocol: half a second of something odd against the same episode's quiet.

Negatives are the three seconds before, of the same episode, so that neither a scene nor its beginning
can pass for an event; "none" is an episode in which nothing happens and must come out at a half; where the robot touches something
before, that is an event too, and the episode is left out and counted. Baselines without a model:
difference of two frames, energy of the IMU; more of them than usual, or (a frozen camera differs by
nothing) farther from usual to either side, whichever tells better.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from models.manifest import Threshold
from models.world import World
from runtime.surprise import FLAGS, SURPRISE_CHANNELS, SurpriseMonitor, Usual
from tools.compose import load_policy, open_world, prepare
from tools.evaluate.episodes import Episode, moved_frames, scene, settings_of
from tools.lockstep_run import LockstepRun, Overrides

Floats = npt.NDArray[np.float64]
EVENTS = ("none", "lift", "push", "slip", "cover", "freeze", "gyro_bias")
QUIET = (30, 90)  # frames that are the negatives
START = 90  # the frame after which it happens
LAST = 10  # frames it lasts
WINDOW = 12
EVENT_S = 8.0
FRAME_NS = 50_000_000


class _Raw(World):
    """Keeps what the baselines need of every observation."""

    def __init__(self, world: World) -> None:
        super().__init__(world.manifest, *world.sessions)
        self.difference: list[float] = []
        self.energy: list[float] = []
        self._last: npt.NDArray[np.float32] | None = None

    def observe(self, imu: Any, proprio: Any, odometry: float, action: Any, mask: Any) -> Any:
        """See `World`."""
        frame = self.frame_input
        self.difference.append(
            0.0 if self._last is None else float(((frame - self._last) ** 2).mean())
        )
        self._last = frame.copy()
        self.energy.append(float((imu**2).mean()))
        return super().observe(imu, proprio, odometry, action, mask)


def run_event(episode: Episode, event: str) -> dict[str, Any]:
    """One episode with (or, for "none", without) an event; scores by frame, relative to it."""
    setup = prepare(settings_of(episode))
    world = _Raw(open_world(setup)[0])
    at: list[int] = []
    touches: list[int] = []

    def rendered(twin: Any) -> None:
        at.append(twin.now_ns)
        if twin.bumped:
            touches.append(len(at))
        if event != "none" and len(at) == START:
            twin.faults.start(event)
        if event != "none" and len(at) == START + LAST:
            twin.faults.end(event)

    run = LockstepRun(
        setup, world, load_policy(setup)[0], Overrides(scenario=scene(episode), on_render=rendered)
    )
    result = run.run(EVENT_S)
    records = result.records["surprise"]
    count = min(len(records), len(world.energy))
    values = records["value"][:count].astype(float)
    return {
        "values": [[_short(v) for v in row] for row in values],
        "moved": moved_frames(result.records)[:count].tolist(),
        "difference": [_short(v) for v in world.difference[:count]],
        "energy": [_short(v) for v in world.energy[:count]],
        "touched": touches[0] if touches else None,
        "first_alarm": first_alarm(records["number"][:count], records["above"][:count]),
    }


def first_alarm(number: npt.NDArray[Any], above: npt.NDArray[Any]) -> int | None:
    """Frames from the event to the first alarm that begins by it; None: none did.

    One that was up before has noticed something else.
    """
    flags = above.astype(np.int64)
    begun = flags & ~np.concatenate([[0], flags[:-1]])
    at = number[(begun != 0) & (number > START) & (number <= START + LAST + WINDOW)]
    return int(at[0]) - START if len(at) else None


def usable(row: dict[str, Any]) -> bool:
    """Long enough, and nothing was touched before what is asked about."""
    until = START + WINDOW if row["event"] == "none" else START
    return len(row["values"]) > START + WINDOW + 3 and (row.get("touched") or math.inf) > until


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if np.isfinite(value) else None


def scores(rows: list[dict[str, Any]], thresholds: dict[str, Threshold]) -> dict[str, list[Floats]]:
    """Per score the episodes' values by frame: each channel, all together, and both baselines.

    Of a floor that is known from the frames before the event: while the monitor still learns one,
    later frames score otherwise than earlier ones, whatever happens, and the control is off a half.
    """
    out: dict[str, list[Floats]] = {}
    for row in rows:
        values = np.array([[np.nan if v is None else v for v in r] for r in row["values"]], float)
        values, moved = np.nan_to_num(values, nan=0.0), np.array(row["moved"], bool)
        twice = np.concatenate([values[:START], values]), np.concatenate([moved[:START], moved])
        values = told(twice[0], thresholds, twice[1])[START:]
        level = np.array([FLAGS.get(c) or thresholds[c].event for c in SURPRISE_CHANNELS])
        usual = np.array([0.0 if c in FLAGS else thresholds[c].typical for c in SURPRISE_CHANNELS])
        for i, name in enumerate(SURPRISE_CHANNELS):
            out.setdefault(name, []).append(values[:, i])
        out.setdefault("all", []).append(((values - usual) / (level - usual)).max(1))
        for name in ("difference", "energy"):
            raw = np.array(row[name], float)
            out.setdefault(f"raw_{name}", []).append(raw)
            either = np.abs(raw - np.median(raw[QUIET[0] : QUIET[1]]))
            out.setdefault(f"raw_{name}_either", []).append(either)
    return out


def told(values: Floats, thresholds: dict[str, Threshold], moved: npt.NDArray[np.bool_]) -> Floats:
    """(T,C) values, moving at (T,) or not, as the monitor compares them with its levels."""
    usual = Usual(thresholds)
    rows = zip(values.astype(np.float32), moved, strict=True)
    out: Floats = np.array([usual.step(v, bool(m)) for v, m in rows], float)
    return out


def areas(episodes: list[Floats]) -> tuple[float, float]:
    """AUROC by frame and by window's maximum, over all episodes of one kind."""
    quiet, event, quiet_window, event_window = [], [], [], []
    for value in episodes:
        quiet.append(value[QUIET[0] : QUIET[1]])
        event.append(value[START : START + LAST])
        starts = range(QUIET[0], QUIET[1] - WINDOW + 1, WINDOW)
        quiet_window += [value[s : s + WINDOW].max() for s in starts]
        event_window.append(value[START : START + WINDOW].max())
    return (
        auroc(np.concatenate(event), np.concatenate(quiet)),
        auroc(np.array(event_window), np.array(quiet_window)),
    )


def auroc(positive: Floats, negative: Floats) -> float:
    """Probability that a positive scores above a negative, ties a half (Mann and Whitney 1947)."""
    both = np.concatenate([positive, negative])
    order = np.argsort(both, kind="stable")
    ranks = np.empty(len(both))
    ranks[order] = np.arange(1, len(both) + 1)
    _, inverse, counts = np.unique(both, return_inverse=True, return_counts=True)
    tied = np.bincount(inverse, ranks) / counts
    n = len(positive)
    return float((tied[inverse][:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def alarms(values: Floats, thresholds: dict[str, Threshold]) -> int:
    """How many alarms (of all channels, beginnings counted) a quiet run of (T,C) values raises."""
    monitor = SurpriseMonitor(thresholds)
    before, count = 0, 0
    for row in values.astype(np.float32):
        now = monitor.step(row)
        count += bin(now & ~before).count("1")
        before = now
    return count


__all__ = ["EVENTS", "alarms", "areas", "auroc", "run_event", "scores", "usable"]
