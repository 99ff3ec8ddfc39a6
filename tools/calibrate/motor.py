"""`companion calibrate motor`: sweep each joint both ways on a stand, and say how it answers."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import DataError
from calibration.motor import Joint, Sweep, judge_motor, solve_motor
from calibration.verdict import Finding, judged
from firmware_bridge.limits import JointCommand
from firmware_bridge.protocol import Mode
from runtime.errors import ConfigError
from tools.calibrate.figures import BAD, DATA, FAINT, figure, svg
from tools.calibrate.finish import Step, add_output, check_output, digest, finish
from tools.calibrate.page import Page, Plot
from tools.calibrate.rig import Aborted, Rig, Sample
from tools.calibrate.rigs import add_rig, open_rig
from tools.report import write_whole

SPACE = "its stand, wheels off the ground, and nobody's hand near head and ears"
SPEEDS = (0.3, 0.6)  # rad/s of position joints
WHEELS = (1.0, 2.0)  # rad/s that a wheel is ramped to
RAMP_RAD_S2 = 2.0
MARGIN = 0.05  # of the travel that is left free at each end
BEHIND_RAD = 0.2  # of a position joint: something holds it
BENCH_SHARE = 0.1
COLUMNS = ("joint", "t_s", "command", "answer", "current_a", "limit_a", "is_rate", "blocked")


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="F.csv", help="where the sweeps go"
    )
    parser.add_argument("--joint", action="append", default=[], metavar="NAME", help="only this joint; may be given again (default: all)")  # fmt: skip
    add_rig(parser)


def record(args: argparse.Namespace) -> int:
    """Sweep joint after joint, a tenth of the current; exit 1 when one was blocked."""
    if not args.out.parent.is_dir():
        raise ConfigError(f"--out {args.out}: no folder {args.out.parent}; make it first")
    with open_rig(args, SPACE, stand=True) as rig:
        unknown = [n for n in args.joint if n not in rig.names]
        if unknown:
            raise ConfigError(f"--joint {unknown[0]}: the joints are {', '.join(rig.names)}")
        sweeps = sweep_all(rig, args.joint or list(rig.names))
    write_sweeps(args.out, sweeps)
    for sweep in sweeps:
        print(f"{sweep.name}: {sweep.blocked or 'swept'}")
    left = (args.joint or list(rig.names))[len(sweeps) :]
    if left:
        print(f"not swept: {', '.join(left)}")
    print(f"next: companion calibrate motor solve --log {args.out}")
    return 1 if left or any(s.blocked for s in sweeps) else 0


def sweep_all(rig: Rig, joints: list[str]) -> list[Sweep]:
    """One joint at a time, in the MCU's BENCH mode: a tenth of the current."""
    step = Step("sweeping joints", len(joints))
    out = []
    for name in joints:
        out.append(sweep_one(rig, name))
        step()
        if rig.stopped:  # by the board or by hand: the next joint does not move by itself
            break
    return out


def sweep_one(rig: Rig, name: str) -> Sweep:
    """There and back at two speeds; what blocks it ends the sweep and is told, and it is parked."""
    index = rig.names.index(name)
    spec = rig.table.joints[index]
    wheel = spec.command is JointCommand.VELOCITY
    samples: list[Sample] = []
    blocked = ""
    try:
        with rig.armed(Mode.BENCH, name):
            path = _wheel_path() if wheel else _joint_path(rig, index)
            for value in path:
                rig.aim(name, value)
                sample = rig.advance()
                samples.append(sample)
                behind = abs(sample.position_rad[index] - value)
                if not wheel and behind > BEHIND_RAD:
                    blocked = f"it stays {behind:.2f} rad behind"
                    break
            else:
                if not wheel:
                    rig.wait(0.3)
    except Aborted as error:
        blocked = str(error)
    answer = "velocity_rad_s" if wheel else "position_rad"
    return Sweep(
        name,
        np.array([s.t_ns for s in samples], float) / 1e9,
        np.array([s.target[index] for s in samples]),
        np.array([getattr(s, answer)[index] for s in samples]),
        np.array([s.current_a[index] for s in samples]),
        spec.current_max_a * BENCH_SHARE,
        wheel,
        blocked,
    )


def _joint_path(rig: Rig, index: int) -> list[float]:
    """Targets [rad] per period: to the ends and back at each speed, from where it is and home again."""
    joint = rig.body.joint[index]
    span = joint.position_max_rad - joint.position_min_rad
    low, high = joint.position_min_rad + MARGIN * span, joint.position_max_rad - MARGIN * span
    at = float(rig.advance().position_rad[index])
    home = at
    path: list[float] = []
    for speed in SPEEDS:
        speed = min(speed, 0.5 * joint.velocity_max_rad_s)
        for goal in (high, low, home):
            count = max(1, round(abs(goal - at) / speed * 100))
            path += np.linspace(at, goal, count + 1)[1:].tolist()
            at = goal
    return path


