"""Alarm levels of the surprise channels, set on undisturbed training episodes.

All channels together may alarm once in ten minutes; each of those set on data has an equal share.
That is kept where it is hardest, on hard scenes and by all skills in turn: over a mix with easier
scenes, or with following alone, a robot among people and furniture alarmed several times as often.
What alarms is a level held for a channel's number of frames in a row, so the statistic is the least
value of that many frames; its level is read from a generalised Pareto tail fitted to the excesses
over the 99th percentile (peaks over threshold: Pickands 1975), for data of half an hour reach no
further.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from models.manifest import Threshold
from runtime.errors import RuntimeFault
from runtime.surprise import FLAGS, FRAMES, SURPRISE_CHANNELS
from tools.compose import load_policy, open_world, prepare
from tools.evaluate.episodes import (
    DURATION_S,
    Episode,
    driven_frames,
    moved_frames,
    never_alarmed,
    scene,
    settings_of,
)
from tools.evaluate.surprise import told
from tools.lockstep_run import LockstepRun, Overrides
from tools.train.pool import Pool

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
ALARM_EVERY_S = 600.0
FRAME_S = 0.05
TAIL = 0.99
HEAVIEST = 0.5  # shape of a tail whose spread is infinite: up to there the moments can be trusted
TRAINING_SEED = 1_500_000  # of the range that training draws from, not of its episodes


def quiet_values(episode: Episode) -> tuple[list[list[float]], list[bool]]:
    """(T,C) channel values of one undisturbed episode, of the frames that false alarms are counted in.

    And (T,) at which of them the base was being sent to move.

    A touch is no false alarm: levels that are to hold through it would hold through a push.
    """
    setup = never_alarmed(prepare(settings_of(episode)))  # levels of before would slow it
    overrides = Overrides(scenario=scene(episode))
    run = LockstepRun(setup, open_world(setup)[0], load_policy(setup)[0], overrides)
    records = run.run(episode.duration_s or DURATION_S[episode.skill]).records
    counted = driven_frames(records)
    values = records["surprise"]["value"][counted].astype(float)
    return values.tolist(), moved_frames(records)[counted].tolist()


def measure(
    bundle: str, episodes: int, pool: Pool, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Thresholds as a manifest holds them.

    Raises:
        RuntimeFault: no episode went undisturbed for even a moment.
    """
    skills = list(DURATION_S)
    work = [(Episode(bundle, TRAINING_SEED + i, skills[i % len(skills)]),) for i in range(episodes)]
    found, moved, began = [], [], time.monotonic()
    for done, (values, went) in enumerate(pool.run(quiet_values, work), 1):
        if values:
            found.append(np.array(values, float))
            moved.append(np.array(went, bool))
        if done % 10 == 0 or done == len(work):
            left_s = (time.monotonic() - began) / done * (len(work) - done)
            say(f"undisturbed episodes: {done} of {len(work)}, {left_s:.0f} s left")
    if not found:
        raise RuntimeFault(
            f"no level can be set: all of {episodes} episodes touched something at once; give more of them"
        )
    return thresholds(found, moved)


def thresholds(episodes: list[Floats], moved: list[Bools]) -> dict[str, dict[str, Any]]:
    """Typical level (median) and alarm level per channel, from (T,C) values and (T,) moves of each episode.

    The alarm level is one of what the monitor compares with it: told against what is usual.
    """
    free = [c for c in SURPRISE_CHANNELS if c not in FLAGS]
    out: dict[str, dict[str, Any]] = {}
    median = np.nanmedian(np.concatenate(episodes), 0)
    typical = {c: Threshold(float(median[SURPRISE_CHANNELS.index(c)]), np.inf, 1) for c in free}
    episodes = [told(e, typical, m) for e, m in zip(episodes, moved, strict=True)]
    for i, name in enumerate(SURPRISE_CHANNELS):
        frames = FRAMES[name]
        if name in FLAGS:
            out[name] = {"typical": 0.0, "event": FLAGS[name], "frames": frames}
            continue
        columns = [e[:, i][np.isfinite(e[:, i])] for e in episodes]
        held = np.concatenate([_least(c, frames) for c in columns if len(c) >= frames])
        level = tail_level(held, FRAME_S / (ALARM_EVERY_S * len(free)))
        out[name] = {"typical": typical[name].typical, "event": level, "frames": frames}
    return out


def _least(values: Floats, frames: int) -> Floats:
    least: Floats = np.lib.stride_tricks.sliding_window_view(values, frames).min(1)
    return least


def tail_level(values: Floats, share: float) -> float:
    """The level that a share of the values exceeds, from the tail of the highest.

    Generalised Pareto by probability-weighted moments (Hosking and Wallis 1987), heavier than an
    exponential or as heavy: a lighter one would be a bound, and half an hour knows of none.
    """
    start = float(np.quantile(values, TAIL))
    excess = np.sort(values[values > start]) - start
    if len(excess) < 2:
        return start
    mean = float(excess.mean())
    lesser = 2 * float((excess * np.linspace(1, 0, len(excess))).mean())  # the mean of a pair's
    shape = min(max(0.0, 2 - mean / (mean - lesser)), HEAVIEST) if mean > lesser else 0.0
    rarer = (1 - TAIL) / share
    if shape == 0.0:
        return start + mean * float(np.log(rarer))
    return start + mean * (1 - shape) / shape * float(rarer**shape - 1)
