"""`companion calibrate cam-imu solve`: time offset and rotation of a camera or gyro to a gyro."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.noise_judge import PER_SI
from calibration.rate_alignment import Alignment, align, apart_deg, interval_rates
from calibration.rate_judge import Seen, judge, offset_known, rotation_known
from calibration.verdict import judged
from runtime.errors import ConfigError
from tools.calibrate.cam_imu_robot import solve as robot
from tools.calibrate.figures import BAD, DATA, FAINT, GOOD, figure, svg
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.logs import Log, read_log
from tools.calibrate.page import Page, Plot
from tools.calibrate.video_rates import read_lens, video_rates

Floats = npt.NDArray[np.float64]
SAMPLES = 3  # of the slower gyro to an interval


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `calibrate cam-imu solve`."""
    parser.add_argument(
        "--record",
        type=Path,
        metavar="DIR",
        help="what `cam-imu record` wrote; nothing else is needed then",
    )
    parser.add_argument(
        "--imu",
        type=Path,
        metavar="F.json",
        help="with --record: an imu-multi result that corrects gyro and accelerometer first (default: the installed one)",
    )
    parser.add_argument("--video", type=Path, metavar="V", help="the camera's recording; then one --gyro")  # fmt: skip
    parser.add_argument("--gyro", type=Path, action="append", default=[], metavar="F", help="gyro log; twice (A, then B) without a video")  # fmt: skip
    parser.add_argument("--calibration", type=Path, metavar="F", help="the camera's calibration: a verdict with camera_matrix and distortion")  # fmt: skip
    parser.add_argument("--rate", type=float, metavar="HZ", help="for logs without a time column")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="with --record: where calibrations lie (default: this robot's)")  # fmt: skip
    add_output(parser)


def main(args: argparse.Namespace) -> int:
    """Read, align, judge, report."""
    check_output(args)
    if args.record:
        if args.video or args.gyro:
            raise ConfigError("--record is a whole recording; give it without --video and --gyro")
        return robot(args)
    for name in ("imu", "folder"):
        if getattr(args, name):
            raise ConfigError(f"--{name} is for what `cam-imu record` wrote; give it with --record")
    wanted = 1 if args.video else 2
    if len(args.gyro) != wanted:
        raise ConfigError(f"{len(args.gyro)} --gyro with{'' if args.video else 'out'} a --video; give --video V --gyro F, or --gyro A --gyro B, or --record DIR")  # fmt: skip
    logs = [read_log(path, args.rate) for path in args.gyro]
    b_log, b = logs[-1], _rad_s(logs[-1])
    seen: Seen | None = None
    if args.video:
        lens = read_lens(args.calibration) if args.calibration else None
        a, seen, found = video_rates(args.video, lens, b_log.t_s, b)
        start_ns, sources = 0, [args.video, b_log.path]
        if args.calibration:
            sources.append(args.calibration)
    else:
        if args.calibration:
            raise ConfigError("--calibration is a camera's; give it with --video")
        a_log = logs[0]
        a = interval_rates(a_log.t_s, _rad_s(a_log), SAMPLES / min(a_log.rate_hz, b_log.rate_hz))
        found = align(a, b_log.t_s, b)
        start_ns, sources = a_log.start_ns, [a_log.path, b_log.path]
    later_ns = b_log.start_ns - start_ns
    verdict = judged(
        "cam-imu", result(found, later_ns, seen is not None), quality(found, seen, len(a.start_s)),
        judge(found, seen), digest(sources),
    )  # fmt: skip
    inputs = [f"{log.path}: {'; '.join(log.notes)}" for log in logs]
    return finish(args, verdict, lambda: page(found, inputs))


def _rad_s(log: Log) -> Floats:
    axes = log.axes("gyro")
    return axes.xyz / PER_SI.get(axes.unit, 1.0)


