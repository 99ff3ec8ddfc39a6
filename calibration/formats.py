"""Calibrations as the numbers that files carry, with one convention each, and its conversions.

Inside: `Camera` and `CameraImu` as Kalibr means them. camera_from_imu takes a point in the IMU's frame
to the camera's (Kalibr's T_cam_imu); t_imu = t_camera + time_shift_s. EuRoC's sensor.yaml holds the
other direction: T_BS takes a point of the sensor to the body, which there is the IMU.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.errors import DataError

Floats = npt.NDArray[np.float64]

MODELS = {
    "radtan": "pinhole",
    "equidistant": "fisheye",
    "none": "pinhole",
}  # Kalibr's distortion names
COUNTS = {"pinhole": (0, 4, 5, 8, 12, 14), "fisheye": (4,)}


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: model `pinhole` (Brown-Conrady, OpenCV's order) or `fisheye` (Kannala-Brandt)."""

    model: str
    image_size: tuple[int, int]  # width, height
    matrix: Floats  # (3, 3) [px]
    distortion: Floats  # (0, 4, 5, 8, ...)
    camera_from_imu: Floats | None = None  # (4, 4), [m]
    time_shift_s: float | None = None  # t_imu = t_camera + time_shift_s
    rate_hz: float | None = None
    name: str = "camera"
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked(self)


def checked(camera: Camera) -> None:
    """DataError where numbers cannot be a camera's."""
    if camera.model not in COUNTS:
        raise DataError(f"camera model {camera.model!r}; known are {', '.join(COUNTS)}")
    if camera.matrix.shape != (3, 3) or not (camera.matrix[0, 0] > 0 and camera.matrix[1, 1] > 0):
        raise DataError(f"camera_matrix {camera.matrix.tolist()} is no camera's: 3x3 with positive focal lengths expected")  # fmt: skip
    if camera.distortion.size not in COUNTS[camera.model]:
        raise DataError(f"{camera.distortion.size} distortion coefficients of a {camera.model}; expected one of {COUNTS[camera.model]}")  # fmt: skip
    if camera.camera_from_imu is not None:
        rigid(camera.camera_from_imu)


