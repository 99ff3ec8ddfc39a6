"""Episodes in a mirror: the same room with left and right exchanged, which is another room.

Body, camera and people know no left and right, and the expert drives as well in one as in the
other, so every episode teaches twice (augmentation by symmetry). What a world model has seen is new
to it in a mirror, and may teach a policy.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from models.batch import Batch
from models.layout import GOAL_FIELDS, GOAL_SIZE, Layout

IMU_TURNED = (1, 3, 5)  # accel y; gyro x and z: rates are axial vectors
GOAL_TURNED = tuple(GOAL_FIELDS.index(name) for name in ("y_m", "sin_heading"))


class Mirror:
    """Mirrors batches (E,T,...) of one body's episodes; its camera looks along its middle.

    The expert's search begins to the left where nothing says which side, and in a mirror that would be
    wrong; head and base say it when the head's yaw and the turn of `lead_s` are more than `side_rad`.
    """

    def __init__(self, layout: Layout, side_rad: float, lead_s: float) -> None:
        names = [j.name for j in layout.joints]
        self._action = _exchanged(names)
        self._proprio = _exchanged(list(layout.proprio_names))
        self._imu = _signs(6, IMU_TURNED)
        self._goal = _signs(GOAL_SIZE, GOAL_TURNED)
        self._xy = _signs(2, (1,))
        self._yaw = layout.index("head_yaw.position")
        self._side_rad, self._per_gyro = side_rad, layout.gyro_scale_rad_s * lead_s

    def __call__(self, batch: Batch) -> Batch:
        """A batch mirrored: what of `models/training.py` has a left and a right; the rest as it is."""
        turned = {
            "frame": lambda v: v.flip(-2),
            "classes": lambda v: v.flip(-1),
            "imu": lambda v: v * self._imu,
            "proprio": lambda v: _swapped(v, self._proprio),
            "odometry": torch.neg,
            "action": lambda v: _swapped(v, self._action),
            "person_xy": lambda v: v * self._xy,
            "tick_proprio": lambda v: _swapped(v, self._proprio),
            "tick_imu": lambda v: v * self._imu,
            "expert": lambda v: _swapped(v, self._action),
            "goal": lambda v: v * self._goal,
            "near": lambda v: v.flip(-1).roll(1, -1),  # sector 0 is in front
        }
        return {key: turned[key](v) if key in turned else v for key, v in batch.items()}

    def decided(self, batch: Batch) -> Tensor:
        """(E,T) bool: somebody in view, or head and base lead to a side."""
        lead = batch["imu"][..., 5].mean(-1) * self._per_gyro
        if self._yaw is not None:
            lead = lead + batch["proprio"][..., self._yaw]
        return (lead.abs() > self._side_rad) | (batch["person_seen"].sum(-1) > 0)


def _exchanged(names: list[str]) -> tuple[Tensor, Tensor]:
    """Where each value comes from, left and right exchanged, and which change their sign."""
    swap = {"left": "right", "right": "left"}
    other = ["".join(swap.get(word, word) for word in _words(name)) for name in names]
    turned = tuple(i for i, name in enumerate(names) if "yaw" in _words(name))
    return torch.tensor([names.index(name) for name in other]), _signs(len(names), turned)


def _words(name: str) -> list[str]:
    """`wheel_left.velocity` -> its words with what stands between them."""
    return re.split(r"([_.])", name)


def _swapped(values: Tensor, exchanged: tuple[Tensor, Tensor]) -> Tensor:
    order, sign = exchanged
    return values.index_select(-1, order) * sign


def _signs(count: int, turned: tuple[int, ...]) -> Tensor:
    """On torch's default device, as all that a mirror holds."""
    return torch.tensor([-1.0 if i in turned else 1.0 for i in range(count)])
