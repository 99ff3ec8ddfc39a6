"""Whom a goal means that names nobody: the nearest person in clear view, until they are long gone.

A robot is not told what its person wears. A policy that is given no colour steers by a mixture of
everybody that it believes in, which is nobody; so somebody is chosen, and kept.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from runtime.sight import SEEN, SIGMA_M

Float32 = npt.NDArray[np.float32]
CLEAR_NS = 300_000_000  # in view for so long without a break: no slip of the eye
KEPT_NS = 10_000_000_000  # out of view for so long: whoever else is there may be meant
UNSEEN_S = 0.3  # unseen for longer they are remembered, whatever `seen` says
# Of the distance: a shirt's worth of yellow cupboard is "seen", too, but nowhere in particular: at a metre
# a quarter of one uncertain, where of a person it says 2 cm.
# `Sight` is content with less: asked this strictly, it found people again later than they were seen.
SIGMA_SHARE, SIGMA_LEAST_M, SIGMA_MOST_M = 0.1, 0.05, SIGMA_M
SHIRT = 0.9, 0.85  # saturation and value of a shirt as bundles know them


class Whom:
    """Feed it what the belief says of everybody, frame by frame; `name` and `colour` say the rest."""

    def __init__(self, hues: Mapping[str, float]) -> None:
        self._names, self._hues = list(hues), list(hues.values())
        self._chosen: int | None = None
        self._chosen_seen_ns = 0
        self._clear_since_ns = [-1] * len(hues)  # -1: not in clear view
        self.can_choose = bool(hues)  # the bundle tells people apart, and its belief names them

    @property
    def name(self) -> str:
        """The chosen person's hue; empty while there is nobody."""
        return "" if self._chosen is None else self._names[self._chosen]

    @property
    def colour(self) -> Float32:
        """(3,) RGB of the chosen person's shirt; the first hue's while there is nobody."""
        hue = self._hues[self._chosen or 0]
        return np.array(colorsys.hsv_to_rgb(hue, *SHIRT), np.float32)

    def forget(self) -> None:
        """Choose anew; who is in clear view still is."""
        self._chosen = None

    def step(self, t_ns: int, people: Float32) -> None:
        """Take in one frame's people (H,5), as `World.people` gives them."""
        self.can_choose = 0 < len(self._hues) <= len(people)
        if not self.can_choose:
            return
        for k, person in enumerate(people[: len(self._hues)]):
            if not in_clear_view(person):
                self._clear_since_ns[k] = -1
            elif self._clear_since_ns[k] < 0:
                self._clear_since_ns[k] = t_ns
        if self._chosen is not None:
            if self._clear_since_ns[self._chosen] >= 0:
                self._chosen_seen_ns = t_ns
            if t_ns - self._chosen_seen_ns < KEPT_NS:
                return
        clear = [k for k, since in enumerate(self._clear_since_ns) if 0 <= since <= t_ns - CLEAR_NS]
        if clear:
            self._chosen = min(clear, key=lambda k: math.hypot(people[k][1], people[k][2]))
            self._chosen_seen_ns = t_ns


def in_clear_view(person: Float32) -> bool:
    """Whether somebody (5,), as `World.people` gives them, is in sight and somewhere for sure."""
    seen, x, y, sigma_m, unseen_s = (float(v) for v in person)
    share_m = max(SIGMA_LEAST_M, SIGMA_SHARE * math.hypot(x, y))
    return seen > SEEN and unseen_s < UNSEEN_S and sigma_m < min(SIGMA_MOST_M, share_m)
