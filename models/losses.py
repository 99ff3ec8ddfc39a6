"""Training losses: world model (DreamerV3's balance), its open loop, heads, and behaviour cloning.

The expert's action is learned together with the belief, so that the belief keeps what control needs.
The open loop is trained as it is used: several sampled rollouts, whose mean is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.batch import Batch
from models.networks import Policy, Stats, WorldModel, divergence
from models.people import PERSON_FIELDS, People
from models.policy_losses import pick_skill, policy_loss
from models.since import INNOVATION_KEPT, Senses

OBSTACLE_CLASS = 7  # of `classes`: 0 room, 1-6 a person of each hue, 7 furniture


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms."""

    image: float = 0.5
    person_pixels: float = 5.0
    obstacle_pixels: float = 2.0
    near: float = 40.0
    sense: float = 30.0
    person: float = 8.0
    unseen: float = 0.3  # of a person who is not seen, against one who is
    bump: float = 2.0
    reward: float = 5.0
    prior: float = 1.0
    posterior: float = 0.1
    free_nats: float = 1.0
    open_prior: float = 0.5
    open_heads: float = 1.0
    open_image: float = 0.5
    open_steps: int = 12
    open_samples: int = 3
    policy: float = 20.0
    decode_fraction: float = 0.15


@dataclass
class Unrolled:
    """Beliefs along a batch: h and z (B,T,.), prior and posterior (B,T,.)."""

    h: Tensor
    z: Tensor
    prior: Stats
    posterior: Stats

    @property
    def belief(self) -> Tensor:
        """(B,T,belief)."""
        return torch.cat([self.h, self.z], -1)


def at(values: Tensor, time: Tensor) -> Tensor:
    """(B,T,...) at one time (1,): (B,...)."""
    return values.index_select(1, time)[:, 0]


def after(values: Tensor, time: Tensor, steps: int) -> Tensor:
    """(B,T,...) -> (B,steps,...): from the one after this time (1,) on."""
    return values.index_select(1, time + 1 + torch.arange(steps))


def shuffled(n: int, g: torch.Generator) -> Tensor:
    """(n,) a random order; drawn without a word to the host, as a captured update must be."""
    return torch.rand(n, generator=g).argsort()


def frames_of(batch: Batch) -> Tensor:
    """Frames (B*T,3,64,64) in 0..1."""
    frames = batch["frame"].flatten(0, 1).permute(0, 3, 1, 2).float().div_(255)
    return frames.contiguous(memory_format=torch.channels_last)


