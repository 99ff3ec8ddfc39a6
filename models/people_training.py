"""Training of the finder and of the people's filter, each alone: small networks, cheap updates.

The filter learns on what the finder says of recorded frames, so it has no picture to compute; spans
without a frame, drawn at random, teach it to predict. A velocity is learnt as such: what a place
only shows over many frames came out at half of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.arrays import read_npz
from models.batch import Batch
from models.graphed import Mean, Parts, Repeated, adam, compiled, set_rate
from models.losses import people_along, person_loss, senses_of
from models.people import FRAME_S, Finder, People, finder_loss, turned
from models.since import Senses

Report = Callable[[int, dict[str, float]], None]
EVERY = 2  # of the frames, for the finder: neighbours in time are alike
AT_ONCE = 512
FINDER_BATCH = 64
FILTER_BATCH, FILTER_LENGTH = 288, 96  # sequences of one hue each
NOBODY = 0.125  # of sequences: a hue that nobody wears
FROM_START = 0.15  # of sequences: an episode's very start
SPANS, SPAN_FRAMES = 2, 40  # at most so many stretches without a frame, each at most so long
UNSEEN = 1.0  # weight of a person who is not seen, against one who is
PACE, PACE_SINCE = 6.0, 0.2  # weight of the velocity, for those seen within the last second
PACE_FRAMES = 3  # it is taken over so many frames to each side
RATE = 2e-3
SENSED = ("proprio", "imu")
KEYS = ("person_seen", "person_present", "person_xy", "person_since")


def rate_at(update: int, updates: int) -> float:
    """Learning rate: warm-up, plateau, linear decay to 2 %."""
    done = update / updates
    return RATE * min(1.0, update / 100) * (1.0 if done < 0.4 else 1 - 0.98 * (done - 0.4) / 0.6)


def picture(frames: Tensor) -> Tensor:
    """Bytes (N,64,64,3) -> (N,3,64,64) in 0..1."""
    out = frames.permute(0, 3, 1, 2).float().div_(255)
    return out.contiguous(memory_format=torch.channels_last)


def train_finder(
    finder: Finder, files: list[Path], updates: int, seed: int, report: Report
) -> None:
    """Learn the share of each cell that each hue and furniture cover, half of it in a mirror."""
    frames, cells = [], []
    for file in files:
        data = read_npz(file, ("frame", "cells"))
        frames.append(torch.from_numpy(data["frame"][:, ::EVERY]).flatten(0, 1))
        covered = data["cells"][:, ::EVERY]
        cells.append(torch.from_numpy(covered).flatten(0, 1))
    where = torch.get_default_device()
    all_frames, all_cells = torch.cat(frames).to(where), torch.cat(cells).to(where)
    del frames, cells
    g = torch.Generator(where).manual_seed(seed)
    finder.train().requires_grad_(True).to(memory_format=torch.channels_last)

    def loss() -> Tensor:
        index = torch.randint(0, len(all_frames), (FINDER_BATCH,), generator=g)
        frames, cells = picture(all_frames[index]), all_cells[index].float() / 255
        half = FINDER_BATCH // 2
        frames = torch.cat([frames[:half].flip(-1), frames[half:]])
        return finder_loss(finder, frames, torch.cat([cells[:half].flip(-1), cells[half:]]))

    _descend(finder, loss, updates, "finder", report, g)
    finder.requires_grad_(False)


def what_was_found(finder: Finder, file: Path) -> Batch:
    """What the filter learns from in one file: senses, moments, and who was where."""
    finder.eval()
    where = torch.get_default_device()
    data = read_npz(file, ("frame", "proprio", "imu", *KEYS))
    with torch.no_grad():
        frames = torch.from_numpy(data["frame"]).to(where)
        found = [
            finder(picture(part))[1][:, : finder.hues]
            for part in frames.flatten(0, 1).split(AT_ONCE)
        ]
        values = {
            k: torch.from_numpy(data[k].astype(np.float32)).to(where) for k in (*KEYS, *SENSED)
        }
        both, out = {k: values[k] for k in SENSED}, {k: values[k] for k in KEYS}
        moments = torch.cat(found)
        out["moments"] = moments.reshape(*frames.shape[:2], *moments.shape[1:])
        out["senses"] = senses_of(both)
    return out


def train_people(
    people: People,
    finder: Finder,
    files: list[Path],
    updates: int,
    seed: int,
    report: Report,
    senses: Senses,
    full_m_s: float,
) -> None:
    """Learn to follow every person through what the frozen finder says.

    `full_m_s` is the way per second of wheels at full speed.
    """
    parts = [what_was_found(finder, f) for f in files]
    data = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
    del parts
    data["velocity"] = walking_m_s(data["person_xy"], data["senses"], senses, full_m_s)
    g = torch.Generator(torch.get_default_device()).manual_seed(seed)
    people.train()
    compiled(g.device.type, people)
    pairs = Pairs(data)

    def loss() -> Tensor:
        batch = pairs.sequences(g)
        kept = frames_kept(batch["senses"].shape[1], g)
        slots = people_along(people, batch["senses"], batch["moments"], kept)
        where = person_loss(people.fields(slots).flatten(-2), batch, UNSEEN)
        return where + PACE * _pace_loss(slots[..., -2:], batch)

    _descend(people, loss, updates, "people", report, g)


def walking_m_s(xy: Tensor, sensed: Tensor, senses: Senses, full_m_s: float) -> Tensor:
    """Velocity in the room, in the base frame, of people at `xy` (B,T,H,2): (B,T,H,2).

    The base's own way and turn are taken out as wheels and gyro (B,T,V) measured them.
    """
    gyro, wheels = sensed[..., senses.gyro_z], sensed[..., list(senses.wheels)].mean(-1)
    yaw = (gyro * senses.gyro_scale_rad_s * FRAME_S).cumsum(1)[..., None, None]
    way = wheels[..., None, None] * full_m_s * FRAME_S
    here = torch.cat([way * yaw.cos(), way * yaw.sin()], -1).cumsum(1)
    there, n = here + turned(xy, -yaw), PACE_FRAMES
    pace = (there[:, 2 * n :] - there[:, : -2 * n]) / (2 * n * FRAME_S)
    ends = [pace[:, :1].expand_as(there[:, :n]), pace, pace[:, -1:].expand_as(there[:, :n])]
    return turned(torch.cat(ends, 1), yaw)


def _pace_loss(velocity: Tensor, batch: Batch) -> Tensor:
    apart = F.smooth_l1_loss(velocity, batch["velocity"], beta=0.1, reduction="none").sum(-1)
    known = batch["person_present"] * (batch["person_since"] < PACE_SINCE)
    return (apart * known).mean()


class Pairs:
    """The pairs of an episode and a hue that somebody wears in it, and of one that nobody does."""

    def __init__(self, data: Batch) -> None:
        self._data = data
        worn = (data["person_present"] > 0).any(1)
        nobody = 0 if worn.all() else int(FILTER_BATCH * NOBODY)
        both = (worn, FILTER_BATCH - nobody), (~worn, nobody)
        self._which = [(pairs.nonzero(), n) for pairs, n in both if n]

    def sequences(self, g: torch.Generator) -> Batch:
        """A batch of random subsequences of one hue each, some from an episode's start (empty slots)."""
        data = self._data
        rows = [pairs[_some(len(pairs), n, g)] for pairs, n in self._which]
        episode, hue = torch.cat(rows)[:, None].unbind(-1)
        length = data["senses"].shape[1]
        t = min(FILTER_LENGTH, length)
        start = _some(length - t + 1, FILTER_BATCH, g)
        start = start * (torch.rand(FILTER_BATCH, generator=g) >= FROM_START)
        index = start[:, None] + torch.arange(t)[None]
        out = {
            k: v[episode, index] if k == "senses" else v[episode, index, hue][:, :, None]
            for k, v in data.items()
        }
        return out | {"mask": torch.ones(FILTER_BATCH, 3)}


