"""Open-loop checks while running: predict k frames ahead from one belief, then meet what came.

Each rollout starts from a posterior, steps through the prior with the actions that were really
sent, and is compared at k = 1, 5, 10, 20 frames with the frame that came, beside persistence
(the start frame unchanged). Prediction = decoder of the mean of N sampled beliefs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.since import Senses, Since
from models.world import World
from runtime.channels import Writer

Float32 = npt.NDArray[np.float32]
STEPS = (1, 5, 10, 20)
PAUSE = 40  # frames between two rollouts: it is a check, not the work


class OpenLoop:
    """One rollout at a time, advanced by one imagined step per frame."""

    def __init__(self, world: World, senses: Senses, writer: Writer) -> None:
        self._world = world
        self._since = Since(senses)
        self._writer = writer
        self._beliefs: Float32 | None = None
        self._start: Float32 = np.zeros(0, np.float32)
        self._k = 0
        self._wait = 0

    def meet(
        self, t_ns: int, seen: Float32, belief: Float32, proprio: Float32, action: Float32
    ) -> None:
        """Step under the action (A,) sent since the last frame, and compare with the frame seen.

        Args:
            t_ns: time of the frame.
            seen: (3,64,64) in 0..1.
            belief: (B,) posterior of this frame, from which the next rollout may start.
            proprio: (P,) senses at this frame.
            action: (A,) mean sent action of the window that ended with this frame.
        """
        if self._world.candidates == 0:
            return
        if self._beliefs is not None:
            imagined = self._world.imagine(self._beliefs, action)
            self._beliefs[...] = imagined.beliefs
            self._since.step(imagined.senses.mean(0))
            self._k += 1
            if self._k in STEPS:
                self._compare(t_ns, seen)
        if self._k >= STEPS[-1]:
            self._beliefs, self._k, self._wait = None, 0, PAUSE
        if self._beliefs is None:
            self._wait -= 1
        if self._beliefs is None and self._wait < 0 and np.isfinite(belief).all():
            self._beliefs = np.repeat(belief[None], self._world.candidates, 0)
            self._start = seen.copy()
            self._since.start(proprio, self._world.innovation)
            self._k = 0

    def _compare(self, t_ns: int, seen: Float32) -> None:
        assert self._beliefs is not None
        predicted = self._world.decode(self._beliefs.mean(0), self._start, self._since)
        record = self._writer.record
        record["k"] = self._k
        record["model"] = float(((predicted - seen) ** 2).mean())
        record["persistence"] = float(((self._start - seen) ** 2).mean())
        self._writer.publish(t_ns)
