"""Training on recorded arrays: episodes in, networks out. No clock, no robot, no simulator.

An episode file (.npz) holds, for E episodes of T frames (20 Hz), S learned skills and H hues:
  frame (E,T,64,64,3) u1, classes (E,T,64,64) u1 (0 room, 1-6 a person of each hue, 7 furniture),
  cells (E,T,7,16,16) u1: share of each cell that each class covers, of 255; near (E,T,12) in 0..1
  (1: touching, 0: over 1.2 m away), imu (E,T,5,6), proprio (E,T,P), odometry (E,T) rad/s,
  action (E,T,A): mean sent action of the window before the frame, bump (E,T),
  person_seen / person_present / person_since (E,T,H), person_xy (E,T,H,2) m in the base frame,
  at the control tick after the frame: tick_proprio (E,T,P), tick_imu (E,T,6), tick_age_s (E,T),
  expert (E,T,S,A), and goal (E,T,S,12), reward (E,T,S) of each skill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.arrays import read_npz
from models.batch import Batch
from models.errors import ModelError
from models.graphed import Mean, Parts, Repeated, adam, set_rate
from models.kept import fill, load, reading, save
from models.losses import (
    Weights,
    decoder_loss,
    embed,
    frames_of,
    people_along,
    roll,
    senses_of,
    unroll,
    world_loss,
)
from models.mirror import Mirror
from models.networks import Policy, WorldModel
from models.people import PERSON_FIELDS
from models.since import Senses
from models.sizes import Sizes

BYTES = ("frame", "classes")
FINDERS = ("cells",)  # of episodes: read by the finder's own training alone
SPREAD_STEPS = 10
FRAMES_AT_ONCE = 4096  # of a filtered batch
INSIDE_90 = 4.605  # chi-square of two degrees of freedom


@dataclass(frozen=True)
class Schedule:
    """Counted in updates, never in wall time, so that a slow machine trains the same model."""

    updates: int
    batch: int = 16
    length: int = 32
    rate: float = 6e-4
    warm_up: int = 100
    decay_from: float = 0.5
    clip: float = 100.0
    seed: int = 0
    frame_dropout: float = 0.04
    senses_dropout: float = 0.06

    def rate_at(self, update: int) -> float:
        """Learning rate at one update: warm-up, plateau, linear decay to 5 %."""
        done = update / self.updates
        ramp = min(1.0, (update + 1) / self.warm_up)
        fall = (
            1.0
            if done < self.decay_from
            else 1 - 0.95 * (done - self.decay_from) / (1 - self.decay_from)
        )
        return self.rate * ramp * fall


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Torch's global generator, which beliefs are sampled from, as if the process began here.

    Else what a stage draws would depend on the stages that this process ran before it.
    """
    # a seed is every device's, also where the default one is the CPU
    cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(seed)
        yield


def generator(seed: int) -> torch.Generator:
    """Random numbers of a stage's own, drawn where its tensors are."""
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


class Episodes:
    """Recorded episodes in memory, on torch's default device; frames stay bytes."""

    def __init__(self, files: list[Path], mirror: Mirror | None = None) -> None:
        """Read them; with a mirror, half of every batch comes mirrored.

        Raises:
            ModelError: a file is cut, or there is none.
        """
        if not files:
            raise ModelError(
                "no episode came out whole; ask for more of them, or give another --seed, "
                "and another --work"
            )
        parts: dict[str, list[npt.NDArray[Any]]] = {}
        for file in files:
            data = read_npz(file)
            if "action" not in data:
                raise ModelError(f"{file} holds no episodes; delete it and make it again")
            for key, array in data.items():
                if key in FINDERS:
                    continue
                parts.setdefault(key, []).append(array)
        self.data: Batch = {}
        for key in list(parts):
            joined = np.concatenate(parts.pop(key))
            values = torch.from_numpy(joined if key in BYTES else joined.astype(np.float32))
            self.data[key] = values.to(torch.get_default_device())
        self._mirror = mirror
        self.count, self.length = self.data["action"].shape[:2]

    def batch(self, schedule: Schedule, g: torch.Generator) -> Batch:
        """Random subsequences, a tenth of them from an episode's very start (empty belief)."""
        n, t = schedule.batch, schedule.length
        episode = torch.randint(0, self.count, (n,), generator=g)
        start = torch.randint(0, self.length - t + 1, (n,), generator=g)
        start = torch.where(torch.rand(n, generator=g) < 0.1, torch.zeros_like(start), start)
        index = start[:, None] + torch.arange(t)[None]
        out = {key: value[episode[:, None], index] for key, value in self.data.items()}
        if self._mirror is not None:
            half = n // 2
            turned = self._mirror({key: value[:half] for key, value in out.items()})
            decided = self._mirror.decided(turned).float()
            out = {key: torch.cat([turned[key], value[half:]]) for key, value in out.items()}
            # how far the expert's labels hold (N,T): see `Mirror`
            out["decided"] = torch.cat([decided, torch.ones(n - half, t)])
        drop = torch.rand(n, 3, generator=g)
        mask = torch.ones(n, 3)
        mask[:, 0] = (drop[:, 0] >= schedule.frame_dropout).float()
        mask[:, 1] = (drop[:, 1] >= schedule.senses_dropout).float()
        mask[:, 2] = (drop[:, 1] >= schedule.senses_dropout * 0.6).float() * (
            drop[:, 2] >= schedule.senses_dropout * 0.5
        ).float()
        out["mask"] = mask
        out["action"] = out["action"] * mask[:, None, 2:3]
        return out


