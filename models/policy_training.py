"""Behaviour cloning of the policy on the frozen world model's beliefs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from models.batch import Batch
from models.graphed import Mean, Parts, Repeated, adam, set_rate
from models.mirror import Mirror
from models.networks import Policy, WorldModel
from models.policy_losses import policy_loss
from models.training import Episodes, drawn_from, filtered, generator

# Share of the core's numbers that an update does without (dropout: Srivastava et al. 2014): there are
# few rooms, and a policy that knew them by heart had a tenth more error in others.
DROPPED = 0.4
TICK_KEYS = ("tick_age_s", "tick_proprio", "tick_imu", "expert", "near", "goal")


class PolicyTrainer:
    """Behaviour cloning on the frozen world model's beliefs: cheap, so it can have many rounds.

    Beliefs are those of deployment: posterior mode, filtered from an episode's very start; they are
    kept as halves, for there are a million.
    """

    def __init__(self, world: WorldModel, policy: Policy, seed: int = 0) -> None:
        self.world, self.policy = world.eval(), policy
        self._parts: list[Batch] = []
        self._seed = seed

    def add(self, episodes: Episodes, mirror: Mirror | None = None) -> None:
        """Filter all episodes and keep beliefs, ticks and goals; with a mirror, their mirror images."""
        batch = dict(episodes.data)
        usable = torch.ones(batch["action"].shape[:2], dtype=torch.bool)
        if mirror is not None:
            batch, usable = mirror(batch), mirror.decided(batch)
        batch["mask"] = torch.ones(len(batch["action"]), 3)
        belief, _ = filtered(self.world, batch)
        kept = {k: batch[k][usable] for k in TICK_KEYS}
        kept["belief"] = belief[usable].half()
        self._parts.append(kept)

    def train(
        self,
        updates: int,
        report: Callable[[int, dict[str, float]], None],
        batch: int = 1024,
        rate: float = 1e-3,
        round_number: int = 0,
    ) -> None:
        """Train the policy on all that was added; every round draws numbers of its own."""
        seed = self._seed * 1000 + round_number
        with drawn_from(seed):  # of dropout
            self._train(updates, report, batch, rate, generator(seed))

    def _train(
        self,
        updates: int,
        report: Callable[[int, dict[str, float]], None],
        batch: int,
        rate: float,
        g: torch.Generator,
    ) -> None:
        data = {k: torch.cat([p[k] for p in self._parts]) for k in self._parts[0]}
        count = len(data["belief"])
        optimiser = adam(list(self.policy.parameters()), rate)
        self.policy.train()

        def step() -> Parts:
            index = torch.randint(0, count, (batch,), generator=g)
            picked = {k: v[index][:, None].float() for k, v in data.items()}
            picked["mask"] = torch.ones(batch, 3)
            core, slots = picked["belief"].tensor_split([self.world.s.core], -1)
            belief = torch.cat([F.dropout(core, DROPPED), slots], -1)
            loss = policy_loss(self.policy, belief, picked, g)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            return {"policy": loss.detach()}

        mean, repeated = Mean(), Repeated(step, g)
        for update in range(1, updates + 1):
            set_rate(optimiser, rate * (1 - 0.98 * update / updates))
            mean.add(repeated())
            if update % 500 == 0 or update == updates:
                report(update, mean.take())
