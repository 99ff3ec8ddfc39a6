"""`companion calibrate cam-imu record`: the robot turns, nods, looks around and drives, and films it.

Base and head move one after the other: the base turns on the spot under a head that looks down, then
up (so that its turning is about two axes of the camera), the head nods and looks around, and the
base drives ahead and back. It cannot roll or pitch the base, and need not (`calibration.self_motion`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.board import parse_board
from firmware_bridge.protocol import Mode
from runtime.errors import ConfigError, RuntimeFault
from tools.calibrate.finish import Step
from tools.calibrate.head import TWIN_BOARD, move_joint
from tools.calibrate.moving_camera import MovingCamera, open_camera
from tools.calibrate.rig import PERIOD_NS, Rig, TwinRig
from tools.calibrate.rigs import add_rig, open_rig
from tools.compose import device_serial
from tools.report import write_whole
from tools.twin import imu_truth
from tools.twin.world import STEP_S

Floats = npt.NDArray[np.float64]
SPACE = (
    "half a metre of hard, level floor all around, and a board fixed half a metre before its face"
)
FILE = "motion.npz"
TURN_S, HEAD_S, STROKES, STROKE_S = 10.0, 8.0, 10, 1.2
TURN_RAD, NOD_RAD, LOOK_RAD = 0.35, 0.25, 0.35  # swings: the board stays whole in the picture
TILTS_RAD = (0.24, 0.0, -0.28)  # of the head while the base turns
STROKE_M_S = 0.3
SLOW_HZ, FAST_HZ = 0.37, 0.37 * 2.618  # the golden ratio squared: it comes round to no whole number
REST_S = 0.5
EASE_S = 0.8


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the film and the motion")  # fmt: skip
    add("--board", default=TWIN_BOARD, metavar="BOARD", help=f"fixed before its face (default {TWIN_BOARD})")  # fmt: skip
    add("--camera", default="", metavar="DEVICE", help="the head's camera (default: the twin's)")
    add("--raw-imu", action="store_true", help="the twin's IMU as before its factory calibration, for `solve --imu` (a robot's always is)")  # fmt: skip
    add_rig(parser)


def record(args: argparse.Namespace) -> int:
    """Move, film, write; nothing is written when it is cut short."""
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ConfigError(f"--out {args.out} is not empty; give a new folder")
    if args.port and not args.camera:
        raise ConfigError("--camera is missing: name the head's camera, as /dev/video0")
    if args.port and args.raw_imu:
        raise ConfigError("--raw-imu is for the twin: a robot's board always delivers raw axes; leave it out")  # fmt: skip
    board = parse_board(args.board)
    print("The base cannot roll or pitch itself: its z axis is found by turning, its x axis by driving.")  # fmt: skip
    with (
        open_rig(args, SPACE, raw_imu=args.raw_imu) as rig,
        open_camera(rig, args.camera, board) as camera,
    ):
        tape = Tape(rig, camera)
        perform(tape)
        frames = camera.frames()
        uid = rig.link.identity.uid if rig.link.identity is not None else ""
        serial = f"twin-{args.seed}" if isinstance(rig, TwinRig) else device_serial(args.camera)
        about = {
            "tool": "cam-imu",
            "serial": serial,
            "imu_serial": uid,
            "imu_calibrated": isinstance(rig, TwinRig) and not args.raw_imu,
            "body": args.body,
            "board": args.board,
        }
        truth = _truth(rig) if isinstance(rig, TwinRig) else None
    _write(args.out, tape, frames, about if truth is None else {**about, "truth": truth})
    print(f"recorded {len(tape.joint_t_ns) / 100:.0f} s and {len(frames)} frames: {args.out}")
    print(f"next: companion calibrate cam-imu solve --record {args.out}")
    return 0


@dataclass
class Tape:
    """What is kept while the robot moves."""

    rig: Rig
    camera: MovingCamera
    phase: str = ""
    stretch: int = 0
    joint_t_ns: list[int] = field(default_factory=list)
    joints: list[Floats] = field(default_factory=list)
    labels: list[tuple[str, int]] = field(default_factory=list)
    imu: list[tuple[Floats, Floats, Floats]] = field(default_factory=list)
    _seen: int = 0

    def begin(self, phase: str) -> None:
        """A stretch without a gap."""
        self.phase, self.stretch = phase, self.stretch + 1

    def advance(self) -> None:
        """One period; a batch that did not come leaves a hole, and is not kept twice."""
        rig = self.rig
        sample = rig.advance()
        if self.phase != "drive":
            self.camera.step(rig.now_ns)
        if rig.link.sensors_seq == self._seen:
            return
        self._seen = rig.link.sensors_seq
        batch = rig.link.sensors[0]
        self.joint_t_ns.append(int(batch["t_ns"]))
        self.joints.append(sample.position_rad)
        self.labels.append((self.phase, self.stretch))
        self.imu.append((np.array(batch["imu_t_ns"]), sample.gyro_rad_s, sample.accel_m_s2))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds * 1e9 / PERIOD_NS)):
            self.advance()


def perform(tape: Tape) -> None:
    """All motions, one after the other."""
    step = Step("moving by itself", 2 * len(TILTS_RAD) + 3)
    for tilt in TILTS_RAD:
        move_joint(tape.rig, "head_pitch", tilt)
        step()
        _turn(tape)
        step()
    move_joint(tape.rig, "head_pitch", 0.0)
    _swing(tape, "nod", "head_pitch", NOD_RAD)
    step()
    _swing(tape, "look", "head_yaw", LOOK_RAD)
    step()
    _drive(tape)
    step()


def irregular(t_s: float, swing: float, long_s: float) -> float:
    """A swing that never repeats itself (one that did would fit at several time offsets), from and to rest."""
    ease = np.sin(np.pi / 2 * np.clip(min(t_s, long_s - t_s) / EASE_S, 0, 1)) ** 2
    both = 0.7 * np.sin(2 * np.pi * SLOW_HZ * t_s) + 0.3 * np.sin(2 * np.pi * FAST_HZ * t_s)
    return swing * float(ease * both)


def _turn(tape: Tape) -> None:
    """On the spot, to and fro; the rest of the head is held."""
    rig = tape.rig
    geometry = rig.body.geometry
    rim = geometry.track_width_m / 2 / geometry.wheel_radius_m
    with rig.armed(Mode.ACTIVE):
        tape.begin("turn")
        tape.wait(REST_S)
        for k in range(round(TURN_S * 100)):
            rate = (
                (irregular((k + 1) / 100, TURN_RAD, TURN_S) - irregular(k / 100, TURN_RAD, TURN_S))
                * 100
                * rim
            )
            rig.drive(-rate, rate)
            tape.advance()
        rig.drive(0.0, 0.0)
        tape.wait(REST_S)


def _swing(tape: Tape, phase: str, joint: str, swing: float) -> None:
    """One joint of the head at a tenth of its current, about where it stands."""
    rig = tape.rig
    index = rig.names.index(joint)
    with rig.armed(Mode.BENCH, joint):
        middle = float(rig.advance().position_rad[index])
        tape.begin(phase)
        for k in range(round(HEAD_S * 100)):
            rig.aim(joint, middle + irregular(k / 100, swing, HEAD_S))
            tape.advance()
        rig.aim(joint, middle)
        tape.wait(REST_S)


def _drive(tape: Tape) -> None:
    """Ahead and back by a hand's breadth, as briskly as the board allows."""
    rig = tape.rig
    rate = STROKE_M_S / rig.body.geometry.wheel_radius_m
    with rig.armed(Mode.ACTIVE):
        tape.begin("drive")
        tape.wait(REST_S)
        for k in range(STROKES):
            for way in (1.0, -1.0):
                rig.drive(way * rate, way * rate)
                tape.wait(STROKE_S / 2 * (1 + 0.15 * np.sin(k)))
        rig.drive(0.0, 0.0)
        tape.wait(REST_S)


