"""`companion calibrate imu-allan record`: hours of the robot's own IMU at rest; what a power cut leaves is gone on with.

Rows are added every ten seconds and put on the disk. The same command goes on after whatever ended it:
a gap in the stamps tells where, and `solve` takes no difference across it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.still import moved
from runtime.errors import ConfigError, RuntimeFault
from tools.calibrate.finish import Step
from tools.calibrate.imu_record import HEADER
from tools.calibrate.rig import PERIOD_NS, Rig, TwinRig
from tools.calibrate.rigs import add_rig, open_rig
from tools.report import write_whole

Floats = npt.NDArray[np.float64]
LOG, ABOUT = "imu.csv", "record.json"
MINUTES = 240.0
CHUNK_S = 10
PERIODS = CHUNK_S * 1_000_000_000 // PERIOD_NS
WATCHED_CHUNKS = 6  # of the newest minute it is asked whether it lay still
RESTLESS = 3  # chunks in a row in which it moved: somebody carries it
SILENT = 200  # periods without a batch
PAUSE_NS = (1_000_000_000, 86_400_000_000_000)  # of a gap in the stamps where it was gone on
ROW_BYTES = 100
DEGRADED = 3


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=f"folder for the log; one that holds a part of it is gone on with ({LOG})")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=MINUTES, metavar="M", help="how long in all, with what is there (default 240)")  # fmt: skip
    add_rig(parser)


@dataclass
class Tape:
    """The log that grows: rows that are there, and the stamp [ns] and time of the last one."""

    path: Path
    rows: int = 0
    last_ns: int = 0
    offset_ns: int | None = 0  # from the rig's clock to the log's; None: to be found, it goes on
    chunks: deque[tuple[Floats, Floats]] = field(default_factory=lambda: deque(maxlen=WATCHED_CHUNKS))  # fmt: skip
    moved_s: list[float] = field(default_factory=list)

    def add(self, t_ns: npt.NDArray[np.int64], xyz: Floats) -> None:
        """(N,) stamps of the rig and (N, 6) gyro, accelerometer [SI]: on the disk when this returns."""
        if self.offset_ns is None:
            away_ns = round((time.time() - self.path.stat().st_mtime) * 1e9)
            self.offset_ns = self.last_ns + min(max(away_ns, PAUSE_NS[0]), PAUSE_NS[1]) - int(t_ns[0])  # fmt: skip
        t_ns = t_ns + self.offset_ns
        text = "".join(f"{t}," + ",".join(f"{v:.7f}" for v in row) + "\n" for t, row in zip(t_ns.tolist(), xyz.tolist(), strict=True))  # fmt: skip
        try:
            with self.path.open("a", encoding="ascii") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise RuntimeFault(f"{self.path} cannot be written ({error.strerror}); make room, the same command goes on") from error  # fmt: skip
        self.rows, self.last_ns = self.rows + len(t_ns), int(t_ns[-1])
        self.chunks.append((t_ns / 1e9, xyz))

    def moved_now(self, row_s: float) -> bool:
        """Whether it moved in the newest chunk; the recorded second in which it did so is kept."""
        t_s, xyz = (np.concatenate([c[i] for c in self.chunks]) for i in (0, 1))
        found = sorted({t for at in (0, 3) for t in moved(t_s, xyz[:, at : at + 3])})
        fresh = [t for t in found if t >= self.chunks[-1][0][0] - 1.0]
        self.moved_s += [self.rows * row_s - (float(t_s[-1]) - t) for t in fresh]
        return bool(fresh)


def record(args: argparse.Namespace) -> int:
    """Listen and add; exit 0 when all is there, 3 when it ended before."""
    if not 1 <= args.minutes <= 1440:
        raise ConfigError(f"--minutes {args.minutes:g}: give 1 to 1440")
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out {args.out} is a file; give a folder")
    with open_rig(args, "") as rig:
        uid = rig.link.identity.uid if rig.link.identity is not None else ""
        row_s = 1.0 / rig.body.imu_hz
        tape = _opened(args.out, uid, args.body)
        wanted = round(args.minutes * 60 / CHUNK_S) - int(tape.rows * row_s / CHUNK_S)
        if wanted <= 0:
            print(f"{tape.rows * row_s / 60:.0f} min are there: {tape.path}")
            return _next(args.out, 0)
        _require_room(args.out, wanted * CHUNK_S / row_s * ROW_BYTES)
        if isinstance(rig, TwinRig):
            rig.twin.sensors.skip_noise(tape.rows)
        ended = _listen(rig, tape, args, uid, wanted, row_s)
    print(f"{ended + '; ' if ended else ''}recorded {tape.rows * row_s / 60:.1f} of {args.minutes:g} min: {tape.path}")  # fmt: skip
    if tape.moved_s:
        print(f"it moved {len(tape.moved_s)} times, at {', '.join(f'{t:.0f} s' for t in tape.moved_s[:5])}: `solve` will name it; better record again, hands off")  # fmt: skip
    if ended:
        print("the same command goes on")
    return _next(args.out, DEGRADED if ended or tape.moved_s else 0)


def _next(folder: Path, code: int) -> int:
    print(f"next: companion calibrate imu-allan solve --imu {folder / LOG}")
    return code


def _opened(folder: Path, uid: str, body: str) -> Tape:
    """The log in a folder, a torn last row cut off; DataError where it is another's."""
    tape = Tape(folder / LOG)
    if not folder.is_dir() or not any(folder.iterdir()):
        return tape
    try:
        about = json.loads((folder / ABOUT).read_text())
        if about["tool"] != "imu-allan":
            raise ValueError(f"it is of {about['tool']}")
        found = about["serial"], about["body"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"--out {folder} is no recording to go on with ({error}); give a new folder") from error  # fmt: skip
    if found != (uid, body):
        raise ConfigError(f"--out {folder} is of {found[0]} ({found[1]}), this is {uid} ({body}); give another folder")  # fmt: skip
    if tape.path.is_file():
        _mend(tape)
    return tape


