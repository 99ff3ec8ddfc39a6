"""`companion calibrate imu-static record`: the robot's own IMU, standing still, into an EuRoC CSV."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.errors import ConfigError
from tools.calibrate.finish import Step
from tools.calibrate.rig import Rig, Sample
from tools.calibrate.rigs import add_rig, open_rig
from tools.report import write_whole

SECONDS = 60.0
HEADER = (
    "#timestamp [ns],w_RS_S_x [rad s^-1],w_RS_S_y [rad s^-1],w_RS_S_z [rad s^-1],"
    "a_RS_S_x [m s^-2],a_RS_S_y [m s^-2],a_RS_S_z [m s^-2]"
)


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="F.csv", help="where the log goes"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="S", help="how long (default 60)")  # fmt: skip
    add_rig(parser)


def record(args: argparse.Namespace) -> int:
    """Listen and write; nothing moves."""
    if not 1 <= args.seconds <= 86_400:
        raise ConfigError(f"--seconds {args.seconds:g}: give 1 to 86400")
    if not args.out.parent.is_dir():
        raise ConfigError(f"--out {args.out}: no folder {args.out.parent}; make it first")
    with open_rig(args, "") as rig:
        samples = listen(rig, args.seconds)
    write_imu(args.out, samples, 1_000_000_000 // rig.body.imu_hz)
    print(f"recorded {args.seconds:g} s: {args.out}")
    print(f"next: companion calibrate imu-static solve --imu {args.out}")
    return 0


def listen(rig: Rig, seconds: float) -> list[Sample]:
    """Samples of so many seconds, motors off."""
    step = Step("listening", round(seconds))
    rig.recording = True
    for _ in range(round(seconds)):
        rig.wait(1.0)
        step()
    rig.recording = False
    return rig.samples


def write_imu(path: Path, samples: list[Sample], step_ns: int) -> None:
    """One row per IMU sample: the newest of a batch is the period's, the others come before it."""
    lines = [HEADER]
    for s in samples:
        count = len(s.gyro_rad_s)
        for i in range(count):
            t = s.t_ns - (count - 1 - i) * step_ns
            values = [*s.gyro_rad_s[i], *s.accel_m_s2[i]]
            lines.append(f"{t}," + ",".join(f"{v:.7f}" for v in values))
    write_whole(path, "\n".join(lines) + "\n")