def _write(folder: Path, tape: Tape, frames: list[tuple[int, bytes]], about: dict[str, object]) -> None:  # fmt: skip
    """The film first, what says that all is there last."""
    if len(frames) < 100:
        raise RuntimeFault(f"{len(frames)} frames came while it moved; check the camera (`companion doctor`) and record again")  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_, picture) in enumerate(frames):
        write_whole(folder / f"{number:05d}.png", picture)
    t_ns, gyro, accel = (np.concatenate([b[i] for b in tape.imu]) for i in range(3))
    with (folder / FILE).open("wb") as stream:
        np.savez_compressed(
            stream, imu_t_ns=t_ns, gyro_rad_s=gyro, accel_m_s2=accel,
            joint_t_ns=np.array(tape.joint_t_ns), joints_rad=np.array(tape.joints),
            phase=np.array([p for p, _ in tape.labels]), stretch=np.array([s for _, s in tape.labels]),
            frame_t_ns=np.array([t for t, _ in frames]), names=np.array(tape.rig.names),
        )  # fmt: skip
    write_whole(folder / "record.json", json.dumps(about, indent=2) + "\n")


def _truth(rig: TwinRig) -> dict[str, object]:
    """What solve should find, with and without `--imu`."""
    return {
        # sensors show the step before, and a rate is the mean of one
        "time_offset_s": rig.made.camera_offset_s + 1.5 * STEP_S,
        "camera_from_imu": {
            axes: imu_truth.camera_from_imu(rig.twin, axes == "imu-multi").tolist()
            for axes in ("delivered", "imu-multi")
        },
    }