def _mend(tape: Tape) -> None:
    """Count the rows that are whole; what was being written when the power went is cut off."""
    mtime = tape.path.stat().st_mtime
    lines, last, end = 0, b"", 0
    with tape.path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            lines, last, end = lines + 1, line, end + len(line)
    os.truncate(tape.path, end)
    os.utime(tape.path, (mtime, mtime))  # it tells for how long nothing was recorded
    if lines < 2:
        tape.path.unlink()
        return
    try:
        tape.last_ns = int(last.split(b",")[0])
    except ValueError as error:
        raise ConfigError(f"{tape.path} ends with {last[:40]!r}, which is no row; give a new folder") from error  # fmt: skip
    tape.rows, tape.offset_ns = lines - 1, None


def _require_room(folder: Path, size: float) -> None:
    there = next(p for p in (folder, *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(there).free
    if free < size:
        raise RuntimeFault(f"so long a log needs {size / 1e9:.1f} GB, {there} has {free / 1e9:.1f} GB left; make room, or give fewer --minutes")  # fmt: skip


def _listen(rig: Rig, tape: Tape, args: argparse.Namespace, uid: str, wanted: int, row_s: float) -> str:  # fmt: skip
    """So many chunks more; why it ended early, empty when all is there."""
    step = Step("listening, tens of seconds", wanted)
    first, restless = True, 0
    try:
        for _ in range(wanted):
            t_ns, xyz = _chunk(rig)
            if first:
                _require_still(t_ns, xyz)
                _begin(tape, args, uid, rig)
            tape.add(t_ns, xyz)
            restless = restless + 1 if not first and tape.moved_now(row_s) else 0
            if restless >= RESTLESS:
                return "it does not lie still: lay it on something firm, hands off"
            first = False
            step()
    except KeyboardInterrupt:
        return "stopped"
    except _Silent:
        return "the board fell silent: check its cable and power"
    return ""


class _Silent(Exception):
    """No batch for seconds."""


def _chunk(rig: Rig) -> tuple[npt.NDArray[np.int64], Floats]:
    """(N,) stamps [ns] and (N, 6) of the next ten seconds, as the board delivers them."""
    stamps: list[npt.NDArray[np.int64]] = []
    values: list[Floats] = []
    seen, silent = rig.link.sensors_seq, 0
    while len(stamps) < PERIODS:
        sample = rig.advance()
        if rig.link.sensors_seq == seen:
            silent += 1
            if silent > SILENT:
                raise _Silent
            continue
        seen, silent = rig.link.sensors_seq, 0
        stamps.append(np.array(rig.link.sensors[0]["imu_t_ns"], np.int64))
        values.append(np.hstack([sample.gyro_rad_s, sample.accel_m_s2]))
    return np.concatenate(stamps), np.concatenate(values)


def _require_still(t_ns: npt.NDArray[np.int64], xyz: Floats) -> None:
    """Hours that begin with a moving robot are not begun."""
    t_s = (t_ns - t_ns[0]) / 1e9
    found = {"gyro": moved(t_s, xyz[:, :3]), "accelerometer": moved(t_s, xyz[:, 3:])}
    for kind, times in found.items():
        if times:
            raise RuntimeFault(f"the {kind} moved {times[0]:.0f} s after the start; lay the robot on something firm, hands off, then run it again")  # fmt: skip


def _begin(tape: Tape, args: argparse.Namespace, uid: str, rig: Rig) -> None:
    """What the log is of stands beside it before its first row does."""
    if tape.path.is_file():
        return
    args.out.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"tool": "imu-allan", "serial": uid, "body": args.body}
    if isinstance(rig, TwinRig):
        drawn, period_s = rig.twin.sensors.imu, 1 / rig.body.imu_hz
        sigma = {"gyro": drawn.gyro_noise_rad_s, "accel": drawn.accel_noise_m_s2}
        about["truth"] = {"noise_density": {k: v * period_s**0.5 for k, v in sigma.items()}}
    write_whole(args.out / ABOUT, json.dumps(about, indent=2) + "\n")
    write_whole(tape.path, HEADER + "\n")