def _some(below: int, count: int, g: torch.Generator) -> Tensor:
    return torch.randint(0, below, (count,), generator=g)


def frames_kept(length: int, g: torch.Generator) -> Tensor:
    """(B,T) 1 where there is a frame; up to SPANS stretches of each row are without."""
    kept = torch.ones(FILTER_BATCH, length)
    spans = torch.randint(0, SPANS + 1, (FILTER_BATCH,), generator=g)
    first = torch.randint(0, length, (FILTER_BATCH, SPANS), generator=g)
    last = first + torch.randint(1, SPAN_FRAMES + 1, (FILTER_BATCH, SPANS), generator=g)
    time = torch.arange(length)
    for k in range(SPANS):
        inside = (time >= first[:, k, None]) & (time < last[:, k, None])
        kept = kept.masked_fill(inside & (spans > k)[:, None], 0)
    return kept


def _descend(
    module: nn.Module,
    loss_of: Callable[[], Tensor],
    updates: int,
    name: str,
    report: Report,
    g: torch.Generator,
) -> None:
    parameters = list(module.parameters())
    optimiser = adam(parameters, RATE)

    def step() -> Parts:
        loss = loss_of()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimiser.step()
        return {name: loss.detach()}

    mean, repeated = Mean(), Repeated(step, g)
    for update in range(1, updates + 1):
        set_rate(optimiser, rate_at(update, updates))
        mean.add(repeated())
        if update % 100 == 0 or update == updates:
            report(update, mean.take())
