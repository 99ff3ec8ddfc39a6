"""`companion calibrate robot`: the field tools in order, what is still good skipped, one verdict.

Each step is the commands a tech would type (record, solve, install); so an interrupted run goes on
by being run again, and every step's files lie in the work folder.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calibration.drift import standing
from calibration.errors import RecordError
from calibration.store import read_record, record_path
from calibration.verdict import Finding, Verdict, judged
from runtime.body import load_body
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.install import read_verdict
from tools.calibrate.page import Page, Plot, Table
from tools.calibrate.proof import Proof, drive_square, judge_proof, plot_proof
from tools.calibrate.rigs import add_rig, open_rig, use_imu
from tools.calibrate.table import TOOLS, age_of, quality_line
from tools.calibrate.wheels_record import SPACE
from tools.compose import calibration_folder, device_serial
from tools.in_force import goes_with

TOOL = "robot"
# the lens before what looks through it; the board stands where it is for `head` and `cam-imu`
ORDER = ("imu-static", "motor", "camera", "head", "cam-imu", "wheels", "latency")
SEEING = ("camera", "head", "cam-imu", "latency")  # their `record` takes --camera
BOARD = "chessboard:9x6:25mm"  # what docs/calibrate.md has a tech print
BOARDED = ("camera", "head", "cam-imu")  # their `record` takes --board
GOES_ON_S = 2 * 3600.0  # an album of views is gone on with, while it is of today
LOOKING_UP = ("head", "cam-imu")  # their `solve` needs what is installed: the lens, the IMU's axes
LOGS = {  # how `solve` takes what `record` left, and its name in the work folder
    "imu-static": ("--imu", "imu-static.csv"),
    "motor": ("--log", "motor.csv"),
    "camera": ("--images", "camera"),
    "head": ("--record", "head"),
    "cam-imu": ("--record", "cam-imu"),
    "wheels": ("--log", "wheels.csv"),
    "latency": ("--log", "latency.npz"),
}


@dataclass
class Done:
    """What came of one step."""

    tool: str
    state: str  # skipped | PASS | MARGINAL | FAIL
    said: str
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    add = parser.add_argument
    add(
        "--work",
        type=Path,
        default=Path("calibration-work"),
        metavar="DIR",
        help="recordings, results and reports of each step (default calibration-work)",
    )
    add(
        "--folder",
        type=Path,
        metavar="DIR",
        help="where calibrations are installed (default: this robot's)",
    )
    add("--camera", default="", metavar="DEVICE", help="the head's camera (default: the twin's)")
    add("--board", default="", metavar="BOARD", help=f"what is seen in all three (default {BOARD}; on the twin each tool's own)")  # fmt: skip
    add("--again", action="store_true", help="do all steps, those too that are still good")
    add("--accept-marginal", action="store_true", help="install MARGINAL results too")
    add_rig(parser)
    add_output(parser)  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Run what is due, drive the proof, end in one verdict."""
    check_output(args)
    args.work.mkdir(parents=True, exist_ok=True)
    folder = args.folder or calibration_folder()
    serial = _serial(args)
    done = []
    for tool in ORDER:
        step = _step(args, folder, serial, tool)
        done.append(step)
        _say(args, f"{step.tool}: {step.state}, {step.said} ({step.seconds:.0f} s)")
        if step.state == "FAIL":
            break
    proof = None if any(s.state == "FAIL" for s in done) else _prove(args, folder, serial)
    findings = [f for s in done for f in s.findings]
    if proof is not None:
        findings += judge_proof(proof)
    verdict = judged(TOOL, _result(done), _quality(done, proof), findings, digest(sorted(args.work / f"{t}.json" for t in ORDER if (args.work / f"{t}.json").is_file())), serial, "drive", "every field calibration is in force and the proof drive held")  # fmt: skip
    return finish(args, verdict, lambda: _page(args, verdict, done, proof))


def _say(args: argparse.Namespace, text: str) -> None:
    if not args.json:
        print(text, flush=True)


def _serial(args: argparse.Namespace) -> str:
    if not args.port:
        return f"twin-{args.seed}"
    with open_rig(args, "") as rig:
        return rig.connect()


def _step(args: argparse.Namespace, folder: Path, board: str, tool: str) -> Done:
    """Skip, or record, solve and install one tool."""
    serial = device_serial(args.camera) if TOOLS[tool].device == "camera" and args.camera else board
    good = None if args.again else _still_good(folder, serial, board, tool)
    if good:
        return Done(tool, "skipped", good)
    began = time.monotonic()
    flag, name = LOGS[tool]
    log, out, report = (args.work / n for n in (name, f"{tool}.json", f"{tool}.html"))
    if not (tool == "camera" and _goes_on(log, out)):
        _aside(log)
    _aside(out)
    where = ["--seed", str(args.seed), "--body", args.body]
    where += ["--port", args.port] if args.port and tool != "camera" else []
    where += ["--camera", args.camera] if args.camera and tool in SEEING else []
    where += ["--folder", str(folder)] if tool == "wheels" else []
    board_shown = args.board or (BOARD if args.camera else "")
    where += ["--board", board_shown] if board_shown and tool in BOARDED else []
    recorded = _command(args, "calibrate", tool, "record", "--out", str(log), *where)
    if recorded and not (tool == "motor" and log.exists()):  # which tells what blocked it
        cause = Finding("FAIL", f"{tool} was not recorded", "see the message above, and run `companion calibrate robot` again: it goes on here")  # fmt: skip
        return Done(tool, "FAIL", cause.cause, time.monotonic() - began, [cause])
    known = ["--folder", str(folder)] if tool in LOOKING_UP else []
    _command(args, "calibrate", tool, "solve", flag, str(log), "--out", str(out), "--report", str(report), *known)  # fmt: skip
    if not out.is_file():
        cause = Finding("FAIL", f"{tool} could not be solved", "see the message above")
        return Done(tool, "FAIL", cause.cause, time.monotonic() - began, [cause])
    verdict = read_verdict(out)
    if recorded and verdict.verdict != "FAIL":  # of what there is, it is good: not of the whole
        cause = Finding("FAIL", f"{tool} was not recorded whole", "see the message above, and run `companion calibrate robot` again: it goes on here")  # fmt: skip
        return Done(tool, "FAIL", cause.cause, time.monotonic() - began, [cause])
    return _installed(args, folder, serial, verdict, time.monotonic() - began)