def rigid(matrix: Floats) -> Floats:
    """A (4, 4) that turns and shifts, or a DataError: a transposed or scaled one is none."""
    if matrix.shape != (4, 4) or np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise DataError(f"no transform: its last row is {matrix[-1].tolist()}, expected 0 0 0 1; is it transposed?")  # fmt: skip
    turn = matrix[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
        raise DataError("no transform: its 3x3 part is no rotation (scaled, or mirrored)")
    return matrix


def inverse(matrix: Floats) -> Floats:
    """The other direction of a (4, 4) transform."""
    out = np.eye(4)
    out[:3, :3] = matrix[:3, :3].T
    out[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return out


def from_canonical(tree: dict[str, Any]) -> Camera:
    """Of our own JSON: a verdict of `calibrate camera solve`, or its result alone."""
    result = tree.get("result", tree)
    transform = result.get("camera_from_imu")
    return Camera(
        model=str(result.get("model", "pinhole")), image_size=_size(result["image_size"]),
        matrix=np.asarray(result["camera_matrix"], float).reshape(3, 3),
        distortion=np.asarray(result["distortion"], float).ravel(),
        camera_from_imu=None if transform is None else np.asarray(transform, float),
        time_shift_s=result.get("time_offset_s"),
        rate_hz=result.get("rate_hz"), name=str(result.get("name", "camera")),
    )  # fmt: skip


def to_canonical(camera: Camera) -> dict[str, Any]:
    """Our own JSON, the result's keys; units and conventions stand beside the numbers."""
    out: dict[str, Any] = {
        "model": camera.model, "image_size": list(camera.image_size), "camera_matrix": camera.matrix.tolist(),
        "distortion": camera.distortion.tolist(), "name": camera.name,
        "conventions": "camera_matrix px; camera_from_imu maps IMU to camera, m; t_imu = t_camera + time_offset_s",
    }  # fmt: skip
    if camera.camera_from_imu is not None:
        out["camera_from_imu"] = camera.camera_from_imu.tolist()
    if camera.time_shift_s is not None:
        out["time_offset_s"] = camera.time_shift_s
    if camera.rate_hz is not None:
        out["rate_hz"] = camera.rate_hz
    return out


def from_kalibr(tree: dict[str, Any]) -> Camera:
    """Of a camchain.yaml's one camera (`cam0`); others have their own."""
    name = next((k for k in sorted(tree) if str(k).startswith("cam")), None)
    if name is None:
        raise DataError("no cam0 in this file; a camchain.yaml of Kalibr expected")
    part = tree[name]
    if part.get("camera_model", "pinhole") != "pinhole":
        raise DataError(f"camera_model {part['camera_model']!r} of Kalibr is not read; pinhole is")
    kind = str(part.get("distortion_model", "none"))
    if kind not in MODELS:
        raise DataError(f"distortion_model {kind!r} of Kalibr is not read; {', '.join(MODELS)} are")
    transform = part.get("T_cam_imu")
    return Camera(
        model=MODELS[kind], image_size=_size(part["resolution"]), matrix=_matrix(part["intrinsics"]),
        distortion=np.asarray(part.get("distortion_coeffs", []) if kind != "none" else [], float),
        camera_from_imu=None if transform is None else np.asarray(transform, float),
        time_shift_s=None if "timeshift_cam_imu" not in part else float(part["timeshift_cam_imu"]),
        name=str(part.get("rostopic", name)),
    )  # fmt: skip


def to_kalibr(camera: Camera) -> dict[str, Any]:
    """A camchain.yaml's tree; Kalibr knows four coefficients, so a fifth must be none."""
    part: dict[str, Any] = {
        "camera_model": "pinhole",
        "distortion_model": "equidistant" if camera.model == "fisheye" else "radtan",
        "distortion_coeffs": _exactly(camera.distortion, 4, "Kalibr").tolist(),
        "intrinsics": _four(camera.matrix), "resolution": list(camera.image_size), "rostopic": camera.name,
    }  # fmt: skip
    if camera.camera_from_imu is not None:
        part["T_cam_imu"] = camera.camera_from_imu.tolist()
    if camera.time_shift_s is not None:
        part["timeshift_cam_imu"] = camera.time_shift_s
    return {"cam0": part}


def from_ros(tree: dict[str, Any]) -> Camera:
    """Of a CameraInfo YAML (camera_calibration); its R and P speak of rectification and are left."""
    kind = str(tree.get("distortion_model", "plumb_bob"))
    models = {"plumb_bob": "pinhole", "rational_polynomial": "pinhole", "equidistant": "fisheye"}
    if kind not in models:
        raise DataError(f"distortion_model {kind!r} of ROS is not read; {', '.join(models)} are")
    return Camera(
        model=models[kind], image_size=(int(tree["image_width"]), int(tree["image_height"])),
        matrix=np.asarray(tree["camera_matrix"]["data"], float).reshape(3, 3),
        distortion=np.asarray(tree["distortion_coefficients"]["data"], float).ravel(),
        name=str(tree.get("camera_name", "camera")),
    )  # fmt: skip


def to_ros(camera: Camera) -> dict[str, Any]:
    """A CameraInfo YAML's tree; R is the identity and P the camera itself: one eye."""
    kind = (
        "equidistant"
        if camera.model == "fisheye"
        else "plumb_bob"
        if camera.distortion.size <= 5
        else "rational_polynomial"
    )
    distortion = camera.distortion if kind != "plumb_bob" else _padded(camera.distortion, 5)
    projection = np.column_stack((camera.matrix, np.zeros(3)))

    def data(matrix: Floats) -> dict[str, Any]:
        rows, columns = (1, matrix.size) if matrix.ndim == 1 else matrix.shape
        return {"rows": rows, "cols": columns, "data": matrix.ravel().tolist()}

    return {
        "image_width": camera.image_size[0], "image_height": camera.image_size[1],
        "camera_name": camera.name, "camera_matrix": data(camera.matrix), "distortion_model": kind,
        "distortion_coefficients": data(distortion), "rectification_matrix": data(np.eye(3)),
        "projection_matrix": data(projection),
    }  # fmt: skip


def from_euroc(tree: dict[str, Any]) -> Camera:
    """Of a camera's sensor.yaml; T_BS takes the sensor to the body (the IMU): the other direction."""
    kind = str(tree.get("distortion_model", "none"))
    models = {"radial-tangential": "pinhole", "equidistant": "fisheye", "none": "pinhole"}
    if kind not in models:
        raise DataError(f"distortion_model {kind!r} of EuRoC is not read; {', '.join(models)} are")
    body = tree.get("T_BS")
    return Camera(
        model=models[kind], image_size=_size(tree["resolution"]), matrix=_matrix(tree["intrinsics"]),
        distortion=np.asarray(tree.get("distortion_coefficients", []), float),
        camera_from_imu=None if body is None else inverse(rigid(np.asarray(body["data"], float).reshape(4, 4))),
        rate_hz=None if "rate_hz" not in tree else float(tree["rate_hz"]), name=str(tree.get("comment", "camera")),
    )  # fmt: skip


def to_euroc(camera: Camera) -> dict[str, Any]:
    """A camera's sensor.yaml; it has no place for a time shift, which is therefore refused."""
    if camera.time_shift_s:
        raise DataError(f"EuRoC's sensor.yaml holds no time shift, this calibration has {camera.time_shift_s:g} s; write Kalibr's camchain")  # fmt: skip
    tree: dict[str, Any] = {
        "sensor_type": "camera", "comment": camera.name, "camera_model": "pinhole",
        "resolution": list(camera.image_size), "intrinsics": _four(camera.matrix),
        "distortion_model": "equidistant" if camera.model == "fisheye" else "radial-tangential",
        "distortion_coefficients": _exactly(camera.distortion, 4, "EuRoC").tolist(),
    }  # fmt: skip
    if camera.camera_from_imu is not None:
        body = inverse(camera.camera_from_imu)
        tree["T_BS"] = {"cols": 4, "rows": 4, "data": body.ravel().tolist()}
    if camera.rate_hz is not None:
        tree["rate_hz"] = camera.rate_hz
    return tree


def from_caliscope(tree: dict[str, Any]) -> Camera:
    """Of a Caliscope (or Anipose) TOML's first camera; where the cameras stand in the room is left."""
    tables = tree.get("cameras") or {k: v for k, v in tree.items() if str(k).startswith("cam_")}
    if not tables:
        raise DataError("no [cameras.0] or [cam_0] in this file; a camera_array.toml of Caliscope expected")  # fmt: skip
    name = min(tables, key=lambda k: (len(str(k)), str(k)))
    part = tables[name]
    if part.get("matrix") is None or part.get("distortions") is None:
        raise DataError(f"camera {name} of this file was not calibrated: it has no matrix and distortions")  # fmt: skip
    return Camera(
        model="fisheye" if part.get("fisheye") else "pinhole", image_size=_size(part["size"]),
        matrix=np.asarray(part["matrix"], float), distortion=np.asarray(part["distortions"], float).ravel(),
        name=str(part.get("name", name)),
    )  # fmt: skip


def _size(value: Any) -> tuple[int, int]:
    width, height = (int(v) for v in value)
    return width, height


def _matrix(four: Any) -> Floats:
    """Kalibr's and EuRoC's fu, fv, cu, cv."""
    fu, fv, cu, cv = (float(v) for v in four)
    return np.array([[fu, 0, cu], [0, fv, cv], [0, 0, 1]])


def _four(matrix: Floats) -> list[float]:
    return [float(matrix[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))]


def _padded(values: Floats, count: int) -> Floats:
    return np.concatenate((values, np.zeros(max(count - values.size, 0))))


def _exactly(values: Floats, count: int, whose: str) -> Floats:
    """Cutting coefficients off would bend the picture: refuse it."""
    if np.abs(values[count:]).max(initial=0) > 0:
        raise DataError(f"{whose} knows {count} distortion coefficients, this calibration has {values.size}; solve again with the smaller model")  # fmt: skip
    return _padded(values, count)[:count]
