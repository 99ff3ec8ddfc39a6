"""`companion calibrate imu-multi solve`: scale, misalignment and bias of an IMU from still poses."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from calibration.accel_fit import Triad
from calibration.errors import DataError
from calibration.imu_poses import STANDARD_GRAVITY, ImuPoses, solve
from calibration.imu_poses_judge import GYRO_DEG, HELD_OUT_M_S2, SI, Stated, judge, raw_unit
from calibration.sphere import cells, covered, missing
from calibration.verdict import judged
from runtime.errors import ConfigError
from tools.calibrate.figures import BAD, DATA, FAINT, GOOD, figure, svg
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.logs import Axes, read_log
from tools.calibrate.page import Page, Plot

UNKNOWN_GRAVITY_STD = 0.017  # m/s^2: from equator to pole gravity runs from 9.780 to 9.832


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `calibrate imu-multi solve`."""
    parser.add_argument("--record", type=Path, metavar="DIR", help="what `imu-multi record` wrote, instead of two logs")  # fmt: skip
    parser.add_argument("--accel", type=Path, metavar="F", help="accelerometer log")
    parser.add_argument("--gyro", type=Path, metavar="F", help="gyro log; may be the same file")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--gravity", type=float, metavar="M_S2", help="local gravity; without it 9.80665, and scales known to 0.2 %%")  # fmt: skip
    where.add_argument("--latitude", type=float, metavar="DEG", help="gravity by where you are")
    parser.add_argument("--rate", type=float, metavar="HZ", help="for logs without a time column")
    add_output(parser)


def main(args: argparse.Namespace) -> int:
    """Read both logs, solve, judge, report."""
    check_output(args)
    about = _logs_of(args)
    if args.gravity is None and args.latitude is None:
        args.gravity = about.get("gravity_m_s2")  # a twin knows where it stands
    gravity, gravity_std = local_gravity(args.gravity, args.latitude)
    accel_log = read_log(args.accel, args.rate)
    gyro_log = accel_log if args.gyro == args.accel else read_log(args.gyro, args.rate)
    accel, gyro = accel_log.axes("accel"), gyro_log.axes("gyro")
    later_s = (gyro_log.start_ns - accel_log.start_ns) / 1e9
    found = solve(accel_log.t_s, accel.xyz, gyro_log.t_s + later_s, gyro.xyz, gravity, gravity_std)
    findings = judge(found, _stated(accel), _stated(gyro))
    result = {
        "accel": _as_dict("accel", found.accel, accel.unit),
        "gyro": _as_dict("gyro", found.gyro, gyro.unit),
    }
    figures = quality(found, gravity, gravity_std, args) | _truth_errors(found, about)
    verdict = judged(
        "imu-multi", result, figures, findings, digest([accel_log.path, gyro_log.path]),
        about.get("serial", ""), "install it; due again after a knock or in a year",
    )  # fmt: skip
    inputs = [f"{log.path}: {'; '.join(log.notes)}" for log in (accel_log, gyro_log)]
    return finish(args, verdict, lambda: page(found, accel_log.t_s, inputs))


