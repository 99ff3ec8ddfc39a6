"""Calibration records: one JSON file per device and kind, with schema, date and residuals.

The runtime refuses a record of another serial: a swapped camera must not pass for the old one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from calibration.camera import LensCamera, PinholeCamera
from calibration.errors import RecordError

SCHEMA = 1


class CameraResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Intrinsics of one camera: size and focal lengths [px], Brown-Conrady distortion."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, float, float, float, float]

    @classmethod
    def of(cls, lens: LensCamera) -> CameraResult:
        """The record form of a lens."""
        p = lens.pinhole
        return cls(
            width=p.width,
            height=p.height,
            fx=p.fx,
            fy=p.fy,
            cx=p.cx,
            cy=p.cy,
            distortion=lens.distortion,
        )

    def lens(self) -> LensCamera:
        """The lens this record describes."""
        pinhole = PinholeCamera(self.width, self.height, self.fx, self.fy, self.cx, self.cy)
        return LensCamera(pinhole, self.distortion)


class CameraRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A dated camera calibration of one device; residuals carry their unit in the name."""

    schema: int = SCHEMA
    kind: Literal["camera"] = "camera"
    serial: str
    date: str  # ISO 8601, UTC
    tool: str
    tool_version: str
    verdict: Literal["PASS", "MARGINAL", "FAIL"]
    result: CameraResult
    residuals: dict[str, float]


def record_path(folder: Path, serial: str, kind: str) -> Path:
    """Where a device's record of one kind stands; a serial may hold no path separators."""
    if not serial or any(c in serial for c in "/\\\0") or serial.startswith("."):
        raise RecordError(f"serial {serial!r} cannot name a file; give the device's printed serial")
    return folder / f"{serial}.{kind}.json"


def write_record(folder: Path, record: CameraRecord) -> Path:
    """Write a record as a whole or not at all; returns its path."""
    path = record_path(folder, record.serial, record.kind)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    os.replace(fresh, path)
    return path


def read_record(folder: Path, serial: str) -> CameraRecord:
    """The camera record of exactly this serial; RecordError says what is wrong and what to do."""
    path = record_path(folder, serial, "camera")
    if not path.is_file():
        known = sorted(p.name.removesuffix(".camera.json") for p in folder.glob("*.camera.json"))
        raise RecordError(
            f"no calibration of camera {serial} in {folder}"
            f" (there are: {', '.join(known) or 'none'});"
            " calibrate this camera, or plug in the one that was calibrated"
        )
    try:
        record = msgspec.json.decode(path.read_bytes(), type=CameraRecord)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise RecordError(f"calibration {path}: {error}; calibrate the camera again") from error
    if record.schema != SCHEMA:
        raise RecordError(
            f"calibration {path}: schema {record.schema}, this program reads {SCHEMA};"
            " calibrate the camera again"
        )
    if record.serial != serial:
        raise RecordError(
            f"calibration {path} is of camera {record.serial}, not {serial}; calibrate this camera"
        )
    return record
