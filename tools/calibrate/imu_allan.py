"""`companion calibrate imu-allan solve`: an IMU's noise from hours at rest, or from given curves."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.allan import Curve, Noise, given_curve, noise
from calibration.errors import DataError
from calibration.kalibr import ImuNoise, imu_yaml
from calibration.noise_judge import (
    GOOD_S,
    PER_SI,
    SI,
    judge_lines,
    judge_moved,
    judge_noise,
    judge_published,
)
from calibration.still import Still, solve
from calibration.verdict import Finding, judged
from runtime.errors import ConfigError
from tools.calibrate.at_rest import (
    add_units,
    allan_plot,
    in_si,
    read_published,
    spectrum_plot,
    table,
    trace_plot,
)
from tools.calibrate.columns import read_sheet
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.imu_allan_record import ABOUT, LOG
from tools.calibrate.logs import read_log
from tools.calibrate.page import Page, Plot
from tools.report import write_whole

Floats = npt.NDArray[np.float64]
LEAST_POINTS = 8
PAUSE_S = 1.0  # a shorter gap is lost data, a longer one a recording that was gone on with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `calibrate imu-allan solve`."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--imu",
        type=Path,
        metavar="F",
        help="log of hours at rest, or the folder that record wrote",
    )
    what.add_argument("--curves", type=Path, metavar="F", help="Allan deviations: columns tau [s], then one for each axis")  # fmt: skip
    parser.add_argument("--kind", choices=("gyro", "accel"), help="whose curves, where no header says it")  # fmt: skip
    parser.add_argument("--compare", type=Path, metavar="imu.yaml", help="densities that others published: the same, or off by what?")  # fmt: skip
    parser.add_argument("--kalibr", type=Path, metavar="imu.yaml", help="write the noise as Kalibr reads it")  # fmt: skip
    add_units(parser)
    add_output(parser)


def main(args: argparse.Namespace) -> int:
    """Read, solve, judge, report."""
    check_output(args)
    about = _about(args)
    published = read_published(args.compare) if args.compare else {}
    if args.kalibr and not args.kalibr.parent.is_dir():
        raise ConfigError(f"--kalibr {args.kalibr}: no folder {args.kalibr.parent}; make it first")
    curves, findings, quality, more = _of_log(args) if args.imu else _of_curves(args)
    found = {kind: [noise(c) for c in axes] for kind, axes in curves.items()}
    longest_s = float(quality.get("longest_piece_s") or quality["length_s"])
    for kind, axes in found.items():
        findings += judge_noise(kind, axes, longest_s)
        worst = max((a.density.value for a in axes if a.density), default=None)
        if kind in published and worst is not None:
            findings += judge_published(kind, published[kind], worst, quality["rate_hz"])
    result = {kind: table(axes, kind) for kind, axes in found.items()}
    quality |= _against_truth(result, about)
    verdict = judged("imu-allan", result, quality, findings, digest([args.imu or args.curves]), about.get("serial", ""))  # fmt: skip
    if args.kalibr:
        write_whole(args.kalibr, imu_yaml(kalibr_noise(found, quality["rate_hz"])))
    return finish(args, verdict, lambda: page(curves, found, more))


def _about(args: argparse.Namespace) -> dict[str, Any]:
    """What `record` noted beside its log; nothing for a log from elsewhere."""
    if args.imu is None:
        return {}
    if args.imu.is_dir():
        args.imu = args.imu / LOG
    file = args.imu.with_name(ABOUT)
    if args.imu.name != LOG or not file.is_file():
        return {}
    try:
        about = json.loads(file.read_text())
        return dict(about) if about["tool"] == "imu-allan" else {}
    except (ValueError, KeyError, TypeError):
        return {}


def _against_truth(result: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """On a twin's recording: how far each density is off, worst axis [%]."""
    true = about.get("truth", {}).get("noise_density", {})
    return {
        f"truth_{kind}_noise_density_percent": max(100 * abs(v / true[kind] - 1) for v in part["noise_density"] if v)
        for kind, part in result.items()
        if kind in true and any(part["noise_density"])
    }  # fmt: skip


Parts = tuple[dict[str, list[Curve]], list[Finding], dict[str, Any], list[Plot]]


def _of_log(args: argparse.Namespace) -> Parts:
    log = read_log(args.imu, args.rate)
    sensors, findings = in_si(log, args)
    still = {kind: solve(log.t_s, xyz) for kind, xyz in sensors.items()}
    lost = sum(length for _, length in log.gaps if length < PAUSE_S)
    paused_s = sum(length for _, length in log.gaps if length >= PAUSE_S)
    if lost > 0.001 * log.t_s[-1]:
        findings.append(Finding("MARGINAL", f"{lost:.1f} s of {log.t_s[-1]:.0f} s are missing in {len(log.gaps)} gaps", "record to a faster disk, and again"))  # fmt: skip
    plots = []
    for kind, one in still.items():
        findings += judge_lines(kind, one.lines) + judge_moved(kind, one.moved_s, "MARGINAL")
        plots += _raw_plots(kind, log.t_s, sensors[kind], one)
    quality: dict[str, Any] = {
        "length_s": float(log.t_s[-1]) - paused_s, "rate_hz": log.rate_hz, "notes": list(log.notes),
        "longest_piece_s": min(one.longest_s for one in still.values()),
    }  # fmt: skip
    return {k: list(s.curves) for k, s in still.items()}, findings, quality, plots


