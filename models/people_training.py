"""Training of the finder and of the people's filter, each alone: small networks, cheap updates.

The filter learns on what the finder says of recorded frames, so it has no picture to compute; spans
without a frame, drawn at random, teach it to predict.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.batch import Batch
from models.losses import people_along, person_loss, senses_of
from models.people import Finder, People, finder_loss

Report = Callable[[int, dict[str, float]], None]
EVERY = 2  # of the frames, for the finder: neighbours in time are alike
AT_ONCE = 512
FINDER_BATCH = 64
FILTER_BATCH, FILTER_LENGTH = 48, 96
FROM_START = 0.15  # of sequences: an episode's very start
SPANS, SPAN_FRAMES = 2, 40  # at most so many stretches without a frame, each at most so long
UNSEEN = 1.0  # weight of a person who is not seen, against one who is
RATE = 2e-3
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
    """Learn the share of each cell that each hue covers."""
    frames, cells = [], []
    for file in files:
        with np.load(file, allow_pickle=False) as data:
            frames.append(torch.from_numpy(data["frame"][:, ::EVERY]).flatten(0, 1))
            covered = data["cells"][:, ::EVERY, :-1]  # the last class is furniture
            cells.append(torch.from_numpy(covered).flatten(0, 1))
    all_frames, all_cells = torch.cat(frames), torch.cat(cells)
    del frames, cells
    g = torch.Generator().manual_seed(seed)
    finder.train().to(memory_format=torch.channels_last)

    def loss() -> Tensor:
        index = torch.randint(0, len(all_frames), (FINDER_BATCH,), generator=g)
        return finder_loss(finder, picture(all_frames[index]), all_cells[index].float() / 255)

    _descend(finder, loss, updates, "finder", report)


def what_was_found(finder: Finder, file: Path) -> Batch:
    """What the filter learns from in one file: senses, moments, and who was where."""
    finder.eval()
    with np.load(file, allow_pickle=False) as data, torch.no_grad():
        frames = torch.from_numpy(data["frame"])
        found = [finder(picture(part)) for part in frames.flatten(0, 1).split(AT_ONCE)]
        both: Any = {k: torch.from_numpy(data[k].astype(np.float32)) for k in ("proprio", "imu")}
        out = {k: torch.from_numpy(data[k].astype(np.float32)) for k in KEYS}
        moments = torch.cat(found)
        out["moments"] = moments.reshape(*frames.shape[:2], *moments.shape[1:])
        out["senses"] = senses_of(both)
    return out


def train_people(
    people: People, finder: Finder, files: list[Path], updates: int, seed: int, report: Report
) -> None:
    """Learn to follow every person through what the frozen finder says."""
    parts = [what_was_found(finder, f) for f in files]
    data = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
    del parts
    g = torch.Generator().manual_seed(seed)
    people.train()

    def loss() -> Tensor:
        batch = sequences(data, g)
        slots = people_along(
            people, batch["senses"], batch["moments"], frames_kept(batch["senses"].shape[1], g)
        )
        return person_loss(people.fields(slots).flatten(-2), batch, UNSEEN)

    _descend(people, loss, updates, "people", report)


def sequences(data: Batch, g: torch.Generator) -> Batch:
    """A batch of random subsequences, some from an episode's start (empty slots)."""
    count, length = data["senses"].shape[:2]
    t = min(FILTER_LENGTH, length)
    episode = torch.randint(0, count, (FILTER_BATCH,), generator=g)
    start = torch.randint(0, length - t + 1, (FILTER_BATCH,), generator=g)
    start = start * (torch.rand(FILTER_BATCH, generator=g) >= FROM_START)
    index = start[:, None] + torch.arange(t)[None]
    out = {k: v[episode[:, None], index] for k, v in data.items()}
    return out | {"mask": torch.ones(FILTER_BATCH, 3)}


def frames_kept(length: int, g: torch.Generator) -> Tensor:
    """(B,T) 1 where there is a frame; up to SPANS stretches of each row are without."""
    kept = torch.ones(FILTER_BATCH, length)
    spans = torch.randint(0, SPANS + 1, (FILTER_BATCH,), generator=g)
    first = torch.randint(0, length, (FILTER_BATCH, SPANS), generator=g)
    last = first + torch.randint(1, SPAN_FRAMES + 1, (FILTER_BATCH, SPANS), generator=g)
    time = torch.arange(length)
    for k in range(SPANS):
        inside = (time >= first[:, k, None]) & (time < last[:, k, None])
        kept[inside & (spans > k)[:, None]] = 0
    return kept


def _descend(
    module: nn.Module, loss_of: Callable[[], Tensor], updates: int, name: str, report: Report
) -> None:
    optimiser = torch.optim.Adam(module.parameters(), lr=RATE, eps=1e-5)
    total, count = 0.0, 0
    for update in range(1, updates + 1):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(update, updates)
        loss = loss_of()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimiser.step()
        total, count = total + float(loss.detach()), count + 1
        if update % 100 == 0 or update == updates:
            report(update, {name: total / count})
            total, count = 0.0, 0
