"""`companion calibrate TOOL report`: the page of a result, and how it differs from what is installed."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from calibration.errors import RecordError
from calibration.store import Record, read_record, record_path
from calibration.verdict import Verdict
from runtime.errors import ConfigError
from tools.calibrate.finish import check_output
from tools.calibrate.install import read_verdict
from tools.calibrate.page import Page, write_page
from tools.calibrate.table import TOOLS, age_of
from tools.compose import calibration_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of report."""
    add = parser.add_argument
    add("result", type=Path, metavar="F.json", help="what `solve --out` wrote")
    add("--report", type=Path, required=True, metavar="F.html", help="where the page goes")
    add("--serial", default="", metavar="S", help="the device to compare with (default: the one that was recorded)")  # fmt: skip
    add("--folder", type=Path, metavar="DIR", help="where calibrations lie (default: this robot's)")


def main(args: argparse.Namespace) -> int:
    """Write the page; the verdict is on it, the exit code is of the writing."""
    check_output(args)
    verdict = read_verdict(args.result)
    kind = args.words[1]
    if verdict.tool != kind:
        raise ConfigError(f"{args.result} is of {verdict.tool}; run `companion calibrate {verdict.tool} report`")  # fmt: skip
    serial = args.serial or verdict.device
    folder = args.folder or calibration_folder()
    title = TOOLS[kind].what.capitalize() + (f", {serial}" if serial else "")
    tables = [_findings(verdict), _change(verdict, folder, serial)]
    write_page(args.report, verdict, Page(title, tables=tables, inputs=[f"result {args.result}"]))
    print(f"report: {args.report}")
    return 0


def _findings(verdict: Verdict) -> tuple[str, list[str], list[list[str]]]:
    rows = [[f["level"], f["cause"], f["next"]] for f in verdict.findings]
    return "What speaks against it", ["level", "what", "what to do"], rows


def _change(verdict: Verdict, folder: Path, serial: str) -> tuple[str, list[str], list[list[str]]]:
    """A table of every number beside the installed one; a row that says why where there is none."""
    title = "Against what is installed"
    try:
        if not serial or not record_path(folder, serial, verdict.tool).is_file():
            of = f"of {serial} " if serial else ""
            return title, [""], [[f"no {verdict.tool} calibration {of}is installed"]]
        record = read_record(folder, serial, verdict.tool)
    except RecordError as error:
        return title, [""], [[str(error)]]
    return f"{title} ({_age(record)})", ["what", "now", "installed", "change"], _rows(verdict, record)  # fmt: skip


def _age(record: Record) -> str:
    try:
        return f"{age_of(record.date, time.time_ns()):.0f} days old"
    except ValueError:
        return f"of {record.date or 'no date'}"


def _rows(verdict: Verdict, record: Record) -> list[list[str]]:
    now = _numbers(verdict.result) | _numbers(verdict.quality)
    then = _numbers(record.result) | _numbers(record.quality)
    return [
        [key, f"{value:.6g}", f"{then[key]:.6g}", f"{value - then[key]:+.3g}"]
        for key, value in now.items()
        if key in then
    ]


def _numbers(values: Any, name: str = "") -> dict[str, float]:
    """Every number in a result, by its path; standard deviations are no result."""
    if isinstance(values, bool):
        return {}
    if isinstance(values, (int, float)):
        return {name: float(values)}
    if isinstance(values, dict):
        pairs = [(f"{name}.{k}" if name else str(k), v) for k, v in values.items() if k != "std"]
    elif isinstance(values, list):
        pairs = [(f"{name}[{i}]", v) for i, v in enumerate(values)]
    else:
        return {}
    return {key: number for path, v in pairs for key, number in _numbers(v, path).items()}
