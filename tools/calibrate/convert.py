"""`companion calibrate convert`: one calibration in another tool's format."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from calibration import formats
from calibration.errors import DataError
from calibration.formats import Camera
from calibration.kalibr import DENSITY_UNITS, ImuNoise, from_imu_yaml, imu_yaml
from calibration.motor_zero import from_lerobot
from runtime.errors import ConfigError
from tools.report import write_whole

Read = Callable[[dict[str, Any]], Camera]
Write = Callable[[Camera], dict[str, Any]]
TREES: dict[str, tuple[Read, Write]] = {
    "json": (formats.from_canonical, formats.to_canonical),
    "kalibr": (formats.from_kalibr, formats.to_kalibr),
    "ros": (formats.from_ros, formats.to_ros),
    "euroc": (formats.from_euroc, formats.to_euroc),
}
FORMATS = (*TREES, "opencv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `calibrate convert`."""
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="F", help="a calibration: our JSON, Kalibr camchain, ROS CameraInfo, OpenCV, EuRoC sensor.yaml, Caliscope TOML, LeRobot motors")  # fmt: skip
    parser.add_argument("--to", type=Path, required=True, metavar="F", help="the file to write")
    parser.add_argument("--format", choices=FORMATS, required=True, help="of the file to write")
    parser.add_argument("--json", action="store_true", help="print what was read as one JSON object")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Read whatever it is, write what was asked."""
    if args.to.is_dir() or not args.to.parent.is_dir():
        raise ConfigError(
            f"--to {args.to} cannot be written; give a file in a folder that is there"
        )
    found = read_any(args.source)
    tree: dict[str, Any]
    if isinstance(found, ImuNoise):
        tree = _write_noise(args.to, found, args.format)
    elif not isinstance(found, Camera):
        if args.format != "json":
            raise ConfigError(f"{args.source} holds motors; --format json alone can")
        tree = found
        write_whole(args.to, json.dumps(tree, indent=2) + "\n")
    else:
        write_camera(args.to, found, args.format)
        tree = formats.to_canonical(found)
    print(json.dumps(tree) if args.json else f"{args.source} -> {args.to} ({args.format})")
    return 0


def _write_noise(path: Path, found: ImuNoise, form: str) -> dict[str, Any]:
    """An IMU's noise as Kalibr's imu.yaml or our JSON: no other format holds it."""
    tree: dict[str, Any] = {**found.values, "rate_hz": found.rate_hz, "units": DENSITY_UNITS}
    if form not in ("json", "kalibr"):
        raise ConfigError(f"an IMU's noise has no place in {form}; --format kalibr or json")
    write_whole(path, imu_yaml(found) if form == "kalibr" else json.dumps(tree, indent=2) + "\n")
    return tree


def read_any(path: Path) -> Camera | ImuNoise | dict[str, Any]:
    """A camera, an IMU's noise, or LeRobot's motors as a tree; DataError names what the file lacks."""
    if not path.is_file():
        raise DataError(f"no file {path}; give a calibration to convert")
    text = path.read_text(errors="replace")
    try:
        if path.suffix == ".json":
            tree = json.loads(text)
            if isinstance(tree, dict) and tree and all(isinstance(v, dict) and "homing_offset" in v for v in tree.values()):  # fmt: skip
                return {"motors": [asdict(m) for m in from_lerobot(tree)]}
            if isinstance(tree, dict) and "gyroscope_noise_density" in tree:
                return from_imu_yaml(tree)
            return formats.from_canonical(tree)
        if path.suffix == ".toml":
            return formats.from_caliscope(msgspec.toml.decode(text))
        if "opencv-matrix" in text or path.suffix == ".xml":
            return read_opencv(path)
        return _of_yaml(path, text)
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.DecodeError) as error:
        raise DataError(f"{path}: not read as a calibration ({type(error).__name__}: {error}); is it whole?") from error  # fmt: skip


def _of_yaml(path: Path, text: str) -> Camera | ImuNoise:
    import yaml

    try:
        tree = yaml.safe_load("\n".join(x for x in text.splitlines() if not x.startswith("%")))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML: {' '.join(str(error).split())[:100]}") from error
    if not isinstance(tree, dict):
        raise DataError(f"{path} holds no calibration; a YAML with named values expected")
    if any(str(k).startswith("cam") and isinstance(v, dict) and "intrinsics" in v for k, v in tree.items()):  # fmt: skip
        return formats.from_kalibr(tree)
    if "gyroscope_noise_density" in tree or "accelerometer_noise_density" in tree:
        return from_imu_yaml(tree)
    if "camera_matrix" in tree:
        return formats.from_ros(tree)
    if "intrinsics" in tree:
        return formats.from_euroc(tree)
    raise DataError(f"{path}: no cam0, camera_matrix or intrinsics in it; found {', '.join(map(str, tree))[:80]}")  # fmt: skip


def read_opencv(path: Path) -> Camera:
    """A cv2.FileStorage with camera_matrix and distortion_coefficients, as OpenCV's samples write."""
    import cv2

    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)

    def matrix(*names: str) -> Any:
        return next((m for m in (storage.getNode(n).mat() for n in names) if m is not None), None)

    camera = matrix("camera_matrix", "cameraMatrix", "K", "M1")
    distortion = matrix("distortion_coefficients", "dist_coeffs", "distCoeffs", "D", "D1")
    size = [storage.getNode(n).real() for n in ("image_width", "image_height")]
    fisheye = storage.getNode("fisheye_model").real() == 1
    shift, transform = storage.getNode("time_offset_s"), matrix("camera_from_imu")
    if camera is None or distortion is None:
        raise DataError(f"{path}: no camera_matrix and distortion_coefficients in this OpenCV file")
    return Camera(
        "fisheye" if fisheye else "pinhole", (int(size[0]), int(size[1])), np.asarray(camera, float),
        np.asarray(distortion, float).ravel(), transform, None if shift.empty() else float(shift.real()),
    )  # fmt: skip


def write_opencv(path: Path, camera: Camera) -> None:
    """The same keys, so that OpenCV's own samples read it."""
    import cv2

    work = path.with_name(f".{path.stem}.new{path.suffix or '.yml'}")
    storage = cv2.FileStorage(str(work), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", camera.image_size[0])
    storage.write("image_height", camera.image_size[1])
    storage.write("camera_matrix", camera.matrix)
    storage.write("distortion_coefficients", camera.distortion.reshape(-1, 1))
    storage.write("fisheye_model", int(camera.model == "fisheye"))
    if camera.camera_from_imu is not None:
        storage.write("camera_from_imu", camera.camera_from_imu)
    if camera.time_shift_s is not None:
        storage.write("time_offset_s", camera.time_shift_s)
    storage.release()
    work.replace(path)


def write_camera(path: Path, camera: Camera, form: str) -> None:
    """Write a camera in one of FORMATS, whole or not at all."""
    if form == "opencv":
        write_opencv(path, camera)
        return
    tree = TREES[form][1](camera)
    if form == "json":
        write_whole(path, json.dumps(tree, indent=2) + "\n")
        return
    import yaml

    write_whole(path, yaml.safe_dump(tree, sort_keys=False, default_flow_style=None))
