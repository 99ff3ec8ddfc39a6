"""`companion calibrate cam-imu solve --record`: what the robot recorded of its own motion, solved and judged."""

from __future__ import annotations

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.board import parse_board
from calibration.errors import DataError, RecordError
from calibration.imu_map import ImuMap, imu_map
from calibration.rate_alignment import apart_deg
from calibration.rotations import quaternion
from calibration.self_motion import Motion, driving, solve_mount
from calibration.self_motion_fit import SelfMotion, fit
from calibration.self_motion_judge import judge
from calibration.store import read_record
from calibration.verdict import judged
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.calibrate.board_film import board_looks, size_of
from tools.calibrate.figures import BAD, DATA, GOOD, figure, svg
from tools.calibrate.finish import check_output, digest, finish
from tools.calibrate.head import chain_of, lens_parameters
from tools.calibrate.install import read_verdict
from tools.calibrate.page import Page, Plot
from tools.compose import calibration_folder

Floats = npt.NDArray[np.float64]
FILE = "motion.npz"


def solve(args: argparse.Namespace) -> int:
    """Read, fit, judge, report."""
    check_output(args)
    about, arrays = read_recording(args.record)
    body = load_body(about["body"])
    correct = _corrections(args.imu, about, args.folder)
    motion, zero_ns = _motion(arrays, correct)
    geometry = body.geometry
    mount = solve_mount(motion, geometry.wheel_radius_m, geometry.track_width_m, correct is not None, bool(about.get("imu_calibrated")))  # fmt: skip
    files = sorted(args.record.glob("*.png"))
    stamps = (arrays["frame_t_ns"] - zero_ns) / 1e9
    if len(files) != len(stamps):
        raise DataError(f"{args.record} holds {len(files)} frames, {len(stamps)} were recorded; record again")  # fmt: skip
    model, lens = lens_parameters(
        args.calibration, about["serial"], body, size_of(files[0]), args.folder
    )
    looks = board_looks(files, stamps, parse_board(about["board"]), model, lens, body.camera.readout_s)  # fmt: skip
    found = fit(looks, motion, mount, chain_of(body), geometry.wheel_radius_m)
    axes = "imu-multi" if correct is not None else "delivered"
    sources = [args.record / FILE, *files, *([args.imu] if args.imu else [])]
    verdict = judged(
        "cam-imu", _result(found, about, axes), _quality(found, len(files), about, axes),
        judge(found, len(files)), digest(sources), about["serial"],
    )  # fmt: skip
    inputs = [f"{args.record}: {len(files)} frames, gyro axes {axes}"]
    return finish(args, verdict, lambda: _page(found, motion, inputs))


def read_recording(folder: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """What `cam-imu record` wrote: about it, and its arrays."""
    try:
        about = json.loads((folder / "record.json").read_text())
        if about["tool"] != "cam-imu":
            raise ValueError(f"it is of {about['tool']}")
        for key in ("serial", "imu_serial", "body", "board"):
            about[key]
        with (folder / FILE).open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        for key in ("imu_t_ns", "gyro_rad_s", "accel_m_s2", "joint_t_ns", "joints_rad", "phase", "stretch", "frame_t_ns", "names"):  # fmt: skip
            arrays[key]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder} is no recording of camera and IMU ({error}); give what `calibrate cam-imu record` wrote") from error  # fmt: skip
    return about, arrays


def _corrections(file: Path | None, about: dict[str, Any], folder: Path | None) -> ImuMap | None:
    """Of the file, or of what is installed for the board; a twin's board delivers calibrated axes."""
    if file is None:
        if folder is None and about["imu_serial"].startswith("twin-"):
            return None
        here = folder or calibration_folder()
        try:
            return imu_map(read_record(here, about["imu_serial"], "imu-multi").result)
        except RecordError:
            return None
    if about.get("imu_calibrated"):
        raise ConfigError(
            f"--imu {file}: this twin's IMU delivered calibrated axes, which may not be corrected twice;"
            " record with --raw-imu, or solve without --imu"
        )
    verdict = read_verdict(file)
    if verdict.tool != "imu-multi":
        raise ConfigError(f"--imu {file} is of {verdict.tool}; give what `imu-multi solve --out` wrote")  # fmt: skip
    try:
        return imu_map(verdict.result)
    except RecordError as error:
        raise ConfigError(f"--imu {file}: {error}") from error


def _motion(arrays: dict[str, npt.NDArray[Any]], correct: ImuMap | None) -> tuple[Motion, int]:
    """On one clock from its first sample on, and that sample's time [ns]."""
    zero_ns = int(arrays["imu_t_ns"][0])
    gyro, accel = arrays["gyro_rad_s"].astype(float), arrays["accel_m_s2"].astype(float)
    if correct is not None:
        gyro, accel = correct.gyro(gyro), correct.accel(accel)
    names = [str(n) for n in arrays["names"]]
    joints = arrays["joints_rad"].astype(float)
    missing = [n for n in ("head_yaw", "head_pitch") if n not in names]
    if missing:
        raise DataError(f"the recording's body has no joint {missing[0]}; this tool needs a head that yaws and pitches")  # fmt: skip
    return Motion(
        (arrays["imu_t_ns"] - zero_ns) / 1e9, gyro, accel, (arrays["joint_t_ns"] - zero_ns) / 1e9,
        joints[:, :2], joints[:, names.index("head_yaw")], joints[:, names.index("head_pitch")],
        arrays["phase"], arrays["stretch"],
    ), zero_ns  # fmt: skip