def _raw_plots(kind: str, t_s: Floats, xyz: Floats, one: Still) -> list[Plot]:
    return [
        Plot(f"Did the {kind} lie still?", "Slow waves are drift, as temperature makes it. A step or burst (red line) means it was touched: record again.", trace_plot(t_s, xyz, one, SI[kind])),
        Plot(f"Does anything shake the {kind}?", "A level line is good. A peak that stands out (dashed) is a vibration.", spectrum_plot(one, SI[kind])),
    ]  # fmt: skip


def _of_curves(args: argparse.Namespace) -> Parts:
    sheet = read_sheet(args.curves)
    values = sheet.numbers(list(range(sheet.width)))
    values = values[np.isfinite(values).all(axis=1) & (values > 0).all(axis=1)]
    tau_s = values[:, 0]
    if len(tau_s) < LEAST_POINTS or tau_s.max() < 10 * tau_s.min():
        raise DataError(
            f"{args.curves}: expected columns tau [s] and deviations over at least a decade, found"
            f" {len(tau_s)} usable rows; for raw samples use --imu"
        )
    if len(np.unique(tau_s)) < len(tau_s):
        raise DataError(f"{args.curves}: its first column repeats values, so is no tau; is this a log? use --imu")  # fmt: skip
    same = [i for i in range(1, min(sheet.width, 4)) if np.ptp(np.log(values[:, i] / tau_s)) < 1e-3]
    if same:
        raise DataError(f"{args.curves}: column {same[0] + 1} is column 1 times a factor, so is no deviation; give tau [s] first, then the deviations of each axis")  # fmt: skip
    named: dict[str, list[int]] = {k: [c.place for c in sheet.of(k)] for k in ("gyro", "accel")}
    groups = {k: places for k, places in named.items() if places}
    if not groups:
        groups = {args.kind or "curve": list(range(1, min(sheet.width, 4)))}
    findings, curves = [], {}
    for kind, places in groups.items():
        stated = next((c.unit for c in sheet.columns if c.place == places[0]), "")
        unit = getattr(args, f"{kind}_unit", None) or stated
        if unit not in PER_SI:
            findings.append(Finding("MARGINAL", f"the unit of the {kind} curves is not stated: figures are in the curves' own unit", "give --kind and --gyro-unit or --accel-unit"))  # fmt: skip
        scale = PER_SI.get(unit, 1.0)
        curves[kind] = [given_curve(tau_s, values[:, p] / scale) for p in places]
    length_s = 2 * float(tau_s.max())
    quality = {"length_s": length_s, "rate_hz": args.rate or 1 / float(tau_s.min()), "notes": ["lengths and rate guessed from the curves' ends"]}  # fmt: skip
    return curves, findings, quality, []


def kalibr_noise(found: dict[str, list[Noise]], rate_hz: float) -> ImuNoise:
    """Kalibr's four figures: the worst axis; a walk that has no region is bounded, and says so."""
    values: dict[str, float | None] = {}
    remarks = {}
    for kind, name in (("gyro", "gyroscope"), ("accel", "accelerometer")):
        axes = found.get(kind, [])
        density = [a.density.value for a in axes if a.density]
        values[f"{name}_noise_density"] = max(density) if density else None
        walks = [a.walk.value if a.walk else a.walk_limit for a in axes]
        values[f"{name}_random_walk"] = max(walks) if walks else None
        if any(a.walk is None for a in axes):
            remarks[f"{name}_random_walk"] = "an upper bound: no region of slope +1/2"
    return ImuNoise(values, rate_hz, remarks)


def page(curves: dict[str, list[Curve]], found: dict[str, list[Noise]], more: list[Plot]) -> Page:
    """The curves first, then what was recorded."""
    see = "Red stretches: where white noise (falling) and walk (rising) were read; red dot: the bias instability. The band is what the length of the recording allows; where it is wide, record longer."
    plots = [
        Plot(
            f"How noisy is the {kind}?",
            see,
            allan_plot(axes, found[kind], SI.get(kind, "curve's unit")),
        )
        for kind, axes in curves.items()
    ]
    note = f"a good recording is {GOOD_S / 3600:.0f} to 6 h long"
    return Page("IMU noise (imu-allan)", plots + more, inputs=[note])
