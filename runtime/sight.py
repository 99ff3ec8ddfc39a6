"""Whether the robot still knows where the person of its goal is: lost from view, it had better search.

A policy that follows waits for who went behind something, and looks where they were; it was never
sure which way to turn when that did not help, and turned to and fro. Searching is a skill of its
own that goes all the way around. Who only looks at somebody waits for them: they come out again, and
a robot that stays where it is had better not look away.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from runtime.goal import MASK, VALUES

Float32 = npt.NDArray[np.float32]
SEEN, LOST_NS = 0.6, 1_000_000_000
SIGMA_M = 0.3  # a place less certain than this is none


class Sight:
    """Feed it what the belief says of everybody, frame by frame; `lost` says the rest."""

    def __init__(self, hues: Mapping[str, float]) -> None:
        self._hues = list(hues.values())
        self._seen_ns = 0
        self.lost = False

    def forget(self, t_ns: int) -> None:
        """From now on as if they had just been in view."""
        self._seen_ns, self.lost = t_ns, False

    def step(self, t_ns: int, people: Float32, goal: Float32) -> None:
        """Take in one frame.

        Args:
            t_ns: its time.
            people: (H,5) as `World.people` gives them; fewer than the hues count as nobody asked for.
            goal: (12,) with the person's colour and the distance to keep; without both nobody is lost.
        """
        keeps = goal[MASK["appearance"]] and goal[MASK["distance"]]
        if not keeps or not self._hues or len(people) < len(self._hues):
            self.forget(t_ns)
            return
        seen, _x, _y, sigma_m, _since = people[nearest_hue(goal[VALUES["appearance"]], self._hues)]
        if seen > SEEN and sigma_m < SIGMA_M:
            self.forget(t_ns)
        elif t_ns - self._seen_ns > LOST_NS:
            self.lost = True


def nearest_hue(rgb: Float32, hues: list[float]) -> int:
    """Index of the hue (0..1, around a circle) nearest to a colour's (3,)."""
    hue = colorsys.rgb_to_hsv(*(float(v) for v in rgb))[0]
    return int(np.argmin([abs((hue - h + 0.5) % 1 - 0.5) for h in hues]))
