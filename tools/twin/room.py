"""The empty room as the camera's rays meet it: floor, walls and ceiling in closed form.

Six planes need no ray caster: a few vector operations give distance, and one look-up in an atlas
of painted faces gives colour.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tools.twin.domain import STANDARD, Drawn
from tools.twin.scene import ROOM_HALF_M, ROOM_HEIGHT_M, Scene

Float32 = npt.NDArray[np.float32]

CELLS = 128  # texels per face side
CELL_M = 2 * ROOM_HALF_M / CELLS
FLOOR, CEILING = 4, 5
# How much of the lamps' light reaches walls -x +x -y +y, floor, ceiling.
LIGHT = (0.72, 0.88, 0.80, 0.96, 1.0, 0.75)


def paint(rng: np.random.Generator, scene: Scene, drawn: Drawn = STANDARD) -> Float32:
    """(6 * CELLS * CELLS, 3) lit colours of all faces, linear; u across, v up (floor: y)."""
    faces = [_wall(rng, np.array(rgb), drawn.wall_contrast) for rgb in scene.wall_rgb[:4]]
    faces.append(_floor(rng, np.array(scene.wall_rgb[FLOOR]), scene, drawn))
    faces.append(_ceiling(np.array(scene.wall_rgb[CEILING])))
    lit = [face * light**drawn.room_contrast for face, light in zip(faces, LIGHT, strict=True)]
    return np.concatenate([f.reshape(-1, 3) for f in lit]).astype(np.float32)


def _wall(
    rng: np.random.Generator, rgb: npt.NDArray[np.float64], contrast: float
) -> npt.NDArray[np.float64]:
    """Panels of unlike brightness, a darker skirting, a few dark pictures and a door."""
    panels = int(rng.integers(5, 10))
    edges = np.sort(rng.integers(0, CELLS, panels))
    panel = np.searchsorted(edges, np.arange(CELLS))
    brightness = (rng.uniform(0.55, 1.1, panels + 1) ** contrast)[panel]
    face = np.ones((CELLS, CELLS, 1)) * rgb * brightness[:, None, None]
    band = int(rng.integers(14, 22))  # 0.7-1.1 m up
    face[:, :band] *= rng.uniform(0.6, 0.85)
    face[:, :2] *= 0.4
    for _ in range(int(rng.integers(2, 5))):
        u, v = rng.integers(0, CELLS - 20), rng.integers(14, 32)
        wide, high = rng.integers(6, 20), rng.integers(6, 14)
        face[u : u + wide, v : v + high] *= rng.uniform(0.25, 0.7)
    door = int(rng.integers(0, CELLS - 18))
    face[door : door + 18, :41] = rgb * rng.uniform(0.3, 0.5)
    return np.clip(face, 0.02, 1.0)


def _floor(
    rng: np.random.Generator, rgb: npt.NDArray[np.float64], scene: Scene, drawn: Drawn
) -> npt.NDArray[np.float64]:
    """Tiles, light and dark in turn with their own tone, and a soft shadow under furniture."""
    cells = 2 ** min(4, max(1, round(math.log2(drawn.tile_m / CELL_M))))  # divides CELLS
    tiles = CELLS // cells
    tone = rng.uniform(0.85, 1.1, (tiles, tiles))
    tone *= np.where(np.indices((tiles, tiles)).sum(0) % 2, 0.55, 0.95)
    tone **= drawn.floor_contrast
    face = np.kron(tone, np.ones((cells, cells)))[:, :, None] * rgb
    centres = (np.arange(CELLS) + 0.5) * CELL_M - ROOM_HALF_M
    for o in scene.obstacles:
        away = np.hypot(centres[:, None] - o.x_m, centres[None, :] - o.y_m) - o.radius_m
        face *= np.clip(0.55 + away / 0.25, 0.55, 1.0)[:, :, None]
    return np.clip(face, 0.02, 1.0)


def _ceiling(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Plain, with square lamps every 1.6 m."""
    face = np.ones((CELLS, CELLS, 1)) * rgb
    lamp = (np.arange(CELLS) % 32) < 10
    face[np.ix_(lamp, lamp)] = 1.3
    return face


def intersect(
    origin: npt.NDArray[np.float64], rays: Float32
) -> tuple[Float32, npt.NDArray[np.int64], Float32]:
    """From (3,) inside the room along (3, N) rays: distance (N,), atlas index (N,), hit (3, N)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        high = np.array([ROOM_HALF_M, ROOM_HALF_M, ROOM_HEIGHT_M], np.float32) - origin
        low = np.array([-ROOM_HALF_M, -ROOM_HALF_M, 0.0], np.float32) - origin
        forward = rays > 0
        wall = np.where(forward, high.astype(np.float32)[:, None], low.astype(np.float32)[:, None])
        reach = wall / rays  # (3, N)
    np.abs(reach, out=reach)  # a ray along a wall never meets it: infinitely far, on either side
    sideways = reach[1] < reach[0]
    distance = np.minimum(reach[0], reach[1])
    flat = reach[2] < distance
    distance = np.minimum(distance, reach[2])
    hit = rays * distance + origin.astype(np.float32)[:, None]
    face = np.where(
        flat, forward[2] + np.int64(FLOOR), np.where(sideways, forward[1] + 2, forward[0])
    )
    u = np.where(sideways | flat, hit[0], hit[1]) + np.float32(ROOM_HALF_M)
    v = np.where(flat, hit[1] + np.float32(ROOM_HALF_M), hit[2])
    scale = np.float32(1 / CELL_M)
    column, row = _cell(u * scale), _cell(v * scale)
    return distance, (face * CELLS + column) * CELLS + row, hit


def _cell(at: Float32) -> npt.NDArray[np.int64]:
    cell = at.astype(np.int64)
    np.maximum(cell, 0, out=cell)
    np.minimum(cell, CELLS - 1, out=cell)
    return cell
