"""What of the installed calibrations counts in a run, and why the others do not.

A record that is there must hold: one that FAILed, is damaged, of another device or long overdue is
not used, and until it is renewed or removed nothing engages. One that is not there is not missed
(the drawing counts), but for the camera's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from calibration.camera import Lens
from calibration.errors import RecordError
from calibration.imu_map import ImuMap, imu_map
from calibration.joint_map import joint_maps
from calibration.store import Record, lens_of, read_record, record_path
from calibration.verdict import Level
from runtime.body import Body
from runtime.drives import Drives, drives_of
from runtime.odometry import WheelGeometry
from tools.calibrate.table import TOOLS, age_of

Floats = npt.NDArray[np.float64]
T = TypeVar("T")

OVERDUE = 2  # times the days after which a calibration is due: older ones do not count
OFFSET_MAX_S = 0.25  # more than any camera's delay: such a record is of another clock
TURN_MAX_RAD = 0.35  # of the camera against the drawing
# optical axes (x right, y down, z forward) as columns in the head's frame (x forward, z up)
HEAD_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass
class InForce:
    """Fields are None where no such record counts; `doubts` says of each refused one why, in words."""

    lens: Lens | None = None
    drawn_from_camera: Floats | None = None  # (3, 3) optical axes, real -> as drawn
    camera_offset_ns: int = 0
    drive_delay_ns: int | None = None  # from sending to turning wheels
    imu: ImuMap | None = None
    wheels: WheelGeometry | None = None
    drives: Drives | None = None  # how joints answer their commands
    used: dict[str, str] = field(default_factory=dict)  # kind: date and hash, for a log
    doubts: list[str] = field(default_factory=list)
    refused: list[str] = field(
        default_factory=list
    )  # kinds of records that are there and do not count
    holds: bool = True  # no record that is there was refused


class Shelf:
    """The records of one robot: its camera's and its board's."""

    def __init__(self, folder: Path, camera: str, board: str, wall_ns: int) -> None:
        self._folder, self._wall_ns = folder, wall_ns
        self._serials = {"camera": camera, "mcu": board}
        self.found = InForce()

    def record(self, kind: str) -> Record | None:
        """The record that counts; None where there is none, or where it was refused, which is told."""
        serial = self._serials[TOOLS[kind].device]
        if not serial:
            return None
        try:
            if not record_path(self._folder, serial, kind).is_file():
                self._absent(kind, serial)
                return None
            record = read_record(self._folder, serial, kind)
            _require_good(record, age_of(record.date, self._wall_ns))
        except (RecordError, ValueError) as error:
            self.refuse(str(error), kind)
            return None
        return record

    def taken(self, record: Record | None, take: Callable[[Record], T]) -> T | None:
        """What `take` makes of a record; None where there is none, or where it does not fit."""
        if record is None:
            return None
        try:
            found = take(record)
        except (RecordError, KeyError, TypeError, ValueError) as error:
            said = str(error) if isinstance(error, RecordError) else f"its result is none ({type(error).__name__}: {error})"  # fmt: skip
            self.refuse(f"{record.kind} of {record.serial}: {said}", record.kind)
            return None
        self.found.used[record.kind] = f"{record.date} {record.inputs_sha256[:8]}".strip()
        return found

    def refuse(self, why: str, kind: str = "") -> None:
        """Not used, and nothing engages."""
        self.found.refused.append(kind)
        self.found.doubts.append(" ".join(why.split()))
        self.found.holds = False

    def _absent(self, kind: str, serial: str) -> None:
        """A device whose like was calibrated has been exchanged: told, and the drawing counts."""
        others = sorted(p.name.removesuffix(f".{kind}.json") for p in self._folder.glob(f"*.{kind}.json"))  # fmt: skip
        if others:
            self.found.doubts.append(f"no {kind} of {serial} (there are: {', '.join(others)}); run `companion calibrate robot`")  # fmt: skip


def in_force(folder: Path, camera: str, board: str, body: Body, wall_ns: int) -> InForce:
    """Read what is installed for this camera and this board; an empty serial asks for nothing."""
    shelf = Shelf(folder, camera, board, wall_ns)
    found = shelf.found
    found.lens = shelf.taken(shelf.record("camera"), lens_of)
    found.drawn_from_camera = shelf.taken(shelf.record("head"), lambda r: _camera_turn(r.result))
    found.wheels = shelf.taken(
        shelf.record("wheels"), lambda r: WheelGeometry.calibrated(body.geometry, r.result)
    )
    found.drives = shelf.taken(
        shelf.record("motor"), lambda r: drives_of(body, joint_maps(r.result))
    )
    mounted = shelf.record("cam-imu")
    offset_s = shelf.taken(mounted, lambda r: _offset_s(r.result, board))
    if offset_s is not None:
        found.camera_offset_ns = round(offset_s * 1e9)
    delays = shelf.taken(shelf.record("latency"), lambda r: _delays_s(r.result))
    if delays is not None:
        found.drive_delay_ns = round(delays[0] * 1e9)
        if offset_s is None and delays[1] is not None:
            found.camera_offset_ns = round(delays[1] * 1e9)
    found.imu = _imu(shelf, mounted if offset_s is not None else None)
    return found


def _imu(shelf: Shelf, mounted: Record | None) -> ImuMap | None:
    """Of the newest records; where one of them does not fit, none is used."""
    multi, still = shelf.record("imu-multi"), shelf.record("imu-static")
    if multi is not None and still is not None and still.date < multi.date:
        still = None
    last = still or multi or mounted
    if mounted is not None and not same_axes(mounted.result, multi is not None):
        shelf.refuse(f"cam-imu of {mounted.serial} was solved {'without' if multi else 'with'} an imu-multi calibration, and there is {'one' if multi else 'none'} in force; solve cam-imu again")  # fmt: skip
        return None
    found = shelf.taken(last, lambda _: imu_map(_result(multi), _result(still), _result(mounted)))
    if found is not None:
        for record in (multi, still):
            if record is not None:
                shelf.found.used[record.kind] = f"{record.date} {record.inputs_sha256[:8]}".strip()
    return found


def same_axes(mounted: Mapping[str, Any], has_multi: bool) -> bool:
    """Whether a `cam-imu` was solved in the axes that the IMU has by now: an `imu-multi`'s, or its own."""
    return bool((mounted.get("gyro_axes") == "imu-multi") == has_multi)


