"""`companion calibrate wheels solve`: base and diameters from a log of driving."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from calibration.verdict import judged
from calibration.wheels import Wheels, solve_wheels
from calibration.wheels_judge import Trust, judge, trust
from runtime.errors import ConfigError
from tools.calibrate.figures import BAD, DATA, figure, svg
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.page import Page, Plot
from tools.calibrate.wheel_log import WheelLog, read_wheels


def add_solve(parser: argparse.ArgumentParser) -> None:
    """Options of solve."""
    add = parser.add_argument
    add(
        "--log",
        type=Path,
        required=True,
        metavar="F",
        help="log of driving: CSV with t, left, right and gyro_z (or x, y, yaw), or tuples T, phi_l, phi_r, sm as JSON lines",
    )
    add(
        "--columns",
        default="",
        metavar="NAMES",
        help="names of all columns by commas, as t,left,right,x,y,yaw; _ skips one",
    )
    add(
        "--ticks-per-turn",
        type=float,
        default=0.0,
        metavar="N",
        help="wheels are logged in ticks, so many a turn (default: radians)",
    )
    add_output(parser)  # fmt: skip


def solve(args: argparse.Namespace) -> int:
    """Read, fit, judge; exit 0 PASS, 3 MARGINAL, 1 FAIL."""
    check_output(args)
    if args.ticks_per_turn < 0:
        raise ConfigError(
            f"--ticks-per-turn {args.ticks_per_turn:g}: give ticks of one turn, more than 0"
        )
    log = read_wheels(args.log, args.columns, args.ticks_per_turn)
    fit = solve_wheels(log.stretches)
    seen = trust(log.stretches, fit)
    verdict = judged(
        "wheels", result_of(fit), quality_of(log, fit, seen), judge(fit, seen), digest([args.log])
    )
    return finish(
        args, verdict, lambda: page(log, fit, seen, [f"{args.log}: {'; '.join(log.notes)}"])
    )


def result_of(fit: Wheels) -> dict[str, Any]:
    """Ratios first; lengths only where a pose was measured."""
    std: dict[str, Any] = {
        "base_over_diameter": fit.ratio_std[0],
        "right_over_left": fit.ratio_std[1],
    }
    out: dict[str, Any] = {
        "base_over_diameter": fit.base_over_diameter,
        "right_over_left": fit.right_over_left,
    }
    if fit.diameters_m is not None and fit.base_m is not None and fit.mount is not None:
        out |= {"wheel_diameters_m": list(fit.diameters_m), "base_m": fit.base_m}
        out |= {
            "sensor_x_m": fit.mount[0],
            "sensor_y_m": fit.mount[1],
            "sensor_yaw_rad": fit.mount[2],
        }
        std |= {"wheel_diameters_m": list(fit.length_std[:2]), "base_m": fit.length_std[2]}
    return {**out, "std": std}


def quality_of(log: WheelLog, fit: Wheels, seen: Trust) -> dict[str, Any]:
    """Figures that say how good it is."""
    good = fit.turn_error[fit.kept]
    return {
        "heading_held_out_deg": float(np.degrees(seen.held_out_rad)),
        "heading_rms_deg": float(np.degrees(np.sqrt(np.mean(good**2)))),
        "halves_relative": list(seen.halves),
        "turned_deg": [float(np.degrees(v)) for v in seen.turned_rad],
        "left_out_share": seen.slipped,
        "stretches": int(fit.kept.sum()),
        "seconds": log.seconds,
        "gyro_bias_rad_s": fit.bias_rad_s,
    }


def page(log: WheelLog, fit: Wheels, seen: Trust, inputs: list[str]) -> Page:
    """Plots: does the fit hold, and was there enough turning."""
    return Page("Wheels", [_heading(log, fit), _residuals(fit), _driven(log)], inputs=inputs)


def _heading(log: WheelLog, fit: Wheels) -> Plot:
    drawn, axes = figure(6.4, 4.0)
    turn = np.degrees(log.stretches.turn)
    said = turn - np.degrees(fit.turn_error)
    axes.plot(said[fit.kept], turn[fit.kept], ".", color=DATA, ms=4)
    axes.plot(said[~fit.kept], turn[~fit.kept], "x", color=BAD, ms=5)
    low, high = float(min(said.min(), turn.min())), float(max(said.max(), turn.max()))
    axes.plot([low, high], [low, high], color="black", lw=0.8)
    axes.set(xlabel="turn by the calibrated wheels [deg]", ylabel="turn that was measured [deg]")
    return Plot("Do the wheels tell the heading?", "All dots on the line, left and right turns alike. Red crosses slipped and were left out.", svg(drawn))  # fmt: skip


def _residuals(fit: Wheels) -> Plot:
    drawn, axes = figure(6.4, 3.0)
    good = np.degrees(fit.turn_error)
    index = np.arange(len(good))
    axes.plot(index[fit.kept], good[fit.kept], ".", color=DATA, ms=4)
    limit = 6 * float(np.std(good[fit.kept])) + 1e-9
    axes.set(xlabel="stretch of driving", ylabel="heading error [deg]", ylim=(-limit, limit))
    axes.axhline(0, color="black", lw=0.8)
    return Plot("Is what remains only noise?", "A level band. A slope or a step means that something changed while driving.", svg(drawn))  # fmt: skip


def _driven(log: WheelLog) -> Plot:
    drawn, axes = figure(6.4, 3.0)
    s = log.stretches
    axes.plot((s.left + s.right) / 2, s.right - s.left, ".", color=DATA, ms=4)
    axes.set(xlabel="rolled, mean of the wheels [rad]", ylabel="right less left [rad]")
    axes.axhline(0, color="black", lw=0.8)
    return Plot("Was every kind of driving there?", "Dots right and left, above and below: straight stretches, left turns, right turns.", svg(drawn))  # fmt: skip