def _result(found: SelfMotion, about: dict[str, Any], axes: str) -> dict[str, Any]:
    return {
        "time_offset_s": found.offset_s,
        "rotation_quat_xyzw": quaternion(found.camera_from_imu),
        "base_from_imu_quat_xyzw": quaternion(found.mount.base_from_imu),
        "gyro_bias_rad_s": found.mount.bias_rad_s,
        "encoders_later_s": found.encoders_later_s,
        "stamps": "robot",
        "imu_serial": about["imu_serial"],
        "gyro_axes": axes,
        "conventions": "t_imu = t_camera + time_offset_s, at the frame's middle row; v_camera = R v_imu at"
        " head zero (optical axes); v_base = R v_imu, base z the floor's normal, x the way it drives",
        "std": {
            "time_offset_s": found.offset_std_s,
            "rotation_rad": found.std_rad,
            "base_from_imu_rad": found.mount.std_rad,
        },
    }


def _quality(found: SelfMotion, frames: int, about: dict[str, Any], axes: str) -> dict[str, Any]:
    out: dict[str, Any] = {
        "correlation": found.mount.turned.alike,
        "drive_correlation": found.mount.driven.alike,
        "residual_px": found.residual_px,
        "views": found.used,
        "frames": frames,
        "halves_offset_apart_s": found.halves[0],
        "halves_rotation_apart_deg": float(np.rad2deg(found.halves[1])),
        "gyro_scale": found.gyro_scale,
        "lean_deg": np.rad2deg(found.lean_rad),
        "camera_shift_m": found.shift_m,
    }
    truth = about.get("truth")
    if truth is not None:
        out["truth_time_offset_ms"] = 1e3 * (found.offset_s - truth["time_offset_s"])
        out["truth_rotation_deg"] = apart_deg(found.camera_from_imu, np.array(truth["camera_from_imu"][axes]))  # fmt: skip
    return out


def _page(found: SelfMotion, motion: Motion, inputs: list[str]) -> Page:
    return Page(
        "Camera and IMU, by the robot's own motion (cam-imu)",
        [
            Plot("Do camera and robot turn as one?", "Dots: as the camera saw the board turn. Line: as gyro and encoders say that the head turned. They must lie on each other in all three rows.", _rates(found)),
            Plot("What is known of the rotation?", "Short bars: known well. About z the accelerometer tells, for the base cannot roll or pitch itself.", _bars(found)),
            Plot("Which way is ahead?", "Speeding up and braking, the accelerometer must follow the wheels: a straight line of dots.", _ahead(found, motion)),
        ],
        inputs=inputs,
    )  # fmt: skip


def _rates(found: SelfMotion) -> str:
    drawn, axes = figure(6.4, 5.0, nrows=3, sharex=True)
    t_s, camera, robot = found.rough.compared
    for i, axis in enumerate(axes):
        axis.plot(t_s, camera[:, i], ".", color=DATA, ms=2)
        axis.plot(t_s, np.where(np.diff(t_s, prepend=t_s[0]) < 0.5, robot[:, i], np.nan), color="#e08a1e", lw=0.9)  # fmt: skip
        axis.set_ylabel(f"{'xyz'[i]} [rad/s]")
    axes[-1].set_xlabel("time [s]")
    return svg(drawn)


def _bars(found: SelfMotion) -> str:
    drawn, axis = figure(6.4, 2.6)
    names = ["camera x", "camera y", "camera z", "IMU roll", "IMU pitch", "IMU yaw"]
    std = np.rad2deg(np.concatenate((found.std_rad, found.mount.std_rad)))
    axis.barh(names, 1.96 * std, color=[GOOD if v < 0.35 else BAD for v in std])
    axis.invert_yaxis()
    axis.set_xlabel("95 % interval, half of it [deg]")
    return svg(drawn)


def _ahead(found: SelfMotion, motion: Motion) -> str:
    x, y = driving(motion, 1.0)
    along = (y - y.mean(axis=0)) @ found.mount.base_from_imu[0]
    aside = (y - y.mean(axis=0)) @ found.mount.base_from_imu[1]
    drawn, axis = figure(6.4, 3.2)
    axis.plot(x, along, ".", color=DATA, ms=3, label="ahead (x)")
    axis.plot(x, aside, ".", color=BAD, ms=3, label="aside (y): stays at zero")
    axis.set(xlabel="the wheels' acceleration [rad/s^2]", ylabel="accelerometer [m/s^2]")
    axis.legend()
    return svg(drawn)
