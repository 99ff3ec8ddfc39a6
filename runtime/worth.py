"""What an imagined moment is worth to a skill that keeps a distance to somebody in view.

The reward of following is the twin's: 1 at the distance that is asked for, 0 a metre from it, and
nothing while nobody is seen (`tools/twin/judge.py`). Of all this the belief's slots say where the
person is to a few centimetres, which a reward head that reads a whole room does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.layout import Layout
from models.world import Imagined
from runtime.goal import MASK, VALUES
from runtime.sight import nearest_hue
from runtime.whom import in_clear_view

Float32 = npt.NDArray[np.float32]
EDGE_RAD = math.radians(3)  # over so much of the view's edge somebody comes into sight


class Worth:
    """Ask `person` once per frame, then `of` for every imagined step."""

    def __init__(self, layout: Layout, hues: Mapping[str, float], half_view_rad: float) -> None:
        self._hues, self._half_view_rad = list(hues.values()), half_view_rad
        self._head = layout.index("head_yaw.position")

    def person(self, people: Float32, goal: Float32) -> int | None:
        """Whose slot counts: who is named and kept at a distance, in clear view; else None.

        Args:
            people: (H,5) as `World.people` gives them.
            goal: (12,) at their frame.
        """
        keeps = goal[MASK["appearance"]] and goal[MASK["distance"]]
        if not keeps or not self._hues or len(people) < len(self._hues):
            return None
        index = nearest_hue(goal[VALUES["appearance"]], self._hues)
        return index if in_clear_view(people[index]) else None

    def of(self, imagined: Imagined, person: int, distance_m: float) -> Float32:
        """(N,) in 0..1 of imagined beliefs."""
        x, y = imagined.person[:, person, 1], imagined.person[:, person, 2]
        near = np.maximum(0, 1 - np.abs(np.hypot(x, y) - distance_m))
        head = 0.0 if self._head is None else imagined.senses[:, self._head]
        off = np.arctan2(y, x) - head
        off = np.abs((off + math.pi) % (2 * math.pi) - math.pi)
        seen = 1 / (1 + np.exp(np.clip((off - self._half_view_rad) / EDGE_RAD, -50, 50)))
        out: Float32 = near * seen
        return out
