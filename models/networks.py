"""The networks: a recurrent state-space model, its decoder and heads, and the policy.

Belief = [deterministic h | one-hot categorical z | continuous c | a slot per person]. After Hafner
et al., DreamerV3 (2023) for the categorical part and its balance, PlaNet (2019) for the continuous
one, which holds where things are finer than classes can; slots: `models/people.py`. The encoder sees
through the finder, which also gives each hue's and furniture's keypoint (spatial moments: Finn et al.
2016). The recurrent cell is written as plain matrix
products (TensorRT likes it) and noise is an input, so the graphs are functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layout import GOAL_SIZE, IMU_SLICES, OBSERVE_MASKS
from models.people import FEATURES, MOMENTS, PERSON_FIELDS, Finder, People
from models.sizes import Sizes

SIGMA_MIN = 0.1  # of the continuous part
FRAME = 64  # pixels a side
SINCE = 6


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear-LayerNorm-ReLU and a linear end."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class Encoder(nn.Module):
    """What the finder saw, IMU window and senses to one embedding; absent inputs become a learned one."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(FEATURES, 48, 4, 2, 1), nn.ReLU(), nn.Conv2d(48, 48, 4, 2, 1), nn.ReLU()
        )
        self.frame = nn.Linear(48 * 16 + (s.hues + 1) * MOMENTS, s.embed)
        self.imu = nn.Linear(IMU_SLICES * 6, 64)
        self.proprio = nn.Linear(s.proprio + 1, 64)
        self.absent = nn.Parameter(torch.zeros(s.embed + 128))
        self.norm = nn.LayerNorm(s.embed + 128)
        self.out = nn.Linear(s.embed + 128, s.embed)
        self.frame_size, self.imu_size = s.embed, 64

    def forward(
        self,
        features: Tensor,
        moments: Tensor,
        imu: Tensor,
        proprio: Tensor,
        odometry: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Features (N,48,16,16), moments (N,H+1,6), imu (N,5,6), proprio (N,P), odometry (N,1), mask (N,3).

        Returns the embedding (N,E).
        """
        f = self.conv(features).reshape(-1, 48 * 16)
        f = self.frame(torch.cat([f, moments.flatten(1)], -1))
        i = self.imu(imu.reshape(-1, IMU_SLICES * 6))
        both = mask[:, 1:2] * mask[:, 2:3]
        p = self.proprio(torch.cat([proprio, odometry * both], -1))
        x = torch.cat([f, i, p], -1)
        present = torch.cat(
            [
                mask[:, 0:1].expand(-1, self.frame_size),
                mask[:, 1:2].expand(-1, self.imu_size),
                mask[:, 2:3].expand(-1, 64),
            ],
            -1,
        )
        x = present * x + (1 - present) * self.absent
        return F.relu(self.out(F.relu(self.norm(x))))


class Decoder(nn.Module):
    """Belief and the last frame seen -> the frame now.

    What was seen is turned with the camera, moved by a learned flow, and kept where a learned mask
    trusts it; the rest is drawn from the belief alone.
    """

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.start = nn.Linear(s.core + SINCE, 36 * 16)
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(36, 36, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(36, 32, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 6, 8, 4, 2),  # colour, flow (2), trust
        )
        self.refine = nn.Sequential(nn.Conv2d(8, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 4, 3, 1, 1))
        self._start_trusting()
        self.view = fx, fy, cx, cy = s.view
        axis = torch.arange(FRAME, dtype=torch.float32)
        v, u = torch.meshgrid(axis, axis, indexing="ij")
        rays = torch.stack([torch.ones_like(u), (cx - u) / fx, (cy - v) / fy]).reshape(3, 1, -1)
        self.register_buffer("rays", rays, persistent=False)  # x forward, y left, z up

    def _start_trusting(self) -> None:
        """No flow, no refinement, and what was seen is kept: else noise teaches the mask to refuse."""
        last, refined = self.deconv[-1], self.refine[-1]
        with torch.no_grad():
            last.weight[:, 3:] = 0
            last.bias[3:5] = 0
            last.bias[5] = 2.0
            refined.weight.zero_()
            refined.bias.zero_()

    def draw(self, belief: Tensor, since: Tensor) -> Tensor:
        """(N,core), (N,6) -> colour centred on 0, flow and trust (N,6,64,64)."""
        x = self.start(torch.cat([belief, since], -1)).reshape(-1, 36, 4, 4)
        out: Tensor = self.deconv(x)
        return out

    def forward(self, belief: Tensor, frame: Tensor, since: Tensor) -> Tensor:
        """(N,core), last frame (N,3,64,64) 0..1 and what happened since (N,6) -> frame 0..1.

        `since`: camera's turn to the left [rad], its pitch then and now [rad, down], way forward
        and to the left [s at full speed], time [s].
        """
        colour, flow, trust = self.draw(belief, since).split([3, 2, 1], 1)
        x, y, z = self._then(since)
        ahead = x.clamp(min=0.05)
        fx, fy, cx, cy = self.view
        half = FRAME / 2  # grid_sample's corners are the outer edges of pixels
        across, down = (
            (cx - fx * y / ahead + 0.5) / half - 1,
            (cy - fy * z / ahead + 0.5) / half - 1,
        )
        grid = torch.stack([across, down], -1).reshape(-1, FRAME, FRAME, 2)
        grid = grid + flow.permute(0, 2, 3, 1) * 0.1
        inside = (grid.abs().amax(-1) <= 1).to(belief.dtype)[:, None]
        inside = inside * (x > 0.05).to(belief.dtype).reshape(-1, 1, FRAME, FRAME)
        warped = F.grid_sample(frame - 0.5, grid, padding_mode="border", align_corners=False)
        more = self.refine(torch.cat([warped, inside, colour, trust], 1))
        keep = torch.sigmoid(trust + more[:, 0:1]) * inside
        return keep * warped + (1 - keep) * colour + more[:, 1:4] * 0.1 + 0.5

    def _then(self, since: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each pixel's ray (N,4096) in the camera frame of the last frame."""
        turn, pitch_then, pitch_now = since[:, 0:1], since[:, 1:2], since[:, 2:3]
        x, y, z = self.rays[0], self.rays[1], self.rays[2]
        x, z = pitch_now.cos() * x + pitch_now.sin() * z, pitch_now.cos() * z - pitch_now.sin() * x
        x, y = turn.cos() * x - turn.sin() * y, turn.sin() * x + turn.cos() * y
        x, z = (
            pitch_then.cos() * x - pitch_then.sin() * z,
            pitch_then.cos() * z + pitch_then.sin() * x,
        )
        return x, y, z


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
        self.prior_net = mlp(s.deter, s.hidden, s.onehot + 2 * s.normal)
        self.post_net = mlp(s.deter + s.embed, s.hidden, s.onehot + 2 * s.normal)
        self.decoder = Decoder(s)
        self.trunk = nn.Sequential(nn.Linear(s.core, s.hidden), nn.LayerNorm(s.hidden), nn.ReLU())
        self.sense = nn.Linear(s.hidden, s.proprio + 6)
        self.finder = Finder(s.hues)
        self.people = People(s.proprio + 6, s.memory)
        self.aid = nn.Sequential(  # people from the core: in training alone, so that it knows them
            nn.Linear(s.hidden, 128), nn.ReLU(), nn.Linear(128, s.hues * PERSON_FIELDS)
        )
        self.bump = nn.Linear(s.hidden, 1)
        self.near = nn.Linear(s.hidden, s.sectors)
        self.reward = nn.Sequential(
            nn.Linear(s.hidden + s.skills + GOAL_SIZE, 128), nn.ReLU(), nn.Linear(128, 1)
        )

    def embedding(
        self, frame: Tensor, imu: Tensor, proprio: Tensor, odometry: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Frame (N,3,64,64) 0..1 and senses (see `Encoder`) -> embedding (N,E), hues' moments (N,H,6)."""
        features, moments = self.finder(frame)
        embed = self.encoder(features, moments, imu, proprio, odometry, mask)
        return embed, moments[:, : self.s.hues]

    def split(self, belief: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Belief (N,B) -> deterministic h, stochastic z, slots (N,H,S)."""
        s = self.s
        h, z, slots = belief.split([s.deter, s.stoch, s.hues * s.slot], -1)
        return h, z, slots.reshape(len(belief), s.hues, s.slot)

    def who(self, belief: Tensor) -> Tensor:
        """Belief (N,B) -> what it says of every hue's person (N,H,5): see PERSON_FIELDS."""
        return self.people.fields(self.split(belief)[2])

    def step(
        self, belief: Tensor, action: Tensor, pick: Callable[[Stats], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Imagine one frame: belief (N,B) and the trunk's features (N,hidden) of its core.

        `pick` takes a value (N,S) of the prior: a sample, its mean, or one made with given noise.
        """
        h, z, slots = self.split(belief)
        h = self.cell(h, z, action)
        z = pick(self.prior(h))
        x = self.trunk(torch.cat([h, z], -1))
        slots = self.people(slots, self.sense(x))
        return torch.cat([h, z, slots.flatten(1)], -1), x

    def stats(self, raw: Tensor) -> Stats:
        """The distribution that a prior or posterior net's output (N,.) describes."""
        s = self.s
        logits, mean, width = raw.split([s.onehot, s.normal, s.normal], -1)
        p = F.softmax(logits.reshape(*logits.shape[:-1], s.groups, s.classes), -1)
        p = p * (1 - s.unimix) + s.unimix / s.classes  # so that log is safe
        return Stats(p, mean, F.softplus(width) + SIGMA_MIN)

    def prior(self, h: Tensor) -> Stats:
        """Prior of the belief's stochastic part, given h."""
        return self.stats(self.prior_net(h))

    def posterior(self, h: Tensor, embed: Tensor) -> Stats:
        """Posterior, given h and the embedding of what came."""
        return self.stats(self.post_net(torch.cat([h, embed], -1)))

    def filtering(
        self, h: Tensor, z: Tensor, action: Tensor, embed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One frame of training: h, a sample of the posterior, and the posterior net's output."""
        h = self.cell(h, z, action)
        raw = self.post_net(torch.cat([h, embed], -1))
        return h, self.stats(raw).sample(), raw

    def imagining(self, h: Tensor, z: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One frame unseen: h, a sample of the prior, and the prior net's output."""
        h = self.cell(h, z, action)
        raw = self.prior_net(h)
        return h, self.stats(raw).sample(), raw

    def cell(self, h: Tensor, z: Tensor, action: Tensor) -> Tensor:
        """One deterministic step (layer-normalised GRU)."""
        x = self.inputs(torch.cat([z, action], -1))
        r, c, u = self.gate_norm(self.gates(torch.cat([x, h], -1))).split(self.s.deter, -1)
        c = torch.tanh(torch.sigmoid(r) * c)
        u = torch.sigmoid(u - 1)
        return u * c + (1 - u) * h


@dataclass
class Stats:
    """A distribution of the stochastic part: categorical p (...,G,C), normal mean and sigma (...,D)."""

    p: Tensor
    mean: Tensor
    sigma: Tensor

    def detach(self) -> Stats:
        """The same without gradient."""
        return Stats(self.p.detach(), self.mean.detach(), self.sigma.detach())

    def sample(self) -> Tensor:
        """(...,S): one-hot with a straight-through gradient, and a reparametrised normal."""
        p = self.p.detach()
        # the first of an exponential race
        first = (p / torch.empty_like(p).exponential_()).argmax(-1)
        onehot = F.one_hot(first, p.shape[-1]).to(p.dtype) + self.p - p
        return torch.cat(
            [onehot.flatten(-2), self.mean + self.sigma * torch.randn_like(self.sigma)], -1
        )

    def noisy(self, noise: Tensor) -> Tensor:
        """Sample with the noise (...,S) as an input: Gumbel, then normal; zeros give the mode."""
        groups, classes = self.p.shape[-2:]
        gumbel, normal = noise.split([groups * classes, self.mean.shape[-1]], -1)
        score = self.p.log() + gumbel.reshape(self.p.shape)
        hard = (score >= score.amax(-1, keepdim=True)).to(self.p.dtype)
        return torch.cat([hard.flatten(-2), self.mean + self.sigma * normal], -1)

    def mode(self) -> Tensor:
        """(...,S): the most likely class of each group, and the mean."""
        hard = F.one_hot(self.p.argmax(-1), self.p.shape[-1]).to(self.p.dtype)
        return torch.cat([hard.flatten(-2), self.mean], -1)

    def expected(self) -> Tensor:
        """(...,S): the mean of samples."""
        return torch.cat([self.p.flatten(-2), self.mean], -1)


def divergence(q: Stats, p: Stats) -> Tensor:
    """KL(q || p) in nats, summed over groups and dimensions: (...,)."""
    classes = (q.p * (q.p.log() - p.p.log())).sum((-1, -2))
    ratio = (q.sigma / p.sigma).square()
    apart = ((q.mean - p.mean) / p.sigma).square()
    return classes + 0.5 * (ratio + apart - 1 - ratio.log()).sum(-1)


class Policy(nn.Module):
    """Goal-conditioned policy on the belief and the newest 100 Hz senses (FiLM: Perez et al. 2018)."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.width = width = 192
        self.s = s
        self.pick = nn.Sequential(nn.Linear(GOAL_SIZE, 32), nn.ReLU(), nn.Linear(32, s.hues))
        self.belief = nn.Linear(s.core + s.slot, width)
        self.senses = nn.Linear(1 + s.proprio + 6 + s.skills + GOAL_SIZE, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.body = nn.Sequential(
            nn.Linear(width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, s.action),
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
        scale, shift = self.senses(senses).split(self.width, -1)
        core, slots = belief.split([self.s.core, self.s.hues * self.s.slot], -1)
        slots = slots.reshape(len(belief), self.s.hues, self.s.slot)
        whom = torch.softmax(self.pick(goal), -1)[:, None]  # the goal's colour picks its person
        x = torch.cat([core, (whom @ slots)[:, 0]], -1)
        x = F.relu(self.norm(self.belief(x)) * (1 + scale) + shift)
        return torch.tanh(self.body(x))


assert len(OBSERVE_MASKS) == 3