class Trainer:
    """World model and policy with their optimiser; resumes from a checkpoint."""

    def __init__(
        self, sizes: Sizes, senses: Senses, schedule: Schedule, weights: Weights | None = None
    ) -> None:
        torch.manual_seed(schedule.seed)
        self.device = torch.get_default_device().type
        self.sizes, self.senses, self.schedule = sizes, senses, schedule
        self.weights = weights or Weights()
        self.world = WorldModel(sizes).to(memory_format=torch.channels_last)
        self.world.finder.requires_grad_(False)
        self.policy = Policy(sizes)
        alone = (*self.world.finder.parameters(), *self.world.people.parameters())
        apart = {id(p) for p in alone}  # `models/people_training.py` trains these
        both = [*self.world.parameters(), *self.policy.parameters()]
        self.parameters = [p for p in both if id(p) not in apart]
        self.optimiser = adam(self.parameters, schedule.rate)
        self.generator = generator(schedule.seed)
        self.update = 0
        if self.device == "cuda":
            self.world.filtering = torch.compile(self.world.filtering, dynamic=False)
            self.world.imagining = torch.compile(self.world.imagining, dynamic=False)

    def step(self, episodes: Episodes) -> Parts:
        """One update on one random batch, at the rate that is set; the loss's parts."""
        batch = episodes.batch(self.schedule, self.generator)
        loss, parts = world_loss(
            self.world, self.policy, batch, self.senses, self.weights, self.generator
        )
        descend(loss, self.optimiser, self.parameters, self.schedule.clip)
        return parts

    def train(
        self,
        episodes: Episodes,
        until: int,
        checkpoint: Path,
        report: Callable[[int, dict[str, float]], None],
        every: int = 100,
    ) -> None:
        """Run updates up to `until`, with a mean report and a checkpoint every `every`."""
        mean, step = Mean(), Repeated(lambda: self.step(episodes), self.generator)
        while self.update < until:
            set_rate(self.optimiser, self.schedule.rate_at(self.update))
            mean.add(step())
            self.update += 1
            if self.update % every == 0 or self.update == until:
                self.save(checkpoint)  # first: a report may be stopped while it draws
                report(self.update, mean.take())

    def save(self, file: Path) -> None:
        """Write a checkpoint.

        Raises:
            ModelError: it cannot be written.
        """
        save(
            {
                "world": self.world.state_dict(),
                "policy": self.policy.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "generator": self.generator.get_state(),
                "random": self._random(),  # beliefs are sampled from the global generator
                "update": self.update,
                "sizes": asdict(self.sizes),
            },
            file,
        )

    def load(self, file: Path) -> None:
        """Resume from a checkpoint.

        Raises:
            ModelError: it is cut, or the networks were others when it was written.
        """
        state = load(file)
        fill(file, self.world, state.get("world") if isinstance(state, dict) else None)
        fill(file, self.policy, state.get("policy"))
        with reading(file):
            self.optimiser.load_state_dict(state["optimiser"])
            self.generator.set_state(state["generator"])
            if "random" in state:
                set_state = (
                    torch.cuda.set_rng_state if self.device == "cuda" else torch.set_rng_state
                )
                set_state(state["random"])
            self.update = state["update"]

    def _random(self) -> torch.Tensor:
        return torch.cuda.get_rng_state() if self.device == "cuda" else torch.get_rng_state()


def descend(
    loss: torch.Tensor,
    optimiser: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    clip: float,
) -> None:
    """One step down the gradient, its norm at most `clip`."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()


def filtered(world: WorldModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Beliefs as in deployment: posterior mode, from an empty belief, all senses there.

    Returns (B,T,belief), and the posterior net's hidden units (B*T,hidden) before their ReLU.
    """
    with torch.no_grad():
        embeds, moments = _embedded(world, batch)
        u = unroll(world, embeds, batch["action"], mode=True)
        first = world.post_net[0](torch.cat([u.h, embeds], -1).flatten(0, 1))
        slots = people_along(
            world.people, senses_of(batch), moments, moments.new_ones(u.h.shape[:2])
        )
        return torch.cat([u.belief, slots.flatten(2)], -1), world.post_net[1](first)


