"""The networks: a categorical recurrent state-space model, its decoder and heads, and the policy.

Belief = [deterministic h | one-hot categorical z]. After Hafner et al., DreamerV3 (2023), with a
patch stem instead of a stride-2 stem (twice the updates per CPU hour), the recurrent cell written
as plain matrix products (TensorRT likes it) and noise as an input, so the graphs are functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layout import GOAL_SIZE, IMU_SLICES, OBSERVE_MASKS


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks; training heads know `hues` of people and `sectors` around the body."""

    action: int
    proprio: int
    skills: int
    deter: int = 256
    groups: int = 16
    classes: int = 16
    embed: int = 256
    hidden: int = 256
    hues: int = 6
    sectors: int = 12
    unimix: float = 0.01

    @property
    def stoch(self) -> int:
        """Length of the flattened categorical part."""
        return self.groups * self.classes

    @property
    def belief(self) -> int:
        """Length of the belief vector."""
        return self.deter + self.stoch


def mlp(inputs: int, hidden: int, outputs: int, layers: int = 1) -> nn.Sequential:
    """Linear-LayerNorm-ReLU blocks and a linear end."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


class Encoder(nn.Module):
    """Frame, IMU window and proprioception to one embedding; absent inputs become a learned one."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(3, 32, 8, 4, 2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 4, 2, 1),
            nn.ReLU(),
        )
        self.frame = nn.Linear(64 * 16, s.embed)
        self.imu = nn.Linear(IMU_SLICES * 6, 64)
        self.proprio = nn.Linear(s.proprio, 64)
        self.absent = nn.Parameter(torch.zeros(s.embed + 128))
        self.norm = nn.LayerNorm(s.embed + 128)
        self.out = nn.Linear(s.embed + 128, s.embed)
        self.frame_size, self.imu_size = s.embed, 64

    def forward(self, frame: Tensor, imu: Tensor, proprio: Tensor, mask: Tensor) -> Tensor:
        """Frame (N,3,64,64) 0..1, imu (N,5,6), proprio (N,P), mask (N,3) -> (N, embed)."""
        f = self.frame(self.conv(frame - 0.5).reshape(-1, 64 * 16))
        i = self.imu(imu.reshape(-1, IMU_SLICES * 6))
        x = torch.cat([f, i, self.proprio(proprio)], -1)
        present = torch.cat(
            [
                mask[:, 0:1].expand(-1, self.frame_size),
                mask[:, 1:2].expand(-1, self.imu_size),
                mask[:, 2:3].expand(-1, x.shape[-1] - self.frame_size - self.imu_size),
            ],
            -1,
        )
        x = present * x + (1 - present) * self.absent
        return F.relu(self.out(F.relu(self.norm(x))))


class WorldModel(nn.Module):
    """Prior and posterior over the next belief, a decoder to frames, and heads."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.s = s
        self.encoder = Encoder(s)
        self.inputs = nn.Sequential(
            nn.Linear(s.stoch + s.action, s.hidden), nn.LayerNorm(s.hidden), nn.ReLU()
        )
        self.gates = nn.Linear(s.hidden + s.deter, 3 * s.deter)
        self.gate_norm = nn.LayerNorm(3 * s.deter)
        self.prior_net = mlp(s.deter, s.hidden, s.stoch)
        self.post_net = mlp(s.deter + s.embed, s.hidden, s.stoch)
        self.decode_in = nn.Linear(s.belief, 64 * 16)
        self.decode_conv = nn.Sequential(
            nn.ConvTranspose2d(64, 64, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 3, 8, 4, 2),
        )
        self.sense = mlp(s.belief, s.hidden, s.proprio + 6)
        self.person = mlp(s.belief, s.hidden, s.hues * 4)  # per hue: seen logit, x, y, log sigma
        self.bump = mlp(s.belief, 64, 1)
        self.near = mlp(s.belief, s.hidden, s.sectors)  # how near something stands, per sector

    def probs(self, logits: Tensor) -> Tensor:
        """(N, stoch) -> (N, groups, classes), mixed with 1 % uniform so that log is safe."""
        p = F.softmax(logits.reshape(-1, self.s.groups, self.s.classes), -1)
        return p * (1 - self.s.unimix) + self.s.unimix / self.s.classes

    def prior(self, h: Tensor) -> Tensor:
        """Categorical prior of the belief's stochastic part, given h."""
        return self.probs(self.prior_net(h))

    def posterior(self, h: Tensor, embed: Tensor) -> Tensor:
        """Categorical posterior, given h and the embedding of what came."""
        return self.probs(self.post_net(torch.cat([h, embed], -1)))

    def cell(self, h: Tensor, z: Tensor, action: Tensor) -> Tensor:
        """One deterministic step (layer-normalised GRU)."""
        x = self.inputs(torch.cat([z, action], -1))
        r, c, u = self.gate_norm(self.gates(torch.cat([x, h], -1))).split(self.s.deter, -1)
        c = torch.tanh(torch.sigmoid(r) * c)
        u = torch.sigmoid(u - 1)
        return u * c + (1 - u) * h

    def decode(self, belief: Tensor) -> Tensor:
        """Belief (N,B) -> frame (N,3,64,64), centred on 0 (add 0.5)."""
        out: Tensor = self.decode_conv(self.decode_in(belief).reshape(-1, 64, 4, 4))
        return out


def straight_through(p: Tensor) -> Tensor:
    """Sample one-hot from (N,G,C) with a straight-through gradient, flattened to (N, G*C)."""
    index = torch.multinomial(p.detach().reshape(-1, p.shape[-1]), 1)
    hard = torch.zeros_like(p).reshape(-1, p.shape[-1]).scatter_(1, index, 1.0).reshape(p.shape)
    return (hard + p - p.detach()).flatten(-2)


def hard_sample(p: Tensor, noise: Tensor) -> Tensor:
    """Gumbel-max with the noise as an input; zero noise is the mode. (N,G,C) -> (N, G*C)."""
    score = p.log() + noise
    return (score >= score.amax(-1, keepdim=True)).to(p.dtype).flatten(-2)


def divergence(q: Tensor, p: Tensor) -> Tensor:
    """KL(q || p) summed over groups, nats: (N,G,C) x 2 -> (N,)."""
    return (q * (q.log() - p.log())).sum((-1, -2))


class Policy(nn.Module):
    """Goal-conditioned policy on the belief and the newest 100 Hz senses (FiLM: Perez et al. 2018)."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.belief = nn.Linear(s.belief, 256)
        self.senses = nn.Linear(1 + s.proprio + 6 + s.skills + GOAL_SIZE, 2 * 256)
        self.norm = nn.LayerNorm(256)
        self.body = nn.Sequential(
            nn.Linear(256, 256),
            nn.LayerNorm(256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, s.action),
        )

    def forward(
        self,
        belief: Tensor,
        age_s: Tensor,
        proprio: Tensor,
        imu: Tensor,
        skill: Tensor,
        goal: Tensor,
    ) -> Tensor:
        """(N,B), (N,1), (N,P), (N,6), (N,S), (N,12) -> action (N,A) in [-1, 1]."""
        senses = torch.cat([age_s * 10, proprio, imu, skill, goal], -1)
        scale, shift = self.senses(senses).split(256, -1)
        x = F.relu(self.norm(self.belief(belief)) * (1 + scale) + shift)
        return torch.tanh(self.body(x))


assert len(OBSERVE_MASKS) == 3
