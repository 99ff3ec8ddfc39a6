"""`companion calibrate head`: the camera's place on the head, from a fixed board and a moving head."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from calibration.board import Board, parse_board
from calibration.bundle_adjustment import View
from calibration.corners import detect
from calibration.errors import DataError
from calibration.head import Chain, Head, Pose, judge_head, solve_head
from calibration.store import lens_of, read_record, record_path
from calibration.verdict import judged
from firmware_bridge.protocol import Mode
from runtime.body import Body, load_body
from runtime.errors import ConfigError, RuntimeFault
from tools.calibrate.figures import BAD, DATA, figure, svg
from tools.calibrate.finish import Step, add_output, check_output, digest, finish
from tools.calibrate.install import read_verdict
from tools.calibrate.page import Page, Plot
from tools.calibrate.rig import Rig, TwinRig
from tools.calibrate.rigs import add_rig, open_rig
from tools.calibrate.still_camera import Shutter, open_shutter
from tools.compose import calibration_folder
from tools.report import write_whole

SPACE = "its stand or the floor, with a board fixed before its face, and no hand near the head"
YAWS_RAD, PITCHES_RAD = (-0.36, -0.12, 0.12, 0.36), (-0.28, -0.1, 0.08, 0.26)
SPEED_RAD_S = 0.6
TWIN_BOARD = "chessboard:6x4:40mm"
JOINTS = ("head_yaw", "head_pitch")
USUAL_STEP_RAD = 2 * np.pi / 4096  # of a servo's encoder, for a recording that does not tell it
TWIN_BOARD_M = (0.46, 0.02, 0.40)  # its middle, in the base frame


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    add = parser.add_argument
    add(
        "--out", type=Path, required=True, metavar="DIR", help="a new folder for pictures and poses"
    )
    add(
        "--board",
        default=TWIN_BOARD,
        metavar="BOARD",
        help=f"the board before its face (default {TWIN_BOARD})",
    )
    add("--camera", default="", metavar="DEVICE", help="the head's camera (default: the twin's)")
    add_rig(parser)  # fmt: skip


def record(args: argparse.Namespace) -> int:
    """Look at the board from 16 poses of the head; pictures and poses into a folder."""
    board = parse_board(args.board)
    if args.out.exists() and any(args.out.iterdir()):
        raise ConfigError(f"--out {args.out} is not empty; give a new folder")
    with open_rig(args, SPACE) as rig:
        with open_shutter(rig, args.camera, board, TWIN_BOARD_M) as shutter:
            serial = f"twin-{args.seed}" if isinstance(rig, TwinRig) else shutter.serial
            args.out.mkdir(parents=True, exist_ok=True)
            rig.recording = True
            rows = _look_around(rig, shutter, args.out)
            steps = [reading_step_rad(rig, joint) for joint in JOINTS]
    write_whole(args.out / "poses.csv", "\n".join(["file,head_yaw,head_pitch", *rows]) + "\n")
    about = {"tool": "head", "board": args.board, "serial": serial, "body": args.body, "reading_step_rad": steps}  # fmt: skip
    write_whole(args.out / "record.json", json.dumps(about, indent=2) + "\n")
    print(f"recorded {len(rows)} poses: {args.out}")
    print(f"next: companion calibrate head solve --record {args.out}")
    return 0


def _look_around(rig: Rig, shutter: Shutter, folder: Path) -> list[str]:
    """One picture per pose, the head at rest; one joint at a time at a tenth of the current."""
    rows: list[str] = []
    step = Step("looking around", len(YAWS_RAD) * len(PITCHES_RAD))
    home = rig.advance().position_rad.copy()
    for i, yaw in enumerate(YAWS_RAD):
        move_joint(rig, "head_yaw", yaw)
        for pitch in PITCHES_RAD if i % 2 == 0 else PITCHES_RAD[::-1]:
            move_joint(rig, "head_pitch", pitch)
            at = rig.advance().position_rad
            name = f"{len(rows):02d}.png"
            write_whole(folder / name, cv2.imencode(".png", shutter.picture())[1].tobytes())
            here = [at[rig.names.index(j)] for j in JOINTS]
            rows.append(f"{name},{here[0]:.6f},{here[1]:.6f}")
            step()
    for joint in JOINTS:
        move_joint(rig, joint, float(home[rig.names.index(joint)]))
    return rows


def reading_step_rad(rig: Rig, joint: str) -> float:
    """By which steps the encoder of a joint tells its angle: the least that two readings differ by."""
    index = rig.names.index(joint)
    told = np.unique(np.round([s.position_rad[index] for s in rig.samples], 6))
    return float(np.diff(told).min()) if len(told) > 1 else USUAL_STEP_RAD


def move_joint(rig: Rig, joint: str, goal_rad: float) -> None:
    """Slowly there; RuntimeFault when it does not arrive."""
    index = rig.names.index(joint)
    at = float(rig.advance().position_rad[index])
    count = max(1, round(abs(goal_rad - at) / SPEED_RAD_S * 100))
    with rig.armed(Mode.BENCH, joint):
        for value in np.linspace(at, goal_rad, count + 1)[1:]:
            rig.aim(joint, float(value))
            rig.advance()
        rig.wait(0.4)
    rest = abs(float(rig.advance().position_rad[index]) - goal_rad)
    if rest > 0.1:
        raise RuntimeFault(f"{joint} stopped {rest:.2f} rad before its goal: something is in its way, or a hand; remove it and record again")  # fmt: skip


def add_solve(parser: argparse.ArgumentParser) -> None:
    """Options of solve."""
    add = parser.add_argument
    add("--record", type=Path, required=True, metavar="DIR", help="what record wrote")
    add(
        "--calibration",
        type=Path,
        metavar="F.json",
        help="the lens: what `camera solve --out` wrote (default: the installed one; a twin's own)",
    )
    add("--folder", type=Path, metavar="DIR", help="where calibrations lie (default: this robot's)")
    add_output(parser)  # fmt: skip


def solve(args: argparse.Namespace) -> int:
    """Fit the mount and judge it."""
    check_output(args)
    about, poses, size = read_poses(args.record)
    body = load_body(about.get("body", "companion"))
    model, lens = lens_parameters(args.calibration, about["serial"], body, size, args.folder)
    fit = solve_head(poses, chain_of(body), model, lens, steps_of(about))
    verdict = judged("head", result_of(fit), quality_of(fit), judge_head(fit), digest(sorted(args.record.glob("*.png"))), about["serial"])  # fmt: skip
    return finish(args, verdict, lambda: Page("Camera on the head", _plots(poses, fit), inputs=[str(args.record)]))  # fmt: skip


def steps_of(about: dict[str, Any]) -> tuple[float, float]:
    """The steps of both encoders that a recording tells; DataError where they are none."""
    try:
        yaw, pitch = map(float, about.get("reading_step_rad", (USUAL_STEP_RAD,) * 2))
    except (TypeError, ValueError) as error:
        raise DataError(f"record.json tells no steps of the encoders ({error}); record again") from error  # fmt: skip
    if not (0 <= yaw < 0.1 and 0 <= pitch < 0.1):
        raise DataError(f"record.json tells encoders that step by {yaw:g} and {pitch:g} rad; record again")  # fmt: skip
    return yaw, pitch


def chain_of(body: Body) -> Chain:
    """The drawing of the body's head."""
    g = body.geometry
    return Chain(tuple(g.neck_m), tuple(g.head_m), tuple(body.camera.head_from_camera_m))  # type: ignore[arg-type]


