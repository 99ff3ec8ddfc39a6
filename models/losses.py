"""Training losses: world model (DreamerV3's balance), person heads, and behaviour cloning.

The expert's action is learned together with the belief, so that the belief keeps what control needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.networks import Policy, WorldModel, divergence, straight_through

Batch = dict[str, Tensor]
NEAR_WEIGHT = 8.0
NEAR_FROM = 0.5  # of nearness: 0.6 m from the body


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms."""

    image: float = 1.0
    person_pixels: float = 8.0
    obstacle_pixels: float = 3.0
    near: float = 6.0
    sense: float = 2.0
    person: float = 2.0
    bump: float = 1.0
    prior: float = 1.0
    posterior: float = 0.1
    free_nats: float = 1.0
    overshoot: float = 0.5
    overshoot_steps: int = 5
    policy: float = 20.0
    decode_fraction: float = 0.25


@dataclass
class Unrolled:
    """Beliefs along a batch: h and z (B,T,.), prior and posterior (B,T,G,C)."""

    h: Tensor
    z: Tensor
    prior: Tensor
    posterior: Tensor

    @property
    def belief(self) -> Tensor:
        """(B,T,belief)."""
        return torch.cat([self.h, self.z], -1)


def embed(world: WorldModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings (B,T,E) and frames (B*T,3,64,64) in 0..1."""
    b, t = batch["proprio"].shape[:2]
    frames = batch["frame"].flatten(0, 1).permute(0, 3, 1, 2).float().div_(255)
    frames = frames.contiguous(memory_format=torch.channels_last)
    mask = batch["mask"][:, None].expand(-1, t, -1).flatten(0, 1)
    out = world.encoder(frames, batch["imu"].flatten(0, 1), batch["proprio"].flatten(0, 1), mask)
    return out.reshape(b, t, -1), frames


def unroll(world: WorldModel, embeds: Tensor, actions: Tensor, mode: bool = False) -> Unrolled:
    """Filter a sequence from an empty belief; actions[:, t] were sent before observation t."""
    b, t, _ = embeds.shape
    h = embeds.new_zeros(b, world.s.deter)
    z = embeds.new_zeros(b, world.s.stoch)
    hs, zs, qs = [], [], []
    for k in range(t):
        h = world.cell(h, z, actions[:, k])
        q = world.posterior(h, embeds[:, k])
        if mode:
            z = F.one_hot(q.argmax(-1), world.s.classes).to(q.dtype).flatten(-2)
        else:
            z = straight_through(q)
        hs.append(h)
        zs.append(z)
        qs.append(q)
    stacked = torch.stack(hs, 1)
    prior = world.prior(stacked.flatten(0, 1)).reshape(b, t, world.s.groups, world.s.classes)
    return Unrolled(stacked, torch.stack(zs, 1), prior, torch.stack(qs, 1))


def world_loss(
    world: WorldModel, policy: Policy, batch: Batch, w: Weights, g: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Total loss and its parts for one batch of sequences (see `models/training.py` for the keys)."""
    embeds, frames = embed(world, batch)
    u = unroll(world, embeds, batch["action"])
    belief = u.belief
    parts = {
        "image": w.image * _image_loss(world, u, frames, batch, w, g),
        "sense": w.sense * _sense_loss(world, belief, batch),
        "person": w.person * person_loss(world, belief, batch),
        "near": w.near * near_loss(world, belief, batch),
        "bump": w.bump
        * F.binary_cross_entropy_with_logits(world.bump(belief)[..., 0], batch["bump"]),
        "prior": w.prior * divergence(u.posterior.detach(), u.prior).clamp(min=w.free_nats).mean(),
        "posterior": w.posterior
        * divergence(u.posterior, u.prior.detach()).clamp(min=w.free_nats).mean(),
        "overshoot": w.overshoot * _overshoot_loss(world, u, batch, w, g),
        "policy": w.policy * policy_loss(policy, belief, batch, g),
    }
    total = torch.stack(list(parts.values())).sum()
    return total, {k: float(v.detach()) for k, v in parts.items()}


def _image_loss(
    world: WorldModel, u: Unrolled, frames: Tensor, batch: Batch, w: Weights, g: torch.Generator
) -> Tensor:
    """Weighted squared error on a fraction of the frames; a third decoded from the soft prior.

    The soft prior is what the operator sees as expected (the mean of sampled imaginations).
    """
    n = len(frames)
    index = torch.randperm(n, generator=g)[: int(n * w.decode_fraction)]
    h = u.h.flatten(0, 1)[index]
    z = u.z.flatten(0, 1)[index].clone()
    third = len(index) // 3
    soft = u.prior.flatten(-2).flatten(0, 1)[index[:third]]
    z = torch.cat([soft, z[third:]], 0)
    out = world.decode(torch.cat([h, z], -1)) + 0.5
    what = batch["person_mask"].flatten(0, 1)[index][:, None]
    pixel = 1 + w.person_pixels * (what == 1).float() + w.obstacle_pixels * (what == 2).float()
    seen = batch["mask"][:, None, 0].expand(-1, u.h.shape[1]).flatten()[index]
    error = ((out - frames[index]) ** 2 * pixel).sum((1, 2, 3))
    return (error * seen).mean()


def _sense_loss(world: WorldModel, belief: Tensor, batch: Batch) -> Tensor:
    target = torch.cat([batch["proprio"], batch["imu"].mean(2)], -1)
    error = (world.sense(belief) - target) ** 2
    p = batch["proprio"].shape[-1]
    present = batch["mask"][:, None, [2] * p + [1] * 6]
    return (error * present).sum(-1).mean()


def person_loss(world: WorldModel, belief: Tensor, batch: Batch) -> Tensor:
    """Per hue: is such a person seen, and where (Gaussian NLL; unseen persons count a fifth)."""
    hues = world.s.hues
    out = world.person(belief).reshape(*belief.shape[:2], hues, 4)
    seen, present = batch["person_seen"], batch["person_present"]
    loss = F.binary_cross_entropy_with_logits(out[..., 0], seen, reduction="none").sum(-1)
    log_sigma = out[..., 3].clamp(-4, 2)
    squared = ((out[..., 1:3] - batch["person_xy"]) ** 2).sum(-1)
    nll = 0.5 * squared * torch.exp(-2 * log_sigma) + 2 * log_sigma
    weight = present * (0.2 + 0.8 * seen)
    return ((loss + (nll * weight).sum(-1)) * batch["mask"][:, None, 0]).mean()


def near_loss(world: WorldModel, belief: Tensor, batch: Batch) -> Tensor:
    """Nearness of furniture and walls per sector: without it the belief forgets what it may hit."""
    error = (torch.sigmoid(world.near(belief)) - batch["near"]) ** 2
    return (error.sum(-1) * batch["near_known"] * batch["mask"][:, None, 0]).mean()


def _overshoot_loss(
    world: WorldModel, u: Unrolled, batch: Batch, w: Weights, g: torch.Generator
) -> Tensor:
    """Roll the prior a few steps from one moment and match the posterior there (PlaNet, 2019)."""
    t = u.h.shape[1]
    start = int(torch.randint(2, t - w.overshoot_steps, (1,), generator=g))
    h, z = u.h[:, start], u.z[:, start]
    loss = h.new_zeros(())
    for k in range(start + 1, start + 1 + w.overshoot_steps):
        h = world.cell(h, z, batch["action"][:, k])
        p = world.prior(h)
        z = straight_through(p)
        loss = loss + divergence(u.posterior[:, k].detach(), p).clamp(min=w.free_nats).mean()
    return loss / w.overshoot_steps


def policy_loss(policy: Policy, belief: Tensor, batch: Batch, g: torch.Generator) -> Tensor:
    """Behaviour cloning at one random control tick after each frame; idle means still."""
    b, t = belief.shape[:2]
    ticks = batch["tick_proprio"].shape[2]
    k = torch.randint(0, ticks, (b, t), generator=g)
    pick = k[..., None, None]

    def at(name: str) -> Tensor:
        value = batch[name]
        return value.gather(2, pick.expand(-1, -1, 1, value.shape[-1]))[:, :, 0].flatten(0, 1)

    idle = (torch.rand(b, generator=g) < 0.1).float()[:, None].expand(-1, t).flatten()
    skill = torch.stack([idle, 1 - idle], -1)
    age = batch["tick_age_s"].gather(2, k[..., None])[:, :, 0].flatten()[:, None]
    action = policy(
        belief.flatten(0, 1),
        age,
        at("tick_proprio"),
        at("tick_imu"),
        skill,
        batch["goal"][:, None].expand(-1, t, -1).flatten(0, 1),
    )
    target = at("tick_expert") * (1 - idle[:, None])
    error = F.smooth_l1_loss(action, target, beta=0.1, reduction="none").sum(-1)
    usable = batch["mask"].min(-1).values[:, None].expand(-1, t).flatten()
    return (error * usable * near_weight(batch["near"]).flatten()).mean()


def near_weight(near: Tensor) -> Tensor:
    """Weight of a moment, (...,S) -> (...): up to NEAR_WEIGHT more where something stands close.

    Such moments are few, and a small mistake in them is a bump.
    """
    return 1 + NEAR_WEIGHT * ((near.amax(-1) - NEAR_FROM) / (1 - NEAR_FROM)).clamp(min=0)
