"""Behaviour cloning of the expert, of a random skill at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.batch import Batch
from models.networks import Policy

NEAR_WEIGHT = 8.0
NEAR_FROM = 0.5  # of nearness: 0.6 m from the body
IDLE_SHARE = 0.08


def pick_skill(batch: Batch, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A random learned skill per sequence and time: its index (B,T) from 0, one-hot, and goal."""
    b, t, skills = batch["goal"].shape[:3]
    k = torch.randint(0, skills, (b, t), generator=g)
    onehot = F.one_hot(k + 1, skills + 1).float()  # 0 is idle
    goal = batch["goal"].gather(2, k[..., None, None].expand(-1, -1, 1, batch["goal"].shape[-1]))
    return k, onehot, goal[:, :, 0]


def policy_loss(policy: Policy, belief: Tensor, batch: Batch, g: torch.Generator) -> Tensor:
    """Behaviour cloning of a random skill at the control tick after each frame; idle means still."""
    k, skill, goal = pick_skill(batch, g)
    expert = batch["expert"].gather(2, k[..., None, None].expand(-1, -1, 1, batch["expert"].shape[-1]))  # fmt: skip
    idle = (torch.rand(k.shape, generator=g) < IDLE_SHARE).float()[..., None]
    still = torch.zeros_like(skill)
    still[..., 0] = 1
    action = policy(
        belief.flatten(0, 1),
        batch["tick_age_s"].flatten()[:, None],
        batch["tick_proprio"].flatten(0, 1),
        batch["tick_imu"].flatten(0, 1),
        (idle * still + (1 - idle) * skill).flatten(0, 1),
        goal.flatten(0, 1),
    )
    target = (expert[:, :, 0] * (1 - idle)).flatten(0, 1)
    error = F.smooth_l1_loss(action, target, beta=0.1, reduction="none").sum(-1)
    usable = batch["mask"].amin(-1)[:, None].expand(-1, belief.shape[1])
    if "decided" in batch:
        usable = usable * batch["decided"]
    return (error * usable.flatten() * near_weight(batch["near"]).flatten()).mean()


def near_weight(near: Tensor) -> Tensor:
    """Weight of a moment, (...,S) -> (...): up to NEAR_WEIGHT more where something stands close.

    Such moments are few, and a small mistake in them is a bump.
    """
    return 1 + NEAR_WEIGHT * ((near.amax(-1) - NEAR_FROM) / (1 - NEAR_FROM)).clamp(min=0)