def goes_with(mounted: Mapping[str, Any], board: str, has_multi: bool) -> bool:
    """Whether a `cam-imu` is of this board, and in its axes: else it is to be solved again."""
    return mounted.get("imu_serial") == board and same_axes(mounted, has_multi)


def _result(record: Record | None) -> Mapping[str, Any] | None:
    return None if record is None else record.result


def _require_good(record: Record, age_days: float) -> None:
    due_days = TOOLS[record.kind].due_days
    worst: Level = "FAIL"
    if record.verdict == worst:
        raise RecordError(f"{record.kind} of {record.serial} is a FAIL ({record.cause}); {record.next}")  # fmt: skip
    if due_days and age_days >= OVERDUE * due_days:
        raise RecordError(
            f"{record.kind} of {record.serial} is {age_days:.0f} days old, and was due after {due_days};"
            f" run `companion calibrate {record.kind}` again"
        )


def _camera_turn(result: Mapping[str, Any]) -> Floats:
    """What the head's calibration says of the camera's axes against the drawing's."""
    matrix = np.asarray(result["head_from_camera"], float)
    if matrix.shape != (4, 4):
        raise RecordError("head_from_camera is no 4x4 matrix; calibrate the head again")
    turn: Floats = HEAD_FROM_OPTICAL.T @ matrix[:3, :3]
    square = np.abs(turn @ turn.T - np.eye(3)).max()
    angle = float(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    if not square < 1e-3 or angle > TURN_MAX_RAD:
        raise RecordError(
            f"the camera sits {np.rad2deg(angle):.0f} deg off the drawing; see how it is mounted, then"
            " calibrate the head again"
        )
    return turn


def _offset_s(result: Mapping[str, Any], board: str) -> float:
    """From a frame's stamp to its mid-exposure; only where the robot's own clock gave both stamps."""
    if result.get("stamps") != "robot":
        raise RecordError(
            "it was not recorded by the robot, so that its stamps are of another clock; run"
            " `companion calibrate cam-imu record`"
        )
    if result.get("imu_serial") != board:
        raise RecordError(
            f"it was recorded with the board {result.get('imu_serial')}, this one is {board}; run"
            " `companion calibrate cam-imu record`"
        )
    offset = float(result["time_offset_s"])
    if not abs(offset) <= OFFSET_MAX_S:
        raise RecordError(f"a time offset of {offset:.3f} s is no camera's; record it again")
    return offset


def _delays_s(result: Mapping[str, Any]) -> tuple[float, float | None]:
    """Command to wheels, and what a frame's stamp is off by where `latency` saw pictures [s]."""
    drive_s = float(result["command_to_encoder_ms"]) / 1e3
    seen_s = result.get("time_offset_s")
    for value in (drive_s, float(seen_s or 0.0)):
        if not abs(value) < OFFSET_MAX_S:
            raise RecordError(f"a delay of {value:.3g} s is more than any part's; measure it again")
    if drive_s < 0:
        raise RecordError(f"wheels that turn {-drive_s * 1e3:.0f} ms before they are told to; measure it again")  # fmt: skip
    return drive_s, None if seen_s is None else float(seen_s)
