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
from models.layout import GOAL_FIELDS, Layout

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
        self._yaw = layout.index("head_yaw.position")
        self._side_rad, self._per_gyro = side_rad, layout.gyro_scale_rad_s * lead_s

    def __call__(self, batch: Batch) -> Batch:
        """What cloning reads, mirrored: `frame` ... `goal` of `models/training.py`."""
        sectors = batch["near"].shape[-1]
        return {
            "frame": batch["frame"].flip(-2),
            "imu": _turned(batch["imu"], IMU_TURNED),
            "proprio": self._senses(batch["proprio"]),
            "odometry": -batch["odometry"],
            "action": self._actions(batch["action"]),
            "tick_age_s": batch["tick_age_s"],
            "tick_proprio": self._senses(batch["tick_proprio"]),
            "tick_imu": _turned(batch["tick_imu"], IMU_TURNED),
            "expert": self._actions(batch["expert"]),
            "goal": _turned(batch["goal"], GOAL_TURNED),
            "near": batch["near"][..., [-k % sectors for k in range(sectors)]],
        }

    def decided(self, batch: Batch) -> Tensor:
        """(E,T) bool: somebody in view, or head and base lead to a side."""
        lead = batch["imu"][..., 5].mean(-1) * self._per_gyro
        if self._yaw is not None:
            lead = lead + batch["proprio"][..., self._yaw]
        return (lead.abs() > self._side_rad) | (batch["person_seen"].sum(-1) > 0)

    def _actions(self, values: Tensor) -> Tensor:
        order, turned = self._action
        return _turned(values[..., order], turned)

    def _senses(self, values: Tensor) -> Tensor:
        order, turned = self._proprio
        return _turned(values[..., order], turned)


def _exchanged(names: list[str]) -> tuple[list[int], tuple[int, ...]]:
    """Where each value comes from, left and right exchanged, and which change their sign."""
    swap = {"left": "right", "right": "left"}
    other = ["".join(swap.get(word, word) for word in _words(name)) for name in names]
    turned = tuple(i for i, name in enumerate(names) if "yaw" in _words(name))
    return [names.index(name) for name in other], turned


def _words(name: str) -> list[str]:
    """`wheel_left.velocity` -> its words with what stands between them."""
    return re.split(r"([_.])", name)


def _turned(values: Tensor, places: tuple[int, ...]) -> Tensor:
    sign = torch.ones(values.shape[-1])
    sign[list(places)] = -1
    return values * sign
