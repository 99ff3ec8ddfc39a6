"""What of a seed's twin is known without building it: its scene, its lens, its calibration."""

from __future__ import annotations

import numpy as np

from calibration.camera import LensCamera
from calibration.store import CameraRecord, CameraResult
from runtime.body import Body
from tools.twin.camera import made_lens
from tools.twin.scenario import Scenario
from tools.twin.scene import Scene, draw_scene

SCENE, PEOPLE, IMU, CAMERA = range(4)  # purposes a seed is split by, as in `Twin.reset`


def scene_of(seed: int, scenario: Scenario) -> Scene:
    """The scene a seed draws."""
    return draw_scene(np.random.default_rng((seed, SCENE)), scenario)


def lens_of(body: Body, seed: int) -> LensCamera:
    """The lens of the specimen a seed builds: what its factory calibration says."""
    return made_lens(body, np.random.default_rng((seed, CAMERA)))


def factory_calibration(body: Body, seed: int, date: str, version: str) -> CameraRecord:
    """The camera record a factory would ship with the specimen `twin-<seed>`."""
    return CameraRecord(
        serial=f"twin-{seed}",
        date=date,
        tool="twin",
        tool_version=version,
        verdict="PASS",
        result=CameraResult.of(lens_of(body, seed)),
        residuals={"rms_px": 0.0},
    )