def _wheel_path() -> list[float]:
    """Targets [rad/s] per period: triangles both ways at two slopes."""
    path: list[float] = []
    at = 0.0
    for share in (1.0, 0.5):
        for top in WHEELS:
            for goal in (top, -top, 0.0):
                count = max(1, round(abs(goal - at) / (RAMP_RAD_S2 * share) * 100))
                path += np.linspace(at, goal, count + 1)[1:].tolist()
                at = goal
    return path


def write_sweeps(path: Path, sweeps: list[Sweep]) -> None:
    """One row per sample."""
    lines = [",".join(COLUMNS)]
    for s in sweeps:
        for row in zip(s.t_s, s.command, s.answer, s.current_a, strict=True):
            lines.append(f"{s.name}," + ",".join(f"{v:.6f}" for v in row) + f",{s.limit_a:g},{int(s.is_rate)},{s.blocked.replace(',', ';')}")  # fmt: skip
    write_whole(path, "\n".join(lines) + "\n")


def read_sweeps(path: Path) -> list[Sweep]:
    """What record wrote."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        held = {name: [r for r in rows if r["joint"] == name] for name in dict.fromkeys(r["joint"] for r in rows)}  # fmt: skip
        sweeps = [_sweep(name, part) for name, part in held.items()]
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}; give what `calibrate motor record` wrote ({', '.join(COLUMNS)})") from error  # fmt: skip
    if not sweeps:
        raise DataError(f"{path}: no sweeps; record again")
    return sweeps


def _sweep(name: str, rows: list[dict[str, str]]) -> Sweep:
    t, command, answer, current = (
        np.array([float(r[key]) for r in rows]) for key in ("t_s", "command", "answer", "current_a")
    )
    return Sweep(
        name,
        t,
        command,
        answer,
        current,
        float(rows[0]["limit_a"]),
        rows[0]["is_rate"] == "1",
        rows[0]["blocked"],
    )


def add_solve(parser: argparse.ArgumentParser) -> None:
    """Options of solve."""
    parser.add_argument(
        "--log", type=Path, required=True, metavar="F.csv", help="what record wrote"
    )
    add_output(parser)


def solve(args: argparse.Namespace) -> int:
    """Fit and judge every joint."""
    check_output(args)
    sweeps = read_sweeps(args.log)
    joints: list[Joint] = []
    findings: list[Finding] = []
    for sweep in sweeps:
        joint = None if sweep.blocked else solve_motor(sweep)
        findings += judge_motor(sweep, joint)
        if joint is not None:
            joints.append(joint)
    verdict = judged("motor", _result(joints), _quality(joints), findings, digest([args.log]))
    return finish(args, verdict, lambda: Page("Motors", [_plot(s) for s in sweeps], inputs=[str(args.log)]))  # fmt: skip


def _result(joints: list[Joint]) -> dict[str, Any]:
    out: dict[str, Any] = {
        j.name: {
            "direction": 1 if j.gain > 0 else -1, "gain": j.gain, "delay_s": j.delay_s,
            _loss(j): j.friction_rad_s if j.is_rate else j.hysteresis, "offset": j.offset,
            "travel": list(j.travel), "commanded": list(j.commanded), "rate_max": j.rate_max,
            "is_rate": j.is_rate,
        }
        for j in joints
    }  # fmt: skip
    out["std"] = {j.name: dict(zip(("gain", "delay_s", _loss(j), "offset"), j.std, strict=True)) for j in joints}  # fmt: skip
    return out


def _loss(joint: Joint) -> str:
    """What of the command is lost, by whether it is a rate or an angle [rad]."""
    return "friction_rad_s" if joint.is_rate else "hysteresis"


def _quality(joints: list[Joint]) -> dict[str, Any]:
    travel = [100 * abs((j.travel[1] - j.travel[0]) / (j.commanded[1] - j.commanded[0]) - 1) for j in joints if not j.is_rate]  # fmt: skip
    return {
        **({"travel_error_percent": max(travel)} if travel else {}),
        "residual": {j.name: j.residual for j in joints},
        "halves_delay_ms": {j.name: 1e3 * j.halves_delay_s for j in joints},
        "current_max_a": {j.name: j.current_max_a for j in joints},
    }


def _plot(sweep: Sweep) -> Plot:
    drawn, (top, low) = figure(6.4, 3.8, nrows=2, sharex=True)
    t = sweep.t_s - (sweep.t_s[0] if len(sweep.t_s) else 0)
    top.plot(t, sweep.command, color=FAINT, lw=2, label="commanded")
    top.plot(t, sweep.answer, color=BAD if sweep.blocked else DATA, lw=1, label="measured")
    top.legend(fontsize=7)
    top.set_ylabel("rad/s" if sweep.is_rate else "rad")
    low.plot(t, np.abs(sweep.current_a), color=DATA, lw=0.8)
    low.axhline(sweep.limit_a, color=BAD, lw=0.8, ls="--")
    low.set(xlabel="time [s]", ylabel="current [A]")
    see = (
        sweep.blocked
        or "The lines lie on each other; the current stays well under the dashed limit."
    )
    return Plot(sweep.name, see, svg(drawn))
