"""The live page of `calibrate imu-multi record`: which way to hold it, and which ways were held."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from calibration.pose_guidance import POSES, PoseAdvice, PoseGuide
from calibration.sphere import cells
from tools.calibrate.guidance_page import LivePage

HTML = Path(__file__).with_name("poses.html")


class PosePage(LivePage):
    """Serve from `with` to its end; `show` swaps what is served."""

    def __init__(self, port: int) -> None:
        super().__init__(port, HTML)
        self._cells = np.round(cells(), 3).tolist()

    def show(self, advice: PoseAdvice, guide: PoseGuide) -> None:
        """The newest advice, and the sphere in the robot's axes."""
        self.publish({
            "text": advice.text,
            "done": advice.done,
            "share": round(advice.share, 4),
            "poses": len(guide.ways),
            "wanted": POSES,
            "still": advice.still,
            "held": round(advice.held, 3),
            "up": np.round(advice.up, 3).tolist(),
            "target": None if advice.target is None else np.round(advice.target, 3).tolist(),
            "cells": self._cells,
            "shown": guide.cells.tolist(),
        })  # fmt: skip

    def wait(self, seconds: float) -> None:
        """The twin is faster than an eye."""
        if self.polled:
            time.sleep(seconds)
