"""IMU samples out of an MCAP file: a run's own log, or JSON messages of ROS's shape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from calibration.errors import DataError
from runtime.log import read_messages

if TYPE_CHECKING:
    from tools.calibrate.logs import Axes

UNITS = {"gyro": "rad/s", "accel": "m/s^2"}
Rows = list[tuple[int, list[float], list[float]]]  # ns, gyro, accel


def read_mcap(file: Path, topic: str) -> tuple[npt.NDArray[np.int64], int, dict[str, Axes | None]]:
    """(N,) ns after the first sample, its stamp [ns], axes; of the only topic, or the one named."""
    from tools.calibrate.logs import Axes

    if not file.is_file():
        raise DataError(f"no file {file}; give the .mcap that a run wrote")
    found: dict[str, Rows] = {}
    for name, data in read_messages(file):
        channel = name.strip(".")
        rows = _samples(data) if topic in ("", channel) else []
        if rows:
            found.setdefault(channel, []).extend(rows)
    if len(found) != 1:
        held = f"IMU samples on {', '.join(sorted(found))}" if found else "no IMU samples as JSON"
        raise DataError(f"{file}: one topic asked, {held} found; name one as {file.name}:TOPIC")
    rows = next(iter(found.values()))
    stamps = np.array([r[0] for r in rows], np.int64)
    axes = {k: Axes(np.array([r[i] for r in rows], float), UNITS[k]) for k, i in (("gyro", 1), ("accel", 2))}  # fmt: skip
    return stamps - stamps[0], int(stamps[0]), {**axes, "unnamed": None}


def _samples(data: bytes) -> Rows:
    try:
        message = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return []
    if not isinstance(message, dict):
        return []
    if "imu_t_ns" in message:  # a control period of a run's log: a batch of samples
        batch = zip(message["imu_t_ns"], message["gyro_rad_s"], message["accel_m_s2"], strict=True)
        return [(int(t), list(g), list(a)) for t, g, a in batch]
    if "angular_velocity" in message and "linear_acceleration" in message:
        return [(_stamp_ns(message), _xyz(message["angular_velocity"]), _xyz(message["linear_acceleration"]))]  # fmt: skip
    return []


def _stamp_ns(message: dict[str, Any]) -> int:
    stamp = message.get("header", message).get("stamp", message.get("timestamp", {}))
    for fraction in ("nanosec", "nsec", "nsecs"):
        if fraction in stamp:
            return int(stamp.get("sec", stamp.get("secs", 0))) * 10**9 + int(stamp[fraction])
    raise DataError(f"an IMU message holds no stamp, only {', '.join(sorted(message))}")


def _xyz(vector: dict[str, float]) -> list[float]:
    return [float(vector[axis]) for axis in "xyz"]