def _embedded(world: WorldModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (B,T,E) and hues' moments, some stretches after the other: frames take memory."""
    b, t = batch["action"].shape[:2]
    length = max(1, FRAMES_AT_ONCE // b)
    parts = []
    for first in range(0, t, length):
        keys = ("frame", "imu", "proprio", "odometry")
        piece = {key: batch[key][:, first : first + length] for key in keys}
        piece["mask"] = batch["mask"]
        parts.append(embed(world, piece, frames_of(piece)))
    return torch.cat([e for e, _ in parts], 1), torch.cat([m for _, m in parts], 1)


def beliefs_of(
    world: WorldModel, batch: Batch, warm_up: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior-mode beliefs (N,B) along a batch, and (hidden,) on-rates of the posterior net.

    Each sequence's first `warm_up` frames, whose belief knows little yet, are left out.
    """
    beliefs, hidden = filtered(world, batch)
    hidden = hidden.reshape(*beliefs.shape[:2], -1)[:, warm_up:]
    return beliefs[:, warm_up:].flatten(0, 1), (hidden > 0).float().mean((0, 1))


def train_decoder(
    world: WorldModel,
    senses: Senses,
    episodes: Episodes,
    schedule: Schedule,
    report: Callable[[int, dict[str, float]], None],
) -> None:
    """Train the decoder alone on the frozen world model's open loop (`decoder_loss`)."""
    parameters = list(world.decoder.parameters())
    optimiser = adam(parameters, schedule.rate)
    g = generator(schedule.seed)

    def step() -> Parts:
        loss = decoder_loss(world, episodes.batch(schedule, g), senses, g)
        descend(loss, optimiser, parameters, schedule.clip)
        return {"decoder": loss.detach()}

    mean, repeated = Mean(), Repeated(step, g)
    with drawn_from(schedule.seed):
        for update in range(1, schedule.updates + 1):
            set_rate(optimiser, schedule.rate_at(update))
            mean.add(repeated())
            if update % 100 == 0 or update == schedule.updates:
                report(update, mean.take())


def fit_spread(
    world: WorldModel, senses: Senses, episodes: Episodes, schedule: Schedule, batches: int = 48
) -> tuple[float, float]:
    """Scale the person head's log sigma so that 90 % intervals hold 90 %, half a second ahead.

    On episodes that neither the world model nor the people's filter was trained on, for those seen
    at the start; slope and shift of log sigma. A network that filters by the mode is surer than it
    may be, and more so of those that it is sure of. (Recalibration: Kuleshov et al. 2018.)
    """
    g = generator(schedule.seed + 1)
    steps, start, samples = SPREAD_STEPS, min(schedule.length - SPREAD_STEPS - 1, 18), 8
    apart, spread, said = [], [], []
    for number in range(batches):
        batch = episodes.batch(replace(schedule, frame_dropout=0, senses_dropout=0), g)
        with torch.no_grad(), drawn_from(schedule.seed + 1 + number):
            embeds, _ = embed(world, batch, frames_of(batch))
            u = unroll(world, embeds, batch["action"], mode=True)
            rolled = roll(world, u, batch, senses, torch.tensor([start]), steps, samples).beliefs
            slots = world.split(filtered(world, batch)[0][:, start])[2].repeat(samples, 1, 1)
            for k in range(steps):
                slots = world.people(slots, world.sense(world.trunk(rolled[:, k])))
            out = world.people.fields(slots).reshape(samples, len(u.h), -1, PERSON_FIELDS)
        seen = (batch["person_seen"][:, start] > 0) & (batch["person_present"][:, start] > 0)
        truth = batch["person_xy"][:, start + steps]
        apart.append(((out[..., 1:3].mean(0) - truth) ** 2).sum(-1)[seen])
        spread.append((out[..., 1:3].var(0).sum(-1) / 2)[seen])
        said.append(out[..., 3].clamp(-4, 2)[:, seen])
    if sum(len(part) for part in apart) < 2:
        return 1.0, 0.0  # nobody was seen: nothing to put right
    slope, shift = even_spread(torch.cat(apart), torch.cat(spread), torch.cat(said, 1))
    with torch.no_grad():
        say = world.people.say
        say.weight[1] *= slope
        say.bias[1] = slope * say.bias[1] + shift
    return slope, shift


def even_spread(
    squared: torch.Tensor, between: torch.Tensor, said: torch.Tensor
) -> tuple[float, float]:
    """Slope and shift of log sigma with which 90 % intervals hold 90 % of the surer half and the other.

    Squared errors (N,) [m2], variance between samples (N,) [m2], log sigma (S,N) [m] of each sample.
    """
    sure = said.mean(0) <= said.mean(0).median()
    shifts = torch.linspace(-1.5, 1.5, 121)

    def held(slope: float) -> tuple[float, float]:
        within = (2 * slope * said).exp().mean(0) * (2 * shifts[:, None]).exp()
        inside = squared < INSIDE_90 * (between + within)
        best = int((inside.float().mean(1) - 0.9).abs().argmin())
        uneven = inside[best][sure].float().mean() - inside[best][~sure].float().mean()
        return abs(float(uneven)), float(shifts[best])

    slope = min((float(v) for v in torch.linspace(0.4, 1.6, 25)), key=lambda v: held(v)[0])
    return slope, held(slope)[1]
