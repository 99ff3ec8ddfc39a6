"""Which ways up has a sensor been held? 32 cells of the sphere, and the ways that are missing."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEAR_DEG = 40.0  # a way up counts as shown within this
GOLDEN = (1 + 5**0.5) / 2


def cells() -> Floats:
    """(32, 3) unit vectors: faces of a football (12 corners of an icosahedron, 20 of its dual)."""
    corners = [np.roll((0.0, a, b * GOLDEN), k) for k in range(3) for a in (1, -1) for b in (1, -1)]
    cube = [np.array(c, float) for c in itertools.product((1, -1), repeat=3)]
    dual = [np.roll((0.0, a * GOLDEN, b / GOLDEN), k) for k in range(3) for a in (1, -1) for b in (1, -1)]  # fmt: skip
    found = np.array(corners + cube + dual)
    unit: Floats = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def covered(ways: Floats) -> npt.NDArray[np.bool_]:
    """(N, 3) unit vectors -> (32,) whether one of them is in the cell."""
    return np.isin(np.arange(32), np.argmax(ways @ cells().T, axis=1))


def missing(ways: Floats) -> list[str]:
    """The ways up that no pose showed, in words: `Z down` is the z axis pointing at the floor.

    `ways` (N, 3) are unit vectors of what an accelerometer shows at rest: up, in the sensor's frame.
    """
    near = np.cos(np.deg2rad(NEAR_DEG))
    words = []
    for axis, sign in itertools.product(range(3), (1, -1)):
        if not (ways[:, axis] * sign > near).any():
            words.append(f"{'XYZ'[axis]} {'up' if sign > 0 else 'down'}")
    return words or _hole(ways)


def _hole(ways: Floats) -> list[str]:
    """The emptiest cell, named by the axes that point up in it; empty where all cells are shown."""
    empty = cells()[~covered(ways)]
    if not len(empty):
        return []
    way = empty[np.argmin((empty @ ways.T).max(axis=1))]
    named = [(abs(v), f"{'XYZ'[i]} {'up' if v > 0 else 'down'}") for i, v in enumerate(way) if abs(v) > 0.3]  # fmt: skip
    return ["half " + " and half ".join(name for _, name in sorted(named, reverse=True))]