def read_poses(folder: Path) -> tuple[dict[str, Any], list[Pose], tuple[int, int]]:
    """What was recorded, the poses in which the board is seen, and the pictures' size."""
    try:
        about = json.loads((folder / "record.json").read_text())
        board: Board = parse_board(about["board"])
        about["serial"]
        with (folder / "poses.csv").open(newline="") as stream:
            rows = [(r["file"], float(r["head_yaw"]), float(r["head_pitch"])) for r in csv.DictReader(stream)]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder} is no recording of a head ({error}); give what `calibrate head record` wrote") from error  # fmt: skip
    poses, size = [], (0, 0)
    for name, yaw, pitch in rows:
        image = cv2.imread(str(folder / name))
        if image is None:
            raise DataError(f"{folder / name} cannot be read; record again")
        size = (image.shape[1], image.shape[0])
        seen = detect(np.asarray(image, np.uint8), board)
        if seen is not None:
            poses.append(Pose(yaw, pitch, View(name, board.points[seen.ids], seen.pixels)))
    return about, poses, size


def lens_parameters(
    file: Path | None,
    serial: str,
    body: Body,
    size: tuple[int, int],
    folder: Path | None = None,
) -> tuple[str, npt.NDArray[np.float64]]:
    """Model and parameters of the lens the pictures were taken with.

    Out of `file`, or as installed in `folder` (None: this robot's). A twin that has none there knows its own.
    """
    if file is not None:
        verdict = read_verdict(file)
        result = verdict.result
        if verdict.tool != "camera" or "camera_matrix" not in result:
            raise ConfigError(f"--calibration {file} holds no lens; give what `camera solve --out` wrote")  # fmt: skip
        k, d, sized = result["camera_matrix"], result["distortion"], tuple(result["image_size"])
        model = str(result["model"])
    else:
        here = folder or calibration_folder()
        installed = folder is not None and record_path(here, serial, "camera").is_file()
        if not installed and serial.startswith("twin-") and serial[5:].isdecimal():
            from tools.twin.specimen import lens_of as twin_lens

            lens: Any = twin_lens(body, int(serial[5:]))
        else:
            lens = lens_of(read_record(here, serial))
        p = lens.pinhole
        k, d, sized = [[p.fx, 0, p.cx], [0, p.fy, p.cy]], lens.distortion, (p.width, p.height)
        model = "pinhole" if len(d) == 5 else "fisheye"
    if sized != size:
        raise DataError(f"the pictures are {size[0]}x{size[1]}, the lens is calibrated at {sized[0]}x{sized[1]}; record in that mode")  # fmt: skip
    return model, np.array([k[0][0], k[1][1], k[0][2], k[1][2], *d], float)


