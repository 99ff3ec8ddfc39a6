"""What a run's watch over calibrations is told: the body's wheels, head and camera, and where it keeps."""

from __future__ import annotations

from calibration.camera import PinholeCamera
from calibration.watch_blocks import Base
from calibration.watch_monitor import Watched
from models.manifest import CameraSpec
from runtime.body import Body
from runtime.odometry import WheelGeometry
from runtime.watch import WatchConfig
from tools.compose import Setup


def watched(body: Body, wheels: WheelGeometry, camera: CameraSpec) -> Watched:
    """A body with these wheels, seen through this virtual camera."""
    names = body.joint_names
    return Watched(
        Base(wheels.left_m, wheels.right_m, wheels.track_m),
        PinholeCamera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy),
        *(names.index(n) if n in names else -1 for n in ("head_yaw", "head_pitch")),
    )


def watch_config(setup: Setup, wall_offset_ns: int | None = None) -> WatchConfig | None:
    """Of a run; None where there is no body. It keeps what it learns where a wall clock dates it."""
    serials = setup.serials()
    if not (setup.has_body and serials["mcu"]):
        return None
    seen = watched(setup.body, setup.wheels(), setup.bundle.manifest.camera)
    folder = None if wall_offset_ns is None else setup.calibration_folder()
    return WatchConfig(seen, serials, folder, wall_offset_ns)
