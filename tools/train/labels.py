"""Training labels from the twin's truth: who is where in the picture and in the room."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.camera import PinholeCamera, remap_table
from models.sizes import Sizes
from models.world import UNSEEN_FULL_S
from tools.train.draft import CAMERA
from tools.twin.scene import HUES, ROOM_HALF_M
from tools.twin.twin import Twin
from tools.twin.world import OBSTACLE, RING_RADIUS_M

SECTORS = Sizes.sectors
NEAR_M = 1.2
CELLS, PX = 16, 4  # cells a side, pixels a cell
FRAME_S = 0.05
SEEN_PX = 6  # of the 64x64 view
PINHOLE = PinholeCamera(CAMERA.width, CAMERA.height, CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy)


def nearness(twin: Twin) -> npt.NDArray[np.float32]:
    """(S,) per sector around the body (the first straight ahead, counter-clockwise): 1 touching, 0 far."""
    x, y, yaw = twin.pose()
    centres = np.arange(SECTORS) * 2 * np.pi / SECTORS
    gap = np.full(SECTORS, NEAR_M)
    for o in twin.scene.obstacles:
        away = math.hypot(o.x_m - x, o.y_m - y)
        bearing = math.atan2(o.y_m - y, o.x_m - x) - yaw
        off = np.abs((centres - bearing + np.pi) % (2 * np.pi) - np.pi)
        seen = math.asin(min(1.0, o.radius_m / max(away, 1e-6))) + np.pi / SECTORS
        distance = away - o.radius_m - RING_RADIUS_M
        gap = np.where(off < seen, np.minimum(gap, distance), gap)
    along = np.stack([np.cos(centres + yaw), np.sin(centres + yaw)])
    room = np.where(
        along > 0, ROOM_HALF_M - np.array([[x], [y]]), ROOM_HALF_M + np.array([[x], [y]])
    )
    walls = (room / np.maximum(np.abs(along), 1e-6)).min(0) - RING_RADIUS_M
    gap = np.minimum(gap, walls)
    near: npt.NDArray[np.float32] = np.clip(1 - gap / NEAR_M, 0, 1).astype(np.float32)
    return near


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
    """Labels of the last rendered frame of one twin; call it once per frame."""

    def __init__(self) -> None:
        self._of_geom: npt.NDArray[np.int64] | None = None
        self._hues = list(HUES)
        self._unseen = np.full(len(HUES), UNSEEN_FULL_S)

    def __call__(self, twin: Twin) -> dict[str, Any]:
        """See `models/training.py` for the keys."""
        if self._of_geom is None:
            self._prepare(twin)
        geom = twin.camera.geom[self._index]
        classes = self._class_of_geom[geom].reshape(PINHOLE.height, PINHOLE.width)
        count = len(self._hues)
        present, seen = np.zeros(count, np.float32), np.zeros(count, np.float32)
        xy = np.zeros((count, 2), np.float32)
        here_x, here_y, yaw = twin.pose()
        for person, start in enumerate(twin.scene.people):
            hue = self._hues.index(start.look.hue)
            walker = twin.people.walkers[person]
            dx, dy = walker.x - here_x, walker.y - here_y
            present[hue] = 1
            seen[hue] = float(np.count_nonzero(classes == hue + 1) >= SEEN_PX)
            xy[hue] = (
                math.cos(yaw) * dx + math.sin(yaw) * dy,
                -math.sin(yaw) * dx + math.cos(yaw) * dy,
            )
        self._unseen = np.where(seen > 0, 0.0, np.minimum(self._unseen + FRAME_S, UNSEEN_FULL_S))
        return {
            "classes": classes,
            "cells": cells_of(classes, count + 1),
            "near": nearness(twin),
            "person_seen": seen,
            "person_present": present,
            "person_since": (self._unseen / UNSEEN_FULL_S).astype(np.float32),
            "person_xy": xy,
            "bump": np.float32(twin.bumped),
        }

    def _prepare(self, twin: Twin) -> None:
        """Tables: class of each geom, and which device pixel each pinhole pixel is."""
        self._of_geom = person_of_geom(twin)
        table = np.zeros(len(self._of_geom), np.uint8)
        table[twin.camera.classes == OBSTACLE] = len(self._hues) + 1
        for person, start in enumerate(twin.scene.people):
            table[self._of_geom == person] = self._hues.index(start.look.hue) + 1
        self._class_of_geom = table
        map_x, map_y = remap_table(twin.camera.lens, PINHOLE)
        x = np.clip(np.rint(map_x), 0, twin.camera.width - 1).astype(np.int64)
        y = np.clip(np.rint(map_y), 0, twin.camera.height - 1).astype(np.int64)
        self._index = y * twin.camera.width + x


def cells_of(classes: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """(64,64) classes -> (count,16,16) share of each cell that class 1, 2, ... covers, of 255."""
    which = np.arange(1, count + 1, dtype=np.uint8)[:, None, None]
    covered = (classes[None] == which).reshape(count, CELLS, PX, CELLS, PX).sum((2, 4))
    shares: npt.NDArray[np.uint8] = (covered * (255 / PX**2)).astype(np.uint8)
    return shares
