"""What `calibrate latency record` writes: one .npz with stamps, angles, rates and small grey frames."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.errors import DataError
from tools.report import write_whole

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SCHEMA = 1


@dataclass(frozen=True)
class LatencyLog:
    """One recording; all stamps on the host's clock [ns].

    N control periods, M IMU samples, F frames of (H, W) uint8; `truth_ms` (3,) of a twin, else empty.
    """

    serial: str
    command_ns: Ints  # (N,) when a command was issued
    command_rad_s: Floats  # (N, 2) left and right wheel, until the next
    state_ns: Ints  # (N,) when the encoders were read
    wheel_rad: Floats  # (N, 2)
    state_arrival_ns: Ints  # (N,)
    imu_ns: Ints  # (M,)
    gyro_rad_s: Floats  # (M, 3)
    frame_ns: Ints  # (F,) the frames' own stamps
    frame_arrival_ns: Ints  # (F,)
    frames: npt.NDArray[np.uint8]  # (F, H, W)
    camera_matrix: Floats  # (3, 3) of these frames
    distortion: Floats  # (5,)
    readout_s: float  # first to last row
    wheel_radius_m: float
    track_m: float
    truth_ms: Floats


def write_latency(path: Path, log: LatencyLog) -> None:
    """Whole or not at all."""
    stream = io.BytesIO()
    np.savez_compressed(stream, schema=SCHEMA, **asdict(log))
    write_whole(path, stream.getvalue())


def read_latency(path: Path) -> LatencyLog:
    """DataError where the file is something else, cut, or of another schema."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
            if int(held["schema"]) != SCHEMA:
                raise DataError(f"{path} is of schema {int(held['schema'])}, this program reads {SCHEMA}; record again")  # fmt: skip
            values = {f.name: held[f.name] for f in fields(LatencyLog)}
    except FileNotFoundError as error:
        raise DataError(f"no file {path}; give what `calibrate latency record` wrote") from error
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no recording of latencies ({type(error).__name__}); give what `calibrate latency record` wrote") from error  # fmt: skip
    for name in ("readout_s", "wheel_radius_m", "track_m"):
        values[name] = float(values[name])
    log = LatencyLog(**{**values, "serial": str(values["serial"])})
    _check(path, log)
    return log


def _check(path: Path, log: LatencyLog) -> None:
    """Arrays that belong together are equally long, stamps rise and numbers are finite."""
    groups = (
        ("control periods", (log.command_ns, log.command_rad_s, log.state_ns, log.wheel_rad, log.state_arrival_ns)),
        ("IMU samples", (log.imu_ns, log.gyro_rad_s)),
        ("frames", (log.frame_ns, log.frame_arrival_ns, log.frames)),
    )  # fmt: skip
    for what, arrays in groups:
        if len({len(a) for a in arrays}) != 1:
            raise DataError(f"{path}: its {what} have lists of different lengths; record again")
        if not all(np.isfinite(a).all() for a in arrays if a.dtype.kind == "f"):
            raise DataError(f"{path}: numbers of its {what} are not finite; record again")
    for what, stamps in (("encoder", log.state_ns), ("IMU", log.imu_ns), ("frame", log.frame_ns)):
        back = np.flatnonzero(np.diff(stamps) <= 0)
        if len(back):
            raise DataError(f"{path}: {what} stamp {int(back[0]) + 1} is not after the one before; one clock must stamp them all")  # fmt: skip