def _logs_of(args: argparse.Namespace) -> dict[str, Any]:
    """What a recording says of itself; its log stands in for both files."""
    if args.record is None:
        if args.accel is None or args.gyro is None:
            raise ConfigError("give --record DIR, or both --accel F and --gyro F")
        return {}
    if args.accel is not None or args.gyro is not None:
        raise ConfigError("--record holds both logs; give it without --accel and --gyro")
    try:
        about = json.loads((args.record / "record.json").read_text())
        if about["tool"] != "imu-multi":
            raise ValueError(f"it is of {about['tool']}")
        about["serial"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{args.record} is no recording of poses ({error}); give what `calibrate imu-multi record` wrote") from error  # fmt: skip
    args.accel = args.gyro = args.record / "imu.csv"
    return dict(about)


def _truth_errors(found: ImuPoses, about: dict[str, Any]) -> dict[str, float]:
    """How far the result is off a twin's own axes: largest over all of a kind."""
    if "truth" not in about:
        return {}
    out: dict[str, float] = {}
    for kind, triad in (("accel", found.accel), ("gyro", found.gyro)):
        matrix, bias = (np.array(about["truth"][kind][k]) for k in ("matrix", "bias"))
        scale = 1 / np.diag(matrix)
        out[f"truth_{kind}_scale_percent"] = 100 * float(np.abs(triad.inverse_scale / scale - 1).max())  # fmt: skip
        out[f"truth_{kind}_bias"] = float(np.abs(triad.bias - bias).max())
        out[f"truth_{kind}_axes_mrad"] = 1e3 * float(np.abs(triad.misalignment - matrix * scale).max())  # fmt: skip
    return out


def local_gravity(gravity_m_s2: float | None, latitude_deg: float | None) -> tuple[float, float]:
    """Gravity and its std [m/s^2]; by latitude with the formula of WGS 84 (Somigliana)."""
    if gravity_m_s2 is not None:
        if not 9.7 < gravity_m_s2 < 9.9:
            raise ConfigError(
                f"--gravity {gravity_m_s2:g} is nowhere on earth; give 9.76 to 9.84 m/s^2"
            )
        return gravity_m_s2, 0.0
    if latitude_deg is None:
        return STANDARD_GRAVITY, UNKNOWN_GRAVITY_STD
    if not -90 <= latitude_deg <= 90:
        raise ConfigError(f"--latitude {latitude_deg:g} is no latitude; give -90 to 90 degrees")
    square = np.sin(np.deg2rad(latitude_deg)) ** 2
    normal = 9.7803253359 * (1 + 0.00193185265241 * square) / np.sqrt(1 - 0.00669437999013 * square)
    return float(normal), 0.002  # up to some hundred metres of height


def _stated(axes: Axes) -> Stated:
    return Stated(axes.unit, bool((axes.xyz == np.round(axes.xyz)).all()))


def _as_dict(kind: str, triad: Triad, stated: str) -> dict[str, Any]:
    unit = raw_unit(kind, triad)
    said = f", which the log calls {stated}" if stated not in ("", unit) else ""
    return {
        "inverse_scale": triad.inverse_scale, "bias": triad.bias, "misalignment": triad.misalignment,
        "units": f"raw in {unit}{said}; inverse_scale in raw per {SI[kind]};"
        " si = misalignment @ ((raw - bias) / inverse_scale)",
        "std": {
            "inverse_scale": triad.inverse_scale_std, "bias": triad.bias_std,
            "misalignment": triad.misalignment_std,
        },
    }  # fmt: skip


def quality(
    found: ImuPoses, gravity: float, gravity_std: float, args: argparse.Namespace
) -> dict[str, Any]:
    """The figures that the verdict stands on."""
    kept = found.accel_fit.kept
    ways = found.ways[kept]
    assumed = args.gravity is None and args.latitude is None
    return {
        "held_out_g_m_s2": found.held_out_g_m_s2,
        "gyro_deg_per_move": found.gyro_deg_per_move,
        "poses": int(kept.sum()),
        "poses_left_out_at_s": [p.start_s for p, k in zip(found.poses, kept, strict=True) if not k],
        "moves": int(found.gyro_fit.kept.sum()),
        "directions": found.distinct,
        "cells_of_32": int(covered(ways).sum()),
        "directions_missing": missing(ways),
        "worst_direction_g_std_m_s2": float(found.accel_fit.cell_std_m_s2.max()),
        "longest_still_s": max(p.length_s for p in found.poses),
        "gyro_bias_spread_raw": found.bias_range,
        "gravity_m_s2": gravity,
        "gravity_std_m_s2": gravity_std,
        "gravity_source": "assumed; --gravity or --latitude gives better scales" if assumed else "given",
    }  # fmt: skip


def page(found: ImuPoses, t_s: Any, inputs: list[str]) -> Page:
    """Four pictures: whether the poses were still and all around, and whether they agree."""
    return Page(
        "IMU from still poses (imu-multi)",
        [
            Plot("Is every way up shown?", "Two halves of the sphere, seen along z. Green: a pose was there. Red rings without green: directions never shown, where the error may be larger.", _sphere(found)),
            Plot("Does gravity come out the same in every pose?", f"Each bar is a pose that the fit had not seen. All within the green band ({HELD_OUT_M_S2[0]} m/s^2): good. One long bar: that pose was knocked.", _bars_accel(found)),
            Plot("Does the gyro lead from pose to pose?", f"By how much gravity, carried along by the gyro, misses the next pose. Below the green line ({GYRO_DEG[0]:.0f} deg): good.", _bars_gyro(found)),
            Plot("Was it still when it should be?", "How much the accelerometer shakes, each second. Green stretches below the line were taken for still; there should be one long one and then one for each pose.", _trace(found, t_s)),
        ],
        inputs=inputs,
    )  # fmt: skip


def _sphere(found: ImuPoses) -> str:
    drawn, axes = figure(6.4, 3.4, ncols=2)
    ways, hit = found.ways[found.accel_fit.kept], covered(found.ways[found.accel_fit.kept])
    for axis, sign, name in ((axes[0], 1, "Z up"), (axes[1], -1, "Z down")):
        for points, colour, style in (
            (cells()[~hit], BAD, {"facecolors": "none", "s": 420}),
            (cells()[hit], GOOD, {"alpha": 0.25, "s": 420}),
            (ways, GOOD, {"s": 14}),
        ):
            shown = points[points[:, 2] * sign >= -0.15]
            flat = shown[:, :2] / np.sqrt(1 + np.abs(shown[:, 2:]))  # equal areas, Lambert
            axis.scatter(
                *flat.T, edgecolors=colour, c=colour if "facecolors" not in style else None, **style
            )
        axis.add_patch(_circle())
        for x, y, word in (
            (1.13, 0, "X up"),
            (-1.13, 0, "X down"),
            (0, 1.13, "Y up"),
            (0, -1.13, "Y down"),
        ):
            axis.text(x, y, word, ha="center", va="center", fontsize=8, rotation=90 * (y == 0))
        axis.set(title=name, xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
        axis.axis("off")
    return svg(drawn)


def _circle() -> Any:
    from matplotlib.patches import Circle

    return Circle((0, 0), 1, fill=False, color=FAINT)


def _bars_accel(found: ImuPoses) -> str:
    drawn, axis = figure()
    kept = found.accel_fit.kept
    number = np.arange(1, len(kept) + 1)
    value = np.where(kept, found.accel_fit.held_out_m_s2, found.accel_fit.error_m_s2)
    axis.axhspan(-HELD_OUT_M_S2[0], HELD_OUT_M_S2[0], color=GOOD, alpha=0.12)
    axis.bar(number, value, color=np.where(kept, DATA, BAD).tolist())
    axis.set(xlabel="pose (red: left out)", ylabel="|a| - gravity [m/s^2]")
    return svg(drawn)


def _bars_gyro(found: ImuPoses) -> str:
    drawn, axis = figure()
    kept = found.gyro_fit.kept
    value = np.rad2deg(np.where(kept, found.gyro_fit.held_out_rad, found.gyro_fit.error_rad))
    axis.bar([i + 1 for i in found.move_index], value, color=np.where(kept, DATA, BAD).tolist())
    axis.axhline(GYRO_DEG[0], color=GOOD)
    axis.set(xlabel="move after pose (red: left out)", ylabel="error [deg]")
    return svg(drawn)


def _trace(found: ImuPoses, t_s: Any) -> str:
    drawn, axis = figure()
    step = max(1, len(found.spreads) // 2000)
    middle = (len(t_s) - len(found.spreads)) // 2
    axis.semilogy(
        t_s[middle : middle + len(found.spreads)][::step], found.spreads[::step], color=DATA, lw=0.8
    )
    axis.axhline(found.limit, color=BAD, lw=1)
    for pose in found.poses:
        axis.axvspan(pose.start_s, pose.end_s, color=GOOD, alpha=0.2, lw=0)
    axis.set(xlabel="time [s]", ylabel="spread in a window [raw]")
    return svg(drawn)
