"""Training labels from the twin's truth: who is where in the picture and in the room."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.camera import PinholeCamera, remap_table
from tools.train.draft import CAMERA
from tools.twin.scene import HUES
from tools.twin.twin import Twin

SEEN_PX = 6  # of the 64x64 view
PINHOLE = PinholeCamera(CAMERA.width, CAMERA.height, CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy)


def person_of_geom(twin: Twin) -> npt.NDArray[np.int64]:
    """For every geom id the person it belongs to, else -1; one more row for id -1 (the room)."""
    model, ids = twin.model, twin.ids
    out = np.full(model.ngeom + 1, -1, np.int64)
    for person in range(len(twin.people.walkers)):
        mocaps = {ids.trunk_mocap[person], *ids.legs_mocap[person]}
        for geom in range(model.ngeom):
            if model.body_mocapid[model.geom_bodyid[geom]] in mocaps:
                out[geom] = person
    return out


class Labeller:
    """Labels of the last rendered frame of one twin."""

    def __init__(self) -> None:
        self._of_geom: npt.NDArray[np.int64] | None = None
        self._hues = list(HUES)

    def __call__(self, twin: Twin) -> dict[str, Any]:
        """See `models/training.py` for the keys."""
        if self._of_geom is None:
            self._of_geom = person_of_geom(twin)
            map_x, map_y = remap_table(twin.camera.lens, PINHOLE)
            x = np.clip(np.rint(map_x), 0, twin.camera.width - 1).astype(np.int64)
            y = np.clip(np.rint(map_y), 0, twin.camera.height - 1).astype(np.int64)
            self._index = y * twin.camera.width + x
        who = self._of_geom[twin.camera.geom[self._index]]
        count = len(self._hues)
        present, seen = np.zeros(count, np.float32), np.zeros(count, np.float32)
        xy = np.zeros((count, 2), np.float32)
        here_x, here_y, yaw = twin.pose()
        for person, start in enumerate(twin.scene.people):
            hue = self._hues.index(start.look.hue)
            walker = twin.people.walkers[person]
            dx, dy = walker.x - here_x, walker.y - here_y
            present[hue] = 1
            seen[hue] = float(np.count_nonzero(who == person) >= SEEN_PX)
            xy[hue] = (
                math.cos(yaw) * dx + math.sin(yaw) * dy,
                -math.sin(yaw) * dx + math.cos(yaw) * dy,
            )
        return {
            "person_mask": (who >= 0).astype(np.uint8),
            "person_seen": seen,
            "person_present": present,
            "person_xy": xy,
            "bump": np.float32(twin.bumped),
        }
