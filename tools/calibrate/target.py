"""`companion calibrate target`: a board to print, and what its size is once it is printed."""

from __future__ import annotations

import argparse
import json
import math
import re
from pathlib import Path

from calibration.board import Board, parse_board
from runtime.errors import ConfigError, RuntimeFault
from tools.calibrate.finish import check_output
from tools.calibrate.target_sheet import PAPERS_MM, RULER_MM, pdf, scaled, sheet_of
from tools.report import write_whole

TRUE_SHARE = 0.005  # a ruler is read to half a millimetre
PLAUSIBLE = (0.5, 1.5)  # prints of another scale: something else was measured
DEGRADED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of target."""
    add = parser.add_argument
    add("--board", required=True, metavar="BOARD", help="chessboard:9x6:25mm (inner corners) or charuco:5x7:37mm:28mm:DICT_5X5_100 (squares)")  # fmt: skip
    add("--paper", choices=tuple(PAPERS_MM), default="A4", help="what is in the printer (default A4)")  # fmt: skip
    add("--out", type=Path, metavar="F.pdf", help="write the sheet here")
    add("--measured", default="", metavar="LENGTH", help="what the printed 100 mm ruler measures, as 97mm, or along x and y as 97mm,97.2mm")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Write the sheet, or judge a printed one: exit 0 true, 3 give the other size, 1 unusable."""
    board = parse_board(args.board)
    if (args.out is None) == (not args.measured):
        raise ConfigError("give --out F.pdf to print a board, or --measured LENGTH for a printed one, one of the two")  # fmt: skip
    if args.measured:
        return _judge(args, board)
    check_output(args)
    sheet = sheet_of(board, args.paper)
    write_whole(args.out, pdf(sheet))
    if args.json:
        print(json.dumps({"tool": "target", "board": str(board), "paper": args.paper, "out": str(args.out)}))  # fmt: skip
    else:
        print(f"sheet: {args.out}")
        print("next: print it at 100 %, glue it to a flat plate, measure both rulers, then")
        print(f"companion calibrate target --board {board} --measured 100mm")
    return 0


def _judge(args: argparse.Namespace, board: Board) -> int:
    x_mm, y_mm = _lengths(args.measured)
    if abs(x_mm - y_mm) > TRUE_SHARE * max(x_mm, y_mm):
        raise RuntimeFault(
            f"the printer stretches: {x_mm:g} mm along x, {y_mm:g} mm along y; squares are no squares then."
            " Print it again, without fitting to the page, or with another printer"
        )
    factor = (x_mm + y_mm) / 2 / RULER_MM
    true = abs(factor - 1) <= TRUE_SHARE
    printed = board if true else scaled(board, factor)
    if args.json:
        print(json.dumps({"tool": "target", "board": str(printed), "printed_percent": round(100 * factor, 3), "verdict": "PASS" if true else "MARGINAL"}))  # fmt: skip
    elif true:
        print(f"Printed true: give --board {printed}")
    else:
        print(f"Printed at {100 * factor:g} %: give --board {printed}")
    return 0 if true else DEGRADED


def _lengths(text: str) -> tuple[float, float]:
    """Millimetres along x and y."""
    parts = text.split(",")
    found = [re.fullmatch(r"(\d+(?:\.\d+)?)(mm|cm)", p.strip()) for p in parts]
    if len(parts) > 2 or not all(found):
        raise ConfigError(f"--measured {text!r}: give the ruler's length with its unit, as 97mm, or along x and y, as 97mm,97.2mm")  # fmt: skip
    values = [float(m[1]) * (10 if m[2] == "cm" else 1) for m in found if m]
    for value in values:
        if not PLAUSIBLE[0] * RULER_MM <= value <= PLAUSIBLE[1] * RULER_MM or not math.isfinite(value):  # fmt: skip
            raise ConfigError(f"--measured {text!r}: {value:g} mm is not near {RULER_MM:g} mm; measure the ruler on the sheet, not a square")  # fmt: skip
    return values[0], values[-1]
