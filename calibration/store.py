"""Installed calibrations: one JSON file per device and kind, whole or not there, with their history.

The runtime refuses a record of another serial: a swapped camera must not pass for the old one.
`install` keeps what was there under `history/` before it replaces it in one rename, so that a power
cut leaves the old record or the new one, and `rollback` always has something to go back to.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from calibration.camera import FisheyeCamera, Lens, LensCamera, PinholeCamera
from calibration.errors import RecordError
from calibration.verdict import Level

SCHEMA = 2
HISTORY = "history"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A dated calibration of one device: a tool's verdict with its result, in the tool's keys."""

    schema: int = SCHEMA
    kind: str  # camera | imu-multi | cam-imu | wheels | ...: the tool's name
    serial: str
    date: str  # ISO 8601, UTC
    tool_version: str
    verdict: Level
    cause: str
    next: str
    result: dict[str, Any]
    quality: dict[str, Any]
    inputs_sha256: str = ""
    temperature_c: float | None = None  # of the device while it was calibrated


def record_path(folder: Path, serial: str, kind: str) -> Path:
    """Where a device's record of one kind stands; a serial may hold no path separators."""
    if not serial or any(c in serial for c in "/\\\0") or serial.startswith("."):
        raise RecordError(f"serial {serial!r} cannot name a file; give the device's printed serial")
    return folder / f"{serial}.{kind}.json"


def write_record(folder: Path, record: Record) -> Path:
    """Write a record as a whole or not at all, on the disk before its name is; returns its path."""
    path = record_path(folder, record.serial, record.kind)
    replace_file(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    return path


def install(folder: Path, record: Record) -> Path:
    """Keep the present record in the history, then put the new one in its place."""
    path = record_path(folder, record.serial, record.kind)
    with _alone(folder):
        if path.is_file():
            _keep(path)
        return write_record(folder, record)


def rollback(folder: Path, serial: str, kind: str) -> Record:
    """Put the newest record of the history back that differs from the present one; returns it.

    What it takes the place of is kept as `SERIAL.KIND.MARK.undone` in the history, for who went back
    by mistake; no later rollback takes it.
    """
    path = record_path(folder, serial, kind)
    with _alone(folder):
        present = path.read_bytes() if path.is_file() else b""
        for old in reversed(history(folder, serial, kind)):
            content = old.read_bytes()
            if content != present:
                record = _decoded(old, content, serial)
                if present:
                    replace_file(folder / HISTORY / f"{path.stem}.{_mark(present)}.undone", present)
                replace_file(path, content)
                old.unlink()
                return record
    raise RecordError(
        f"no earlier {kind} calibration of {serial} in {folder / HISTORY}; calibrate again instead"
    )


def history(folder: Path, serial: str, kind: str) -> list[Path]:
    """Earlier records, oldest first."""
    return sorted((folder / HISTORY).glob(f"{serial}.{kind}.*.json"))


def read_record(folder: Path, serial: str, kind: str = "camera") -> Record:
    """The record of exactly this serial and kind; RecordError says what is wrong and what to do."""
    path = record_path(folder, serial, kind)
    if not path.is_file():
        known = sorted(p.name.removesuffix(f".{kind}.json") for p in folder.glob(f"*.{kind}.json"))
        raise RecordError(
            f"no {kind} calibration of {serial} in {folder}"
            f" (there are: {', '.join(known) or 'none'});"
            " calibrate this device, or plug in the one that was calibrated"
        )
    return _decoded(path, path.read_bytes(), serial)


def _decoded(path: Path, content: bytes, serial: str) -> Record:
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema != SCHEMA:
            raise RecordError(
                f"calibration {path}: schema {schema}, this program reads {SCHEMA};"
                " calibrate the device again"
            )
        record = msgspec.json.decode(content, type=Record)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise RecordError(f"calibration {path}: {error}; calibrate the device again") from error
    if record.serial != serial:
        raise RecordError(
            f"calibration {path} is of {record.serial}, not {serial}; calibrate this device"
        )
    return record


class _Schema(msgspec.Struct):
    schema: int


def camera_result(lens: LensCamera) -> dict[str, Any]:
    """A lens in the keys of a camera calibration."""
    p = lens.pinhole
    return {
        "model": "pinhole",
        "image_size": [p.width, p.height],
        "camera_matrix": [[p.fx, 0.0, p.cx], [0.0, p.fy, p.cy], [0.0, 0.0, 1.0]],
        "distortion": list(lens.distortion),
    }


class _CameraResult(msgspec.Struct):
    model: str
    image_size: tuple[int, int]
    camera_matrix: tuple[tuple[float, float, float], ...]
    distortion: tuple[float, ...]


def lens_of(record: Record) -> Lens:
    """The lens that a camera record describes."""
    try:
        r = msgspec.convert(record.result, _CameraResult)
        (fx, _, cx), (_, fy, cy), _ = r.camera_matrix
        pinhole = PinholeCamera(*r.image_size, fx, fy, cx, cy)
        if r.model == "fisheye":
            k1, k2, k3, k4 = r.distortion
            return FisheyeCamera(pinhole, (k1, k2, k3, k4))
        k1, k2, p1, p2, k3 = r.distortion
    except (msgspec.ValidationError, ValueError) as error:
        raise RecordError(
            f"camera calibration of {record.serial}: {error}; calibrate the camera again"
        ) from error
    return LensCamera(pinhole, (k1, k2, p1, p2, k3))


def _keep(path: Path) -> None:
    """Copy a record into the history, named by its place in time and its content."""
    content = path.read_bytes()
    folder = path.parent / HISTORY
    names = sorted(folder.glob(f"{path.stem}.*.json"))
    if names and names[-1].read_bytes() == content:
        return  # kept before a power cut, which came before the rename
    number = int(names[-1].name.split(".")[-3]) + 1 if names else 1
    replace_file(folder / f"{path.stem}.{number:04d}.{_mark(content)}.json", content)


def _mark(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in place in one rename, on the disk before its name is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    place = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two installs at once come one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