def _goes_on(album: Path, out: Path) -> bool:
    """Whether views that are there are of a recording that was interrupted, or wanted more, just now."""
    files = [f.stat().st_mtime for f in album.iterdir()] if album.is_dir() else []
    if not files or time.time() - max(files) > GOES_ON_S:
        return False
    return not out.is_file() or read_verdict(out).verdict != "PASS"


def _aside(path: Path) -> None:
    """Out of the way under the date it is of: nothing old is taken for new, and nothing is lost."""
    if not path.exists():
        return
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(path.stat().st_mtime))
    for again in ("", *(f".{n}" for n in range(1, 1000))):
        kept = path.with_name(f"{path.stem}.{stamp}{again}.old{path.suffix}")
        if not kept.exists():
            os.rename(path, kept)
            return


def _installed(args: argparse.Namespace, folder: Path, serial: str, verdict: Verdict, seconds: float) -> Done:  # fmt: skip
    said = quality_line(TOOLS[verdict.tool], verdict.quality) or verdict.cause
    findings = [Finding(f["level"], f"{verdict.tool}: {f['cause']}", f["next"]) for f in verdict.findings]  # type: ignore[arg-type] # fmt: skip
    if verdict.verdict == "PASS" or (verdict.verdict == "MARGINAL" and args.accept_marginal):
        accept = ["--accept-marginal"] if args.accept_marginal else []
        code = _command(args, "calibrate", verdict.tool, "install", str(args.work / f"{verdict.tool}.json"), "--serial", serial, "--folder", str(folder), *accept)  # fmt: skip
        if code:
            findings.append(Finding("FAIL", f"{verdict.tool} could not be installed", "see the message above"))  # fmt: skip
            return Done(verdict.tool, "FAIL", said, seconds, findings)
    else:
        said = f"{verdict.cause}; {verdict.next} (not installed)"
    return Done(verdict.tool, verdict.verdict, said, seconds, findings)


def _command(args: argparse.Namespace, *words: str) -> int:
    """A command of ours, its stdout kept quiet: the step's own line says what came of it."""
    import contextlib
    import io

    from tools import companion

    with contextlib.redirect_stdout(io.StringIO()):
        return companion.obey(list(words))


def _still_good(folder: Path, serial: str, board: str, tool: str) -> str:
    """Why a step can be skipped; empty: it cannot."""
    try:
        record = read_record(folder, serial, tool)
        age = age_of(record.date, time.time_ns())
    except (RecordError, ValueError):
        return ""
    if any((f.tool, f.serial) == (tool, serial) for f in standing(folder)):
        return ""
    left = TOOLS[tool].due_days - age
    if record.verdict != "PASS" or left <= 0:
        return ""
    if tool == "cam-imu" and not goes_with(record.result, board, _is_there(folder, board)):
        return ""
    return f"still good for {left:.0f} days"


def _is_there(folder: Path, board: str) -> bool:
    """Whether an `imu-multi` is installed for the board."""
    return record_path(folder, board, "imu-multi").is_file()


def _prove(args: argparse.Namespace, folder: Path, serial: str) -> Proof | None:
    """The proof drive, with what is in force; None without calibrated wheels."""
    try:
        wheels = read_record(folder, serial, "wheels").result
    except RecordError:
        return None
    try:
        bias = float(read_record(folder, serial, "imu-static").result["gyro"]["bias"][2])
    except (RecordError, KeyError, TypeError):
        bias = 0.0
    body = load_body(args.body)
    diameter = wheels.get("wheel_diameters_m")
    mean = sum(diameter) / 2 if diameter else 2 * body.geometry.wheel_radius_m
    with open_rig(args, SPACE) as rig:
        bias = 0.0 if use_imu(rig, folder) else bias
        return drive_square(
            rig, mean, wheels["base_over_diameter"], wheels["right_over_left"], bias
        )


def _result(done: list[Done]) -> dict[str, Any]:
    return {step.tool: step.state for step in done}


def _quality(done: list[Done], proof: Proof | None) -> dict[str, Any]:
    out: dict[str, Any] = {"minutes": sum(s.seconds for s in done) / 60}
    if proof is not None:
        out["proof_heading_error_deg"] = proof.heading_error_rad * 57.29577951308232
        if proof.has_truth:
            out["proof_place_error_mm"] = proof.place_error_m * 1e3
    return out


def _page(args: argparse.Namespace, verdict: Verdict, done: list[Done], proof: Proof | None) -> Page:  # fmt: skip
    plots: list[Plot] = [] if proof is None else [plot_proof(proof)]
    rows = [[s.tool, s.state, s.said, f"{s.seconds:.0f} s"] for s in done]
    rows += [[t, "not done", "a step before it failed", ""] for t in ORDER[len(done) :]]
    table: Table = ("Steps", ["tool", "state", "what came of it", "took"], rows)
    reports = [str(args.work / f"{s.tool}.html") for s in done if s.state != "skipped"]
    return Page(f"Robot {verdict.device}", plots, [table], inputs=reports)
