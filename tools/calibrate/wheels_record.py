"""`companion calibrate wheels record`: squares both ways on the floor, wheels and gyro into a CSV."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from firmware_bridge.protocol import Mode
from runtime.errors import ConfigError
from tools.calibrate.rig import Rig, Sample
from tools.calibrate.rigs import add_rig, open_rig, use_imu
from tools.report import write_whole

SPACE = "2 m x 2 m of hard, clean, level floor, without a step or a child on it"
SIDE_S, TURN_S, PAUSE_S = 3.0, 1.6, 0.4
WHEEL_RAD_S, TURN_RAD_S = 3.6, 1.72  # 0.27 m/s; a quarter turn in TURN_S
SQUARES = 4  # each way


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="F.csv", help="where the log goes"
    )
    parser.add_argument("--squares", type=int, default=SQUARES, metavar="N", help=f"each way (default {SQUARES}: 3 minutes)")  # fmt: skip
    parser.add_argument("--folder", type=Path, metavar="DIR", help="of installed calibrations: the gyro is corrected by those of its board (default: this robot's)")  # fmt: skip
    add_rig(parser)


def record(args: argparse.Namespace) -> int:
    """Drive and write the log; nothing is written when it is cut short."""
    if args.squares < 1:
        raise ConfigError(f"--squares {args.squares}: give 1 or more")
    if not args.out.parent.is_dir():
        raise ConfigError(f"--out {args.out}: no folder {args.out.parent}; make it first")
    with open_rig(args, SPACE) as rig:
        use_imu(rig, args.folder)
        samples = squares(rig, args.squares)
    write_log(args.out, samples)
    print(f"recorded {len(samples) / 100:.0f} s: {args.out}")
    print(f"next: companion calibrate wheels solve --log {args.out}")
    return 0


def squares(rig: Rig, count: int) -> list[Sample]:
    """Drive `count` squares left, then right."""
    rig.recording = True
    rig.wait(1.0)
    with rig.armed(Mode.ACTIVE):
        for way in (1.0, -1.0):
            for _ in range(4 * count):
                _go(rig, WHEEL_RAD_S, WHEEL_RAD_S, SIDE_S)
                _go(rig, -way * TURN_RAD_S, way * TURN_RAD_S, TURN_S)
    rig.recording = False
    return rig.samples


def _go(rig: Rig, left: float, right: float, seconds: float) -> None:
    rig.drive(left, right)
    rig.wait(seconds)
    rig.drive(0.0, 0.0)
    rig.wait(PAUSE_S)


def write_log(path: Path, samples: list[Sample]) -> None:
    """t_ns, wheel rotation [rad], yaw rate [rad/s]: one row per control period."""
    rows = [
        f"{s.t_ns},{s.position_rad[0]:.6f},{s.position_rad[1]:.6f},{float(np.mean(s.gyro_rad_s[:, 2])):.7f}"
        for s in samples
    ]
    write_whole(path, "\n".join(["t_ns,left,right,gyro_z", *rows]) + "\n")