def result_of(fit: Head) -> dict[str, Any]:
    """The mount against the drawing, and as a whole."""
    return {
        "camera_shift_m": fit.shift_m,
        "camera_turn_rad": fit.turn_rad,
        "head_from_camera": fit.head_from_camera,
        "conventions": "shift and rotation vector against the drawing, in the head's frame (x forward, z up);"
        " head_from_camera maps optical axes (x right, y down, z forward)",
        "std": {"camera_shift_m": fit.std[:3], "camera_turn_rad": fit.std[3:]},
    }  # fmt: skip


def quality_of(fit: Head) -> dict[str, Any]:
    """Figures that say how good it is."""
    return {
        "held_out_px": fit.held_out_px,
        "halves_mm": fit.halves[0] * 1e3,
        "halves_deg": float(np.degrees(fit.halves[1])),
        "std_mm": float(fit.std[:3].max() * 1e3),
        "std_deg": float(np.degrees(fit.std[3:].max())),
        "poses": len(fit.residuals),
        "span_deg": [float(np.degrees(s)) for s in fit.span_rad],
    }


def _plots(poses: list[Pose], fit: Head) -> list[Plot]:
    drawn, axes = figure(6.4, 3.6)
    size = [60 * max(0.1, float(np.sqrt((r**2).sum(1).mean()))) for r in fit.residuals]
    axes.scatter([np.degrees(p.yaw_rad) for p in poses], [np.degrees(p.pitch_rad) for p in poses], size, color=DATA)  # fmt: skip
    axes.set(xlabel="yaw [deg]", ylabel="pitch, down is positive [deg]")
    spread = Plot("Was the head moved enough?", "Dots spread over both axes; a large dot is a pose that fits badly.", svg(drawn))  # fmt: skip
    drawn, axes = figure(6.4, 2.8)
    names = ("x forward", "y left", "z up")
    for at, scale, unit, colour in ((0, 1e3, "mm", DATA), (3, 57.29577951308232, "deg", BAD)):
        values = np.concatenate([fit.shift_m, fit.turn_rad])[at : at + 3] * scale
        axes.errorbar(values, [n + f" [{unit}]" for n in names], xerr=1.96 * fit.std[at : at + 3] * scale, fmt="o", color=colour)  # fmt: skip
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlabel("camera against the drawing, with 95 % intervals")
    return [spread, Plot("Where does the camera sit?", "Short bars: known well. Off zero: mounted off the drawing by so much.", svg(drawn))]  # fmt: skip
