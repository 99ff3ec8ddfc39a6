"""Moments of recorded episodes: warnings that are known then, and the errors that they should warn of.

All in the deployed way: beliefs are posterior modes from an empty start, a frame is predicted from
the last one and the mean of samples, people are read from the belief's head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import geometry
from models.losses import put_right, since_of
from models.networks import Stats, WorldModel, divergence
from models.observations import Episode, ObservationError
from models.since import Senses
from models.training import filtered

AHEAD = 10  # steps of the later open-loop error
SAMPLES = 8
WARM_UP = 20  # steps after an empty belief that are no moments
GAINS = (1, 5, 12)


class Filtered:
    """Episodes with their beliefs, cut to one length."""

    def __init__(self, world: WorldModel, episodes: Sequence[Episode]) -> None:
        self.world = world
        length = min(len(e.observations) for e in episodes)
        if length < WARM_UP + AHEAD + 4:
            raise ObservationError(f"episodes of {length} frames are too short; record 2 s or more")
        fields = ("frame", "imu", "proprio", "odometry", "action")
        self.data: dict[str, Tensor] = {
            k: torch.from_numpy(np.stack([getattr(e.observations, k)[:length] for e in episodes]))
            for k in fields
        }
        for k in ("person_xy", "person_present", "person_seen"):
            self.data[k] = torch.from_numpy(np.stack([getattr(e, k)[:length] for e in episodes]))
        self.count, self.length = len(episodes), length
        parts = [filtered(world, self._batch(i)) for i in range(self.count)]
        self.belief = torch.cat([p[0] for p in parts])  # (E,T,B)
        self.hidden = torch.stack([p[1] for p in parts])  # (E,T,hidden)

    def _batch(self, i: int) -> dict[str, Tensor]:
        out = {k: v[i : i + 1] for k, v in self.data.items()}
        return out | {"mask": torch.ones(1, 3)}

    def frames(self, e: Tensor, t: Tensor) -> Tensor:
        """Frames (N,3,64,64) in 0..1."""
        return self.data["frame"][e, t].permute(0, 3, 1, 2).float() / 255

    def points(self, e: Tensor, t: Tensor) -> Tensor:
        """Observations (N,D), see `geometry.flatten`."""
        d = self.data
        return geometry.flatten(
            self.frames(e, t), d["imu"][e, t], d["proprio"][e, t], d["odometry"][e, t]
        )

    def moments(self, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Random moments (episode, time), each with AHEAD steps after it."""
        g = torch.Generator().manual_seed(seed)
        last = self.length - max(AHEAD, max(GAINS)) - 1
        return (
            torch.randint(0, self.count, (count,), generator=g),
            torch.randint(WARM_UP, last, (count,), generator=g),
        )

    def actions(self, e: Tensor, t: Tensor, steps: int) -> Tensor:
        """The actions sent after t: (N,steps,A)."""
        return self.data["action"][e[:, None], t[:, None] + 1 + torch.arange(steps)[None]]


def predicted(f: Filtered, e: Tensor, t: Tensor, steps: int, senses: Senses) -> dict[str, Tensor]:
    """Errors (N,) of what is expected `steps` after t: belief, frame, people [m]."""
    w, n, s = f.world, len(e), f.world.s
    samples = SAMPLES if steps > 1 else 1
    actions = f.actions(e, t, steps).repeat(samples, 1, 1)
    belief, sensed = f.belief[e, t].repeat(samples, 1), []
    with torch.no_grad():
        for k in range(steps):
            pick = Stats.sample if k < steps - 1 else Stats.expected
            belief, features = w.step(belief, actions[:, k], pick)
            sensed.append(w.sense(features))
        mean = belief.reshape(samples, n, -1).mean(0)
        along = torch.stack(sensed, 1).reshape(samples, n, steps, -1).mean(0)
        measured = torch.cat([f.data["proprio"][e, t], f.data["imu"][e, t].mean(-2)], -1)
        along = put_right(w, along, f.belief[e, t, : s.core], measured)
        since = since_of(senses, f.data["proprio"][e, t], along)[:, -1]
        image = w.decoder(mean[:, : s.core], f.frames(e, t), since).clamp(0, 1)
        people = w.who(belief).reshape(samples, n, s.hues, -1).mean(0)
        later = t + steps
        return {
            "belief": (mean - f.belief[e, later]).square().mean(-1).sqrt(),
            "image": (image - f.frames(e, later)).square().mean((1, 2, 3)),
            "person": person_error(f, people, e, later),
        }


