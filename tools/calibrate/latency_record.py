"""`companion calibrate latency record`: the base turns to and fro, faster and faster, and all is logged.

The chirp keeps the wheels' acceleration the same at every frequency, low enough that the firmware's
jerk limit does not shape it: above 6 rad/s^2 its lag would grow with the motion's size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.body import Body
from runtime.errors import ConfigError
from tools.calibrate.finish import Step
from tools.calibrate.latency_eye import Eye, Look, open_eye
from tools.calibrate.latency_log import LatencyLog, write_latency
from tools.calibrate.latency_truth import Truth
from tools.calibrate.rig import PERIOD_NS, Rig, TwinRig
from tools.calibrate.rigs import add_rig, open_rig

SPACE = "1 m of clear, level floor around it: it turns on the spot, up to 60 degrees each way"
SECONDS = 20.0
FROM_HZ, TO_HZ = 0.35, 1.5
WHEEL_RAD_S2 = 5.0
WHEEL_MAX_RAD_S = 2.5
SETTLE_S = 0.5

Floats = npt.NDArray[np.float64]


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="F.npz", help="where the recording goes")
    add("--seconds", type=float, default=SECONDS, metavar="S", help="how long it turns (default 20)")  # fmt: skip
    add("--camera", default="", metavar="DEVICE", help="the head's camera (default: the twin's)")
    add_rig(parser)


def record(args: argparse.Namespace) -> int:
    """Turn and write; nothing is written when it is cut short."""
    if not 1 <= args.seconds <= 120:
        raise ConfigError(f"--seconds {args.seconds:g}: give 1 to 120")
    if not args.out.parent.is_dir():
        raise ConfigError(f"--out {args.out}: no folder {args.out.parent}; make it first")
    with open_rig(args, SPACE) as rig, open_eye(rig, args.camera) as eye:
        log = turn(rig, eye, args.seconds)
    write_latency(args.out, log)
    print(f"recorded {args.seconds:g} s, {len(log.frame_ns)} frames: {args.out}")
    print(f"next: companion calibrate latency solve --log {args.out}")
    return 0


def turn(rig: Rig, eye: Eye, seconds: float) -> LatencyLog:
    """Drive the chirp and gather what every sensor says."""
    book = Book(rig, eye)
    speeds = chirp(seconds)
    step = Step("turning, seconds", round(seconds))
    with rig.armed():
        for count, speed in enumerate(speeds, 1):
            rig.drive(-speed, speed)
            book.write()
            if count % 100 == 0:
                step()
        rig.drive(0.0, 0.0)
        for _ in range(round(SETTLE_S * 1e9 / PERIOD_NS)):
            book.write()
    return book.log()


def chirp(seconds: float) -> Floats:
    """(N,) speeds of the right wheel [rad/s] per control period; the left one's are opposite."""
    t = np.arange(round(seconds * 1e9 / PERIOD_NS)) * (PERIOD_NS / 1e9)
    rate = (TO_HZ - FROM_HZ) / seconds
    hz = FROM_HZ + rate * t
    speed = np.minimum(WHEEL_RAD_S2 / (2 * np.pi * hz), WHEEL_MAX_RAD_S)
    found: Floats = speed * np.sin(2 * np.pi * (FROM_HZ * t + rate * t**2 / 2))
    return found


class Book:
    """Rows of a recording as they come: one `write` per control period."""

    def __init__(self, rig: Rig, eye: Eye) -> None:
        self._rig, self._eye = rig, eye
        self._serial = eye.serial if isinstance(rig, TwinRig) else _uid(rig)
        self._seq = rig.link.sensors_seq
        self._periods: list[tuple[int, int, int, Floats, Floats]] = []
        self._imu: list[tuple[npt.NDArray[np.int64], Floats]] = []
        self._looks: list[Look] = []
        self._truth = Truth(rig) if isinstance(rig, TwinRig) else None

    def write(self) -> None:
        """Let a period pass; what came in it is kept once."""
        sample = self._rig.advance()
        if self._truth is not None:
            self._truth.sent(sample.target)
        self._looks += self._eye.take(self._rig.now_ns)
        if self._rig.link.sensors_seq == self._seq:
            return
        self._seq = self._rig.link.sensors_seq
        s = self._rig.link.sensors[0]
        self._imu.append((np.array(s["imu_t_ns"], np.int64), np.array(s["gyro_rad_s"], float)))
        self._periods.append(
            (sample.t_ns, int(s["t_ns"]), sample.t_ns, sample.target[:2], sample.position_rad[:2])
        )

    def log(self) -> LatencyLog:
        """All of it."""
        body = self._rig.body
        command_ns, state_ns, arrival_ns = (np.array([p[i] for p in self._periods], np.int64) for i in range(3))  # fmt: skip
        imu_ns = np.concatenate([t for t, _ in self._imu])
        gyro = np.concatenate([g for _, g in self._imu])
        first = np.concatenate([[True], np.diff(np.maximum.accumulate(imu_ns)) > 0])
        width, height = self._eye.size
        shape = self._looks[0].grey.shape if self._looks else (height, width)
        frames = np.stack([k.grey for k in self._looks]) if self._looks else np.zeros((0, *shape), np.uint8)  # fmt: skip
        return LatencyLog(
            serial=self._serial,
            command_ns=command_ns,
            command_rad_s=np.array([p[3] for p in self._periods]),
            state_ns=state_ns,
            wheel_rad=np.array([p[4] for p in self._periods]),
            state_arrival_ns=arrival_ns,
            imu_ns=imu_ns[first],
            gyro_rad_s=gyro[first],
            frame_ns=np.array([k.t_ns for k in self._looks], np.int64),
            frame_arrival_ns=np.array([k.arrival_ns for k in self._looks], np.int64),
            frames=frames,
            camera_matrix=lens_matrix(body, shape[1], shape[0]),
            distortion=np.array(body.camera.distortion, float),
            readout_s=body.camera.readout_s,
            wheel_radius_m=body.geometry.wheel_radius_m,
            track_m=body.geometry.track_width_m,
            truth_ms=self._truth.delays_ms() if self._truth is not None else np.zeros(0),
        )


def lens_matrix(body: Body, width: int, height: int) -> Floats:
    """(3, 3) the drawing's lens in frames of this size: a wrong focal length scales, and shifts no time."""
    c = body.camera
    x, y = width / c.width, height / c.height
    return np.array([[c.fx * x, 0, c.cx * x], [0, c.fy * y, c.cy * y], [0, 0, 1.0]])


def _uid(rig: Rig) -> str:
    return rig.link.identity.uid if rig.link.identity is not None else ""