def result(found: Alignment, later_ns: int, video: bool) -> dict[str, Any]:
    """Offset and rotation, None where the motion cannot tell; whole seconds are added as integers."""
    whole = found.whole
    offset, turned = offset_known(found), rotation_known(found)
    names = ("camera", "imu") if video else ("A", "B")
    rolling = (
        "; of a rolling shutter: the middle row's time less the frame's stamp is in it"
        if video
        else ""
    )
    return {
        "time_offset_s": later_ns / 1e9 + whole.offset_s if offset else None,
        "rotation_quat_xyzw": found.quaternion_xyzw if turned else None,
        "gyro_bias_rad_s": whole.rotation.T @ whole.bias_rad_s / -whole.scale if turned else None,
        "rate_scale": whole.scale if offset else None,
        "conventions": f"t_{names[1]} = t_{names[0]} + time_offset_s; v_{names[0]} = R v_{names[1]}{rolling}",
        "std": {
            "time_offset_s": whole.offset_std_s if offset else None,
            "rotation_rad": whole.rotation_std_rad if turned else None,
            "rate_scale": whole.scale_std if offset else None,
        },
    }  # fmt: skip


def quality(found: Alignment, seen: Seen | None, intervals: int) -> dict[str, Any]:
    """The figures that the verdict stands on."""
    out: dict[str, Any] = {
        "correlation": found.whole.correlation,
        "excitation": found.excitation,
        "turn_rate_rms_rad_s": found.rms_rad_s,
        "residual_rms_rad_s": float(np.sqrt((found.whole.residual_rad_s**2).mean())),
        "intervals": intervals,
        "next_best_correlation": found.runner_up,
    }
    if found.halves is not None:
        first, second = found.halves
        out["halves_offset_apart_s"] = abs(first.offset_s - second.offset_s)
        out["halves_rotation_apart_deg"] = apart_deg(first.rotation, second.rotation)
    if seen is not None:
        out |= {"frames_lost": seen.lost, "cuts_s": seen.cuts_s, "lens_known": seen.lens_known}
    return out


def page(found: Alignment, inputs: list[str]) -> Page:
    """Whether the rates lie on each other, the offset is one sharp valley, and all axes moved."""
    return Page(
        "Camera or gyro to gyro (cam-imu)",
        [
            Plot("Do both turn as one?", "A (blue) and B turned into A (orange) must lie on each other in all three rows.", _rates(found)),
            Plot("Is there one best time offset?", "One sharp valley at 0 is good. A flat valley: turn faster. Several: the motion repeated itself.", _valley(found)),
            Plot("Did all axes move?", "All three bars above their lines: the rotation is known. One tall bar alone: turn about the other axes too.", _bars(found)),
        ],
        inputs=inputs,
    )  # fmt: skip


def _rates(found: Alignment) -> str:
    drawn, axes = figure(6.4, 5.0, nrows=3, sharex=True)
    t_s, a, b = found.compared
    for i, axis in enumerate(axes):
        axis.plot(t_s, a[:, i], color=DATA, lw=1.2)
        axis.plot(t_s, b[:, i], color="#e08a1e", lw=0.8)
        axis.set_ylabel(f"{'xyz'[i]} [rad/s]")
    axes[-1].set_xlabel("time of A [s]")
    return svg(drawn)


def _valley(found: Alignment) -> str:
    drawn, axis = figure()
    offset, cost = found.costs
    axis.plot((offset - found.whole.offset_s) * 1e3, cost, color=DATA)
    axis.axvline(0, color=GOOD, lw=1)
    axis.set(xlabel="offset from the best [ms]", ylabel="what is left [rad/s]", ylim=(0, None))
    return svg(drawn)


def _bars(found: Alignment) -> str:
    drawn, axis = figure(6.4, 2.6)
    limits = (0.0, 0.2, 0.1)
    colours = [
        GOOD if v >= least else BAD for v, least in zip(found.excitation, limits, strict=True)
    ]
    axis.bar([1, 2, 3], found.excitation, color=colours)
    for place, least in zip((1, 2, 3), limits, strict=True):
        axis.plot([place - 0.4, place + 0.4], [least, least], color=FAINT)
    axis.set_xticks([1, 2, 3], ["strongest", "second", "third"])
    axis.set(ylabel="motion, by the strongest")
    return svg(drawn)
