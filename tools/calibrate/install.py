"""`companion calibrate TOOL install` and `calibrate status`: what is in force on this robot, and for how long."""

from __future__ import annotations

import argparse
import json
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from calibration.drift import standing
from calibration.errors import RecordError
from calibration.store import Record, history, install, lens_of, read_record, rollback
from calibration.verdict import Verdict
from runtime.errors import ConfigError, RuntimeFault
from tools.calibrate.table import RECORDED, TOOLS, age_of, quality_line
from tools.compose import calibration_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of install."""
    add = parser.add_argument
    add("result", nargs="?", type=Path, metavar="F.json", help="what `solve --out` wrote")
    add(
        "--serial",
        default="",
        metavar="S",
        help="the device it is of (default: the one that was recorded)",
    )
    add("--accept-marginal", action="store_true", help="install a MARGINAL result too")
    add("--rollback", action="store_true", help="put the one before back instead")
    add("--folder", type=Path, metavar="DIR", help="where calibrations lie (default: this robot's)")
    add("--json", action="store_true", help="print one JSON object")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Install one result, or go back; nothing is changed by a refusal."""
    kind = args.words[1]
    folder = args.folder or calibration_folder()
    if args.rollback == (args.result is not None):
        raise ConfigError("give the result to install, or --rollback, one of the two")
    if args.rollback:
        if not args.serial:
            raise ConfigError("--rollback needs --serial; `companion calibrate status` lists them")
        record = rollback(folder, args.serial, kind)
        said = f"back to the {kind} calibration of {record.date}"
    else:
        record = _record(args, kind)
        path = put(folder, record)
        said = f"installed: {path}"
    if args.json:
        print(json.dumps({"tool": kind, "serial": record.serial, "date": record.date, "verdict": record.verdict}))  # fmt: skip
    else:
        print(said)
    return 0


def put(folder: Path, record: Record) -> Path:
    """Install; RuntimeFault when the folder cannot be written, the old record then stands."""
    try:
        return install(folder, record)
    except OSError as error:
        raise RuntimeFault(
            f"{folder} cannot be written ({error.strerror}); what was installed is unchanged"
        ) from error


def _record(args: argparse.Namespace, kind: str) -> Record:
    verdict = read_verdict(args.result)
    if verdict.tool != kind:
        raise ConfigError(
            f"{args.result} is of {verdict.tool}; run `companion calibrate {verdict.tool} install`"
        )
    if verdict.verdict == "FAIL":
        raise RuntimeFault(
            f"{args.result} is a FAIL ({verdict.cause}) and is not installed; {verdict.next}"
        )
    if verdict.verdict == "MARGINAL" and not args.accept_marginal:
        raise RuntimeFault(
            f"{args.result} is MARGINAL ({verdict.cause}); {verdict.next}, or install it with --accept-marginal"
        )
    serial = args.serial or verdict.device
    if not serial:
        raise ConfigError(
            f"{args.result} does not say which device it is of; give --serial: a camera's name in"
            " /dev/v4l/by-id, or the board's uid as `companion link stats` prints it"
        )
    record = record_of(verdict, serial)
    if kind == "camera":
        lens_of(record)
    return record


def record_of(verdict: Verdict, serial: str) -> Record:
    """A verdict as the record of a device, dated now."""
    return Record(
        kind=verdict.tool,
        serial=serial,
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        tool_version=metadata.version("companion-controller"),
        verdict=verdict.verdict,
        cause=verdict.cause,
        next=verdict.next,
        result=verdict.result,
        quality=verdict.quality,
        inputs_sha256=verdict.inputs_sha256,
    )


def read_verdict(path: Path) -> Verdict:
    """What a solve wrote."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Verdict)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; give what `solve --out` wrote") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(
            f"{path} is no result of a calibration ({error}); give what `solve --out` wrote"
        ) from error


def add_status(parser: argparse.ArgumentParser) -> None:
    """Options of status."""
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where calibrations lie (default: this robot's)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def status(args: argparse.Namespace) -> int:
    """List what is installed: age, quality, when due; exit 3 when something is due or damaged."""
    folder = args.folder or calibration_folder()
    rows = installed(folder)
    if args.json:
        print(json.dumps({"folder": str(folder), "installed": rows}))
    elif not rows:
        print(f"nothing is installed in {folder}; `companion calibrate robot` does all of it")
    else:
        for row in rows:
            print(f"{row['state']:8} {row['tool']:12} {row['serial']}  {row['said']}")
    return 3 if any(row["state"] != "good" for row in rows) else 0


def installed(folder: Path) -> list[dict[str, Any]]:
    """Every record of a folder, by device and tool."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        serial, _, kind = path.name.removesuffix(".json").rpartition(".")
        if kind in RECORDED and serial:
            rows.append(_row(folder, serial, kind))
    return _drifted(rows, folder)


def _drifted(rows: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """What the watch says of them; a drift of what was never calibrated is a row of its own."""
    for flag in standing(folder):
        mine = [r for r in rows if (r["tool"], r["serial"]) == (flag.tool, flag.serial)]
        row = mine[0] if mine else {"tool": flag.tool, "serial": flag.serial, "said": "not installed"}  # fmt: skip
        row |= {"state": "drifted", "said": f"{row['said']}; {flag.said}"}
        if not mine:
            rows.append(row)
    return rows


def _row(folder: Path, serial: str, kind: str) -> dict[str, Any]:
    tool = TOOLS[kind]
    try:
        record = read_record(folder, serial, kind)
        age = age_of(record.date, time.time_ns())
    except (RecordError, ValueError) as error:
        return {"tool": kind, "serial": serial, "state": "damaged", "said": str(error)}
    left = tool.due_days - age if tool.due_days else None
    state = "due" if left is not None and left <= 0 else "marginal" if record.verdict == "MARGINAL" else "good"  # fmt: skip
    due = "does not age" if left is None else f"due in {left:.0f} days" if left > 0 else f"due for {-left:.0f} days"  # fmt: skip
    earlier = len(history(folder, serial, kind))
    parts = [record.verdict, f"{age:.0f} days old", due, quality_line(tool, record.quality)]
    return {
        "tool": kind,
        "serial": serial,
        "state": state,
        "verdict": record.verdict,
        "date": record.date,
        "age_days": round(age, 2),
        "due_in_days": None if left is None else round(left, 2),
        "quality": record.quality,
        "earlier": earlier,
        "said": ", ".join(p for p in parts if p),
    }
