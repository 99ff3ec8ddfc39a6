"""People apart: where each shirt's hue is in the picture, and one small filter for all of them.

One network for a whole scene learns people in the pairs that it has met, and of two at once it
keeps the larger. Here every hue has a slot of its own and all slots share their weights
(object-centric state: Kipf et al., "Conditional Object-Centric Learning from Video", 2022), so what
was learnt of one person holds for all and in any company. A slot carries its place and its velocity
in the base frame, which turn and shift as the body moves, measured or imagined: who walks on unseen
walks on in it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.sizes import MOTION

CELLS = 16  # the map of shares is CELLS x CELLS
FEATURES = 48  # of a cell
MOMENTS = 6  # of a hue: mass, centre (x, y), spread (x, y), peak
PERSON_FIELDS = 5  # per hue: seen logit, x, y [m], log sigma [m], time since seen [share of 5 s]
ROOM_M = 3.0  # a usual distance, so that inputs are about one
STEP_M = 0.2  # the most a place is put right by between two frames
FRAME_S = 0.05
KEPT = 3.0  # logit: at first a velocity is kept for about a second


class Finder(nn.Module):
    """Frames -> share of each cell that each hue and furniture cover, and the shares' moments.

    Trained first and alone. What it computes on the way to a cell is also what the world model's
    encoder sees, which by itself told furniture from room far worse.
    """

    def __init__(self, hues: int) -> None:
        super().__init__()
        self.hues = hues
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(48, FEATURES, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(FEATURES, hues + 1, 1),
        )
        axis = (torch.arange(CELLS) + 0.5) / CELLS * 2 - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        basis = torch.stack([torch.ones_like(x), x, y, x * x, y * y]).reshape(5, -1)
        self.register_buffer("basis", basis.T.contiguous(), persistent=False)

    def cells(self, frame: Tensor) -> Tensor:
        """(N,3,64,64) in 0..1 -> logits (N,H+1,16,16); the last is furniture."""
        out: Tensor = self.net(frame - 0.5)
        return out

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """(N,3,64,64) in 0..1 -> features (N,48,16,16) and moments (N,H+1,6)."""
        features = self.net[:-1](frame - 0.5)
        return features, self.moments(self.net[-1](features))

    def moments(self, logits: Tensor) -> Tensor:
        """Logits (N,C,16,16) -> mass, centre, spread and peak of each (N,C,6)."""
        share = torch.sigmoid(logits).flatten(2)
        sharp = share * share  # a faint haze over the picture would pull the centre to its middle
        raw = sharp @ self.basis
        mass = raw[..., 0:1]
        mean, second = raw[..., 1:3] / (mass + 0.1), raw[..., 3:5] / (mass + 0.1)
        spread = ((second - mean * mean).clamp(min=0) + 1e-4).sqrt()
        return torch.cat([torch.log1p(mass), mean, spread, share.amax(-1, keepdim=True)], -1)


class People(nn.Module):
    """The filter of every slot: predict with the body's motion, correct with the moments seen."""

    def __init__(self, senses: int, memory: int, width: int = 64) -> None:
        super().__init__()
        self.memory = memory  # a slot's recurrent state; its motion comes after it
        self.slot = memory + MOTION
        self.ego = nn.Linear(senses, 2)  # the base's turn [rad] and way [m] since the last frame
        self.inputs = nn.Sequential(
            nn.Linear(MOTION + MOMENTS + 1 + senses, width), nn.LayerNorm(width), nn.ReLU()
        )
        self.gates = nn.Linear(width + memory, 3 * memory)
        self.gate_norm = nn.LayerNorm(3 * memory)
        self.move = nn.Sequential(nn.Linear(width + memory, width), nn.ReLU(), nn.Linear(width, 8))
        self.say = nn.Linear(memory, 3)  # seen logit, log sigma, time since seen
        with torch.no_grad():
            self.ego.weight.zero_()
            self.ego.bias.zero_()

    def forward(
        self,
        slots: Tensor,
        senses: Tensor,
        moments: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Slots (N,H,S) one frame later.

        `senses` (N,V) are measured or imagined, `moments` (N,H,6) count where `present` (N,1) is 1;
        without them nothing is seen.
        """
        memory, place, velocity = slots.split([self.memory, 2, 2], -1)
        turn, way = self.ego(senses)[:, None].split(1, -1)
        place = turned(place + velocity * FRAME_S - F.pad(way, (0, 1)), turn)
        velocity = turned(velocity, turn)
        n, h = slots.shape[:2]
        if moments is None or present is None:
            seen = slots.new_zeros(n, h, MOMENTS + 1)
        else:
            there = present[:, None].expand(n, h, 1)
            seen = torch.cat([moments * there, there], -1)
        around = senses[:, None].expand(n, h, senses.shape[-1])
        row = torch.cat([place / ROOM_M, velocity, seen, around], -1).flatten(0, 1)
        memory, place, velocity = (v.flatten(0, 1) for v in (memory, place, velocity))
        x = self.inputs(row)
        r, c, u = self.gate_norm(self.gates(torch.cat([x, memory], -1))).split(self.memory, -1)
        u = torch.sigmoid(u - 1)
        memory = u * torch.tanh(torch.sigmoid(r) * c) + (1 - u) * memory
        out = self.move(torch.cat([x, memory], -1))
        trust, jump, walk, renew, pace = out.split([1, 2, 2, 1, 2], -1)
        place = place + torch.sigmoid(trust) * (jump * ROOM_M - place) + torch.tanh(walk) * STEP_M
        # at most 1 m/s to each axis: the twin's people walk 0.65
        velocity = velocity + torch.sigmoid(renew - KEPT) * (torch.tanh(pace) - velocity)
        return torch.cat([memory, place, velocity], -1).reshape(n, h, -1)

    def fields(self, slots: Tensor) -> Tensor:
        """(...,H,S) -> (...,H,5): see PERSON_FIELDS."""
        memory, place, _ = slots.split([self.memory, 2, 2], -1)
        said = self.say(memory.reshape(-1, self.memory)).reshape(*slots.shape[:-1], 3)
        seen, width, since = said.split(1, -1)
        return torch.cat([seen, place, width, since], -1)


def turned(vector: Tensor, turn: Tensor) -> Tensor:
    """Vectors (N,H,2) of the base frame, after the base turned to the left by `turn` (N,1,1) [rad]."""
    x, y = vector.split(1, -1)
    c, s = torch.cos(turn), torch.sin(turn)
    return torch.cat([c * x + s * y, c * y - s * x], -1)


def finder_loss(finder: Finder, frames: Tensor, cells: Tensor) -> Tensor:
    """Share of each cell that each hue and furniture cover; cells (N,H+1,16,16) in 0..1."""
    out = F.binary_cross_entropy_with_logits(finder.cells(frames), cells, reduction="none")
    return out.sum((1, 2, 3)).mean()