def person_error(f: Filtered, people: Tensor, e: Tensor, t: Tensor) -> Tensor:
    """Mean distance (N,) [m] of the people in view to where they are; nan where none is in view."""
    seen = f.data["person_seen"][e, t] * f.data["person_present"][e, t]
    apart = (people[..., 1:3] - f.data["person_xy"][e, t]).norm(dim=-1)
    return (apart * seen).sum(-1) / seen.sum(-1).where(seen.sum(-1) > 0, torch.nan)


def errors(f: Filtered, e: Tensor, t: Tensor, senses: Senses) -> dict[str, Tensor]:
    """What a warning at t should warn of."""
    w = f.world
    soon, later = predicted(f, e, t, 1, senses), predicted(f, e, t, AHEAD, senses)
    with torch.no_grad():
        people = w.who(f.belief[e, t])
    return {
        "belief_next": soon["belief"],
        "image_next": soon["image"],
        "person_now": person_error(f, people, e, t),
        f"image_{AHEAD}": later["image"],
        f"person_{AHEAD}": later["person"],
    }


def plain_warnings(f: Filtered, e: Tensor, t: Tensor, senses: Senses) -> dict[str, Tensor]:
    """Baselines without geometry: last prediction's errors, and how strongly it is driven."""
    w = f.world
    with torch.no_grad():
        h, z, _ = w.split(f.belief[e, t - 1])
        h = w.cell(h, z, f.data["action"][e, t])
        mask = torch.ones(len(e), 3)
        embed, _ = w.embedding(*geometry.unflatten(f.points(e, t), w.s.proprio), mask)
        apart = divergence(w.posterior(h, embed), w.prior(h))
    return {
        "divergence": apart,
        "image_error": predicted(f, e, t - 1, 1, senses)["image"],
        "action": f.actions(e, t, 1)[:, 0].norm(dim=-1),
    }


def off_data(f: Filtered, e: Tensor, t: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """The moments' observations, spoilt in four ways, and of several episodes in a fifth: points (N,D) each."""
    g = torch.Generator().manual_seed(seed)
    points, d = f.points(e, t), geometry.PIXELS
    n = len(points)
    frames = points[:, :d].reshape(n, 3, -1)
    order = torch.rand(n, 1, frames.shape[-1], generator=g).argsort(-1).expand(-1, 3, -1)
    other = f.points(
        (e + 1 + torch.randint(0, max(1, f.count - 1), (n,), generator=g)) % f.count, t
    )
    pasted = points[:, :d].reshape(n, *geometry.FRAME).clone()
    pasted[..., 16:48, 16:48] = other[:, :d].reshape(n, *geometry.FRAME)[..., 16:48, 16:48]
    imu = torch.randn(n, 30, generator=g) * 3

    def with_frames(new: Tensor) -> Tensor:
        return torch.cat([new.reshape(n, -1), points[:, d:]], -1)

    spoilt = {
        "noise": with_frames(torch.rand(n, d, generator=g)),
        "shuffled": with_frames(frames.gather(-1, order)),
        "black": with_frames(torch.zeros(n, d)),
        "imu": torch.cat([points[:, :d], imu, points[:, d + 30 :]], -1),
    }
    if f.count > 1:  # a room pasted into itself is not spoilt
        spoilt["pasted"] = with_frames(pasted)
    return spoilt


def quantiles(values: Any) -> dict[str, float]:
    """Median, 90th percentile and largest."""
    array = np.asarray(values, float)
    array = array[np.isfinite(array)]
    if not len(array):
        return {}
    return {
        "p50": float(np.median(array)),
        "p90": float(np.percentile(array, 90)),
        "max": float(array.max()),
    }
