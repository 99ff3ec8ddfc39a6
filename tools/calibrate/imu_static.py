"""`companion calibrate imu-static solve`: an IMU lying still for a minute."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from calibration.noise_judge import SI, judge_lines, judge_moved, judge_noise
from calibration.still import Still, solve
from calibration.verdict import Finding, judged
from tools.calibrate.at_rest import add_units, allan_plot, in_si, spectrum_plot, table, trace_plot
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.logs import Log, read_log
from tools.calibrate.page import Page, Plot

WANTED_S = 55.0
GRAVITY_SPAN = (9.5, 10.1)  # m/s^2: what an accelerometer with a usual bias shows at rest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `calibrate imu-static solve`."""
    parser.add_argument("--imu", type=Path, required=True, metavar="F", help="60 s at rest: gyro, accelerometer or both")  # fmt: skip
    add_units(parser)
    add_output(parser)


def main(args: argparse.Namespace) -> int:
    """Read, solve, judge, report."""
    check_output(args)
    log = read_log(args.imu, args.rate)
    sensors, findings = in_si(log, args)
    found = {kind: solve(log.t_s, xyz) for kind, xyz in sensors.items()}
    length_s = float(log.t_s[-1])
    findings += judge(found, length_s)
    result = {kind: _as_dict(kind, one) for kind, one in found.items()}
    quality = {
        "length_s": length_s, "rate_hz": log.rate_hz,
        "moved_at_s": sorted({t for one in found.values() for t in one.moved_s})[:20],
        "vibration_hz": {k: [line and line.frequency_hz for line in one.lines] for k, one in found.items()},
    }  # fmt: skip
    verdict = judged("imu-static", result, quality, findings, digest([log.path]))
    return finish(args, verdict, lambda: page(log, sensors, found))


def judge(found: dict[str, Still], length_s: float) -> list[Finding]:
    """Whether it lay still, for long enough, and shows gravity."""
    out = []
    for kind, one in found.items():
        out += judge_moved(kind, one.moved_s) + judge_lines(kind, one.lines)
        noisy = judge_noise(kind, one.noise, length_s)
        out += [f for f in noisy if "instability" not in f.cause]  # a minute never shows it
    if length_s < WANTED_S:
        out.append(Finding("MARGINAL", f"only {length_s:.0f} s recorded, 60 s wanted", "record 60 s at rest"))  # fmt: skip
    if "accel" in found:
        level = float((found["accel"].bias ** 2).sum() ** 0.5)
        if not GRAVITY_SPAN[0] < level < GRAVITY_SPAN[1]:
            out.append(Finding("MARGINAL", f"at rest the accelerometer shows {level:.2f} m/s^2", "calibrate its scale and bias first (imu-multi)"))  # fmt: skip
    return out


def _as_dict(kind: str, one: Still) -> dict[str, Any]:
    noise = table(one.noise, kind)
    name = "bias" if kind == "gyro" else "mean"  # an accelerometer's mean is gravity and bias
    density = noise["noise_density"]
    return {
        name: one.bias, "noise_density": density, "spread": one.spread,
        "units": f"{name} and spread {SI[kind]}, noise_density {SI[kind]}/sqrt(Hz)",
        "std": {name: one.bias_std, "noise_density": noise["std"]["noise_density"]},
    }  # fmt: skip


def page(log: Log, sensors: dict[str, Any], found: dict[str, Still]) -> Page:
    """Still, quiet, and as noisy as its data sheet says: three pictures a sensor."""
    plots = []
    for kind, one in found.items():
        unit = SI[kind]
        plots += [
            Plot(f"Did the {kind} lie still?", "A flat band from end to end is good. A step or a burst (red line) means that it was touched: record again.", trace_plot(log.t_s, sensors[kind], one, unit)),
            Plot(f"Does anything shake the {kind}?", "A level line is good. A peak that stands out (dashed) is a vibration: find what turns at that frequency.", spectrum_plot(one, unit)),
            Plot(f"Where was the {kind}'s noise read?", "The red part must lie along the curve: there it falls as white noise does.", allan_plot(one.curves, one.noise, unit)),
        ]  # fmt: skip
    return Page("IMU at rest (imu-static)", plots, inputs=[f"{log.path}: {'; '.join(log.notes)}"])
