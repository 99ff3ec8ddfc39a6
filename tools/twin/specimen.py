"""What of a seed's twin is known without building it: its scene, its lens, its calibration."""

from __future__ import annotations

import numpy as np

from calibration.camera import LensCamera
from calibration.store import Record, camera_result
from runtime.body import Body
from runtime.lockstep import MS, Latency
from tools.twin.camera import made_lens
from tools.twin.domain import NOMINAL, Domain, Drawn
from tools.twin.scenario import Scenario
from tools.twin.scene import Scene, draw_scene

SCENE, PEOPLE, IMU, CAMERA = range(4)  # purposes a seed is split by, as in `Twin.reset`


def scene_of(seed: int, scenario: Scenario) -> Scene:
    """The scene a seed draws."""
    rng = np.random.default_rng((seed, SCENE))
    return draw_scene(rng, scenario, scenario.domain.draw(seed))


def lens_of(body: Body, seed: int, domain: Domain = NOMINAL) -> LensCamera:
    """The lens of the specimen a seed builds: what its factory calibration says."""
    return made_lens(body, np.random.default_rng((seed, CAMERA)), domain.draw(seed))


def latency_of(seed: int, domain: Domain) -> Latency:
    """The latencies of a seed's robot in lockstep."""
    return Latency.draw(seed) if domain == NOMINAL else drawn_latency(domain.draw(seed))


def drawn_latency(drawn: Drawn) -> Latency:
    """Drawn latencies as lockstep takes them."""
    ms = (drawn.camera_ms, drawn.serial_ms, drawn.controller_ms, drawn.perception_ms, drawn.mind_ms)
    return Latency(*(round(t * MS) for t in ms))


def factory_calibration(
    body: Body, seed: int, date: str, version: str, domain: Domain = NOMINAL
) -> Record:
    """The camera record a factory would ship with the specimen `twin-<seed>`."""
    return Record(
        kind="camera",
        serial=f"twin-{seed}",
        date=date,
        tool_version=version,
        verdict="PASS",
        cause="the twin's own lens",
        next="nothing",
        result=camera_result(lens_of(body, seed, domain)),
        quality={"rms_px": 0.0},
    )