def embed(world: WorldModel, batch: Batch, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (B,T,E) and the moments of hues (B,T,H,6)."""
    b, t = batch["proprio"].shape[:2]
    mask = batch["mask"][:, None].expand(-1, t, -1).flatten(0, 1)
    out, moments = world.embedding(
        frames,
        batch["imu"].flatten(0, 1),
        batch["proprio"].flatten(0, 1),
        batch["odometry"].flatten(0, 1)[:, None],
        mask,
    )
    return out.reshape(b, t, -1), moments.reshape(b, t, *moments.shape[1:])


def unroll(world: WorldModel, embeds: Tensor, actions: Tensor, mode: bool = False) -> Unrolled:
    """Filter a sequence from an empty belief; actions[:, t] were sent before observation t."""
    b, t, _ = embeds.shape
    h = embeds.new_zeros(b, world.s.deter)
    z = embeds.new_zeros(b, world.s.stoch)
    hs, zs, raws = [], [], []
    for k in range(t):
        if mode:
            h = world.cell(h, z, actions[:, k])
            raw = world.post_net(torch.cat([h, embeds[:, k]], -1))
            z = world.stats(raw).mode()
        else:
            h, z, raw = world.filtering(h, z, actions[:, k], embeds[:, k])
        hs.append(h)
        zs.append(z)
        raws.append(raw)
    stacked = torch.stack(hs, 1)
    posterior = world.stats(torch.stack(raws, 1))
    return Unrolled(stacked, torch.stack(zs, 1), world.prior(stacked), posterior)


def senses_of(batch: Batch) -> Tensor:
    """Proprioception, then the window's mean IMU, as measured: (B,T,P+6)."""
    return torch.cat([batch["proprio"], batch["imu"].mean(-2)], -1)


def people_along(people: People, senses: Tensor, moments: Tensor, present: Tensor) -> Tensor:
    """Filter every slot from empty along senses (B,T,V) and moments (B,T,H,6): slots (B,T,H,S).

    `present` (B,T) is 0 where there is no frame: there they are predicted.
    """
    slot = moments.new_zeros(len(moments), moments.shape[2], people.slot)
    out = []
    for t in range(moments.shape[1]):
        slot = people(slot, senses[:, t], moments[:, t], present[:, t, None])
        out.append(slot)
    return torch.stack(out, 1)


def world_loss(
    world: WorldModel,
    policy: Policy,
    batch: Batch,
    senses: Senses,
    w: Weights,
    g: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Total loss and its parts for one batch of sequences (see `models/training.py` for the keys)."""
    frames = frames_of(batch)
    embeds, _ = embed(world, batch, frames)
    u = unroll(world, embeds, batch["action"])
    belief = u.belief
    alone = F.pad(belief, (0, world.s.hues * world.s.slot))  # the core must know whom to go to
    parts = {
        "image": w.image * _image_loss(world, belief, frames, batch, w, g),
        **_heads(world, belief, batch, w, g),
        "prior": w.prior * divergence(u.posterior.detach(), u.prior).clamp(min=w.free_nats).mean(),
        "posterior": w.posterior
        * divergence(u.posterior, u.prior.detach()).clamp(min=w.free_nats).mean(),
        "policy": w.policy * policy_loss(policy, alone, batch, g),
        **_open_loop(world, u, frames, batch, senses, w, g),
    }
    total = torch.stack(list(parts.values())).sum()
    return total, {k: v.detach() for k, v in parts.items()}


def _heads(
    world: WorldModel, belief: Tensor, batch: Batch, w: Weights, g: torch.Generator
) -> dict[str, Tensor]:
    """What the belief (B,T,.) says of senses, people, bumps, nearness and reward."""
    x = world.trunk(belief)
    return {
        "sense": w.sense * _sense_loss(world.sense(x), batch),
        "person": w.person * person_loss(world.aid(x), batch, w.unseen),
        "near": w.near * near_loss(world.near(x), batch),
        "bump": w.bump * F.binary_cross_entropy_with_logits(world.bump(x)[..., 0], batch["bump"]),
        "reward": w.reward * _reward_loss(world, x, batch, g),
    }


def _pixel_weight(batch: Batch, index: Tensor, w: Weights) -> Tensor:
    what = batch["classes"].flatten(0, 1)[index][:, None]
    person = ((what > 0) & (what < OBSTACLE_CLASS)).float()
    return 1 + w.person_pixels * person + w.obstacle_pixels * (what == OBSTACLE_CLASS).float()


def _image_loss(
    world: WorldModel, belief: Tensor, frames: Tensor, batch: Batch, w: Weights, g: torch.Generator
) -> Tensor:
    """Weighted squared error of what a fraction of the beliefs alone draw."""
    n = len(frames)
    index = shuffled(n, g)[: max(1, int(n * w.decode_fraction))]
    picked = belief.flatten(0, 1)[index]
    drawn = world.decoder.draw(picked, picked.new_zeros(len(index), 6))[:, :3] + 0.5
    error = ((drawn - frames[index]) ** 2 * _pixel_weight(batch, index, w)).sum((1, 2, 3))
    seen = batch["mask"][:, None, 0].expand(-1, belief.shape[1]).flatten()[index]
    return (error * seen).mean()


def _sense_loss(out: Tensor, batch: Batch) -> Tensor:
    target = senses_of(batch)
    error = (out - target) ** 2
    p = batch["proprio"].shape[-1]
    mask = batch["mask"][:, None]
    present = torch.cat([mask[..., 2:3].expand(-1, -1, p), mask[..., 1:2].expand(-1, -1, 6)], -1)
    return (error * present).sum(-1).mean()


def person_loss(raw: Tensor, batch: Batch, unseen: float) -> Tensor:
    """Per hue: seen, where (Gaussian NLL; people not seen count `unseen`), how long not seen."""
    seen, present = batch["person_seen"], batch["person_present"]
    out = raw.reshape(*raw.shape[:-1], seen.shape[-1], PERSON_FIELDS)
    loss = F.binary_cross_entropy_with_logits(out[..., 0], seen, reduction="none").sum(-1)
    log_sigma = out[..., 3].clamp(-4, 2)
    squared = ((out[..., 1:3] - batch["person_xy"]) ** 2).sum(-1)
    nll = 0.5 * squared * torch.exp(-2 * log_sigma) + 2 * log_sigma
    weight = present * (unseen + (1 - unseen) * seen)
    since = (out[..., 4] - batch["person_since"]).square().sum(-1)
    return ((loss + since + (nll * weight).sum(-1)) * batch["mask"][:, None, 0]).mean()


def near_loss(raw: Tensor, batch: Batch) -> Tensor:
    """Nearness of furniture and walls per sector: without it the belief forgets what it may hit."""
    error = (torch.sigmoid(raw) - batch["near"]) ** 2
    return (error.sum(-1) * batch["mask"][:, None, 0]).mean()


def _reward_loss(world: WorldModel, x: Tensor, batch: Batch, g: torch.Generator) -> Tensor:
    k, onehot, goal = pick_skill(batch, g)
    out = world.reward(torch.cat([x, onehot, goal], -1))[..., 0]
    target = batch["reward"].gather(2, k[..., None])[..., 0]
    return ((out - target).square() * batch["mask"].amin(-1)[:, None]).mean()


def since_of(senses: Senses, first: Tensor, later: Tensor) -> Tensor:
    """What happened between a frame's senses (N,P) and the senses (N,K,P+6) after it: (N,K,6).

    See `Decoder.forward`; the base's turn is the gyro's, the way that of the wheels.
    """
    dt = senses.frame_s
    turn = later[..., senses.gyro_z] * senses.gyro_scale_rad_s * dt
    base = turn.cumsum(1)
    zero = torch.zeros_like(base)

    # rates of joints are of a moment: between two frames the mean of both counts
    joints = torch.cat([first[:, None], later[..., : first.shape[-1]]], 1)
    joints = 0.5 * (joints[:, :-1] + joints[:, 1:])

    def added(index: int | None, scale: float) -> Tensor:
        return zero if index is None else (joints[..., index] * scale * dt).cumsum(1)

    yaw = added(senses.head_yaw_rate, senses.yaw_scale_rad_s)
    then = zero if senses.head_pitch is None else first[:, senses.head_pitch, None].expand_as(base)
    now = then + added(senses.head_pitch_rate, senses.pitch_scale_rad_s)
    left_wheel, right_wheel = senses.wheels
    speed = 0.5 * (joints[..., left_wheel] + joints[..., right_wheel])
    forward = (speed * base.cos() * dt).cumsum(1)
    left = (speed * base.sin() * dt).cumsum(1)
    seconds = dt * torch.arange(1, base.shape[1] + 1, device=base.device).expand_as(base)
    return torch.stack([base + yaw, then, now, forward, left, seconds], -1)


def put_right(world: WorldModel, sensed: Tensor, belief: Tensor, measured: Tensor) -> Tensor:
    """Imagined senses (N,K,P+6), less what the belief (N,B) they come from was off by: `Since`."""
    believed = world.sense(world.trunk(belief))
    kept = INNOVATION_KEPT ** torch.arange(1, sensed.shape[1] + 1, dtype=sensed.dtype)
    return sensed + kept[None, :, None] * (measured - believed)[:, None]


@dataclass
class Rolled:
    """S sampled rollouts of K steps: beliefs (S*B,K,.), prior, their mean (B,K,.), since (B,K,6)."""

    beliefs: Tensor
    prior: Stats
    mean: Tensor
    since: Tensor


def roll(
    world: WorldModel,
    u: Unrolled,
    batch: Batch,
    senses: Senses,
    start: Tensor,
    steps: int,
    samples: int,
) -> Rolled:
    """Roll the prior from the beliefs at `start` (1,) under the actions that were sent."""
    b = len(u.h)
    h = at(u.h, start).repeat(samples, 1)
    z = at(u.z, start).repeat(samples, 1)
    actions = after(batch["action"], start, steps).repeat(samples, 1, 1)
    hs, zs, raws = [], [], []
    for k in range(steps):
        h, z, raw = world.imagining(h, z, actions[:, k])
        hs.append(h)
        zs.append(z)
        raws.append(raw)
    prior = world.stats(torch.stack(raws, 1))
    beliefs = torch.cat([torch.stack(hs, 1), torch.stack(zs, 1)], -1)
    hidden = torch.cat([torch.stack(hs, 1), prior.expected()], -1)
    mean = hidden.reshape(samples, b, steps, -1).mean(0)
    with torch.no_grad():
        sensed = world.sense(world.trunk(beliefs)).reshape(samples, b, steps, -1).mean(0)
        measured = at(senses_of(batch), start)
        sensed = put_right(world, sensed, at(u.belief, start), measured)
        since = since_of(senses, at(batch["proprio"], start), sensed)
    return Rolled(beliefs, prior, mean, since)


def decoded_error(
    world: WorldModel,
    rolled: Rolled,
    frames: Tensor,
    batch: Batch,
    start: Tensor,
    picks: Tensor,
    w: Weights,
) -> Tensor:
    """Weighted squared error of the frames `picks` steps (from 0) after the one after `start` (1,)."""
    b, t = batch["proprio"].shape[:2]
    first = torch.arange(b)[:, None] * t + start
    index = (first + 1 + picks[None]).flatten()
    last = frames[first.expand(-1, len(picks)).flatten()]
    mean, since = rolled.mean[:, picks].flatten(0, 1), rolled.since[:, picks].flatten(0, 1)
    out = world.decoder(mean, last, since)
    error = ((out - frames[index]) ** 2 * _pixel_weight(batch, index, w)).sum((1, 2, 3))
    seen = batch["mask"][:, 0:1].expand(-1, len(picks)).flatten()
    return (error * seen).mean()


def _open_loop(
    world: WorldModel,
    u: Unrolled,
    frames: Tensor,
    batch: Batch,
    senses: Senses,
    w: Weights,
    g: torch.Generator,
) -> dict[str, Tensor]:
    """Roll the prior from one moment: match posteriors (PlaNet, 2019), heads, and decoded frames."""
    steps, samples = min(w.open_steps, u.h.shape[1] - 3), w.open_samples
    start = torch.randint(2, u.h.shape[1] - steps, (1,), generator=g)
    rolled = roll(world, u, batch, senses, start, steps, samples)

    def again(v: Tensor) -> Tensor:
        return after(v, start, steps).repeat(samples, *[1] * (v.dim() - 1))

    q = u.posterior.detach()
    target = Stats(again(q.p), again(q.mean), again(q.sigma))
    later = {k: again(v) for k, v in batch.items() if k in HEAD_KEYS}
    later["mask"] = batch["mask"].repeat(samples, 1)
    heads = torch.stack(list(_heads(world, rolled.beliefs, later, w, g).values())).sum()
    picks = F.pad(1 + shuffled(steps - 1, g)[:2], (1, 0))
    error = decoded_error(world, rolled, frames, batch, start, picks, w)
    return {
        "open_prior": w.open_prior * divergence(target, rolled.prior).clamp(min=w.free_nats).mean(),
        "open_heads": w.open_heads * heads,
        "open_image": w.open_image * error,
    }


def decoder_loss(world: WorldModel, batch: Batch, senses: Senses, g: torch.Generator) -> Tensor:
    """Open-loop frames up to a second ahead from beliefs as in deployment; the decoder's own loss."""
    w = DECODER_WEIGHTS
    with torch.no_grad():
        frames = frames_of(batch)
        u = unroll(world, embed(world, batch, frames)[0], batch["action"], mode=True)
        steps = min(w.open_steps, u.h.shape[1] - 3)
        start = torch.randint(2, u.h.shape[1] - steps, (1,), generator=g)
        rolled = roll(world, u, batch, senses, start, steps, w.open_samples)
    picks = F.pad(1 + shuffled(steps - 1, g)[:DECODER_PICKS], (1, 0))
    return decoded_error(world, rolled, frames, batch, start, picks, w)


HEAD_KEYS = ("proprio", "imu", "person_seen", "person_present", "person_xy", "person_since",
             "near", "bump", "reward", "goal")  # fmt: skip
DECODER_WEIGHTS = Weights(person_pixels=1.0, obstacle_pixels=0.0, open_steps=20, open_samples=4)
DECODER_PICKS = 5
