"""`companion calibrate camera solve`: intrinsics from pictures of a board."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from calibration.board import Board, parse_board
from calibration.bundle_adjustment import Solution
from calibration.intrinsics import CHOICES, FAMILIES, LEAST_VIEWS, Intrinsics, solve_intrinsics
from calibration.lens_checks import findings_of, quality_of, result_of
from calibration.lens_trust import grid_px, projection_change
from calibration.verdict import Finding, Verdict, judged
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.calibrate.camera_page import draw
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.pictures import Views, read_pictures, read_points
from tools.calibrate.recording import Recording, recording_of

TOOL = "camera"


def add_solve(parser: argparse.ArgumentParser) -> None:
    """Options of solve."""
    add = parser.add_argument
    add("--images", type=Path, metavar="DIR|VIDEO", help="pictures of the board, or a video")
    add(
        "--board",
        default="",
        metavar="BOARD",
        help="default: what `record` noted; chessboard:9x6:25mm (inner corners), charuco:5x7:40mm:30mm:DICT_5X5_100 (squares), or points:CSV (corners found elsewhere: view,X,Y,u,v)",
    )
    add(
        "--model",
        choices=tuple(CHOICES),
        default="auto",
        help="lens model (default auto: by the error on views left out)",
    )
    add(
        "--window",
        type=int,
        default=0,
        metavar="PX",
        help="half window of corner refinement (default: follows the corner spacing)",
    )
    add("--size", default="", metavar="WxH", help="with points:CSV: size of the pictures")
    add(
        "--camera-id",
        default="",
        metavar="ID",
        help="with points:CSV of several cameras: which one",
    )
    add_output(parser)  # fmt: skip


def solve(args: argparse.Namespace) -> int:
    """Find the board, fit, judge; exit 0 PASS, 3 MARGINAL, 1 FAIL."""
    check_output(args)
    if args.window < 0:
        raise ConfigError(
            f"--window {args.window}: give a half width in pixels, 0 to follow the spacing"
        )
    recorded = recording_of(args.images) if args.images is not None else None
    seen = _seen(args, recorded)
    verdict, fit = judge(seen, args.model, recorded)
    return finish(args, verdict, lambda: draw(seen, fit))


def judge(
    seen: Views, model: str = "auto", recorded: Recording | None = None
) -> tuple[Verdict, Intrinsics | None]:
    """Verdict of what was seen; no fit where there is too little to fit."""
    sha, device = digest(seen.files), recorded.serial if recorded else ""
    if len(seen.views) < LEAST_VIEWS:
        return judged(TOOL, {}, _counts(seen), [_too_little(seen)], sha, device), None
    fit = solve_intrinsics(seen.views, seen.size, model)
    findings = [*_oddities(seen), *findings_of(fit)]
    quality = {**quality_of(fit), **_counts(seen), **_against_truth(fit, recorded)}
    return judged(TOOL, result_of(fit), quality, findings, sha, device), fit


def _against_truth(fit: Intrinsics, recorded: Recording | None) -> dict[str, Any]:
    """How far projection is off the true lens [px], where it is known: on the twin."""
    if recorded is None or recorded.camera != "twin":
        return {}
    from tools.twin.specimen import lens_of  # a robot has no simulator

    true = lens_of(load_body(recorded.body), int(recorded.serial.removeprefix("twin-")))
    p = true.pinhole
    lens = np.array([p.fx, p.fy, p.cx, p.cy, *true.distortion])
    known = Solution(FAMILIES["pinhole"], lens, np.zeros((1, 6)), [], np.eye(9), np.eye(9))
    change = projection_change(fit.solution, known, grid_px(fit.size))
    return {"truth_projection_px": float(np.median(change))}


def _seen(args: argparse.Namespace, recorded: Recording | None) -> Views:
    if args.board.startswith("points:"):
        return read_points(Path(args.board.removeprefix("points:")), _size(args), args.camera_id)
    if args.images is None:
        raise ConfigError("--images is missing; give a folder of pictures or a video")
    return read_pictures(args.images, board_of(args, recorded), args.window)


def board_of(args: argparse.Namespace, recorded: Recording | None) -> Board:
    """The board asked for, or the one a recording was made with."""
    if not args.board and recorded is None:
        raise ConfigError(
            f"--board is missing, and {args.images} was not made by `record`, which notes it; give what was"
            " held up, as chessboard:9x6:25mm"
        )
    return parse_board(args.board or (recorded.board if recorded else ""))


def _size(args: argparse.Namespace) -> tuple[int, int]:
    width, _, height = args.size.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) > 7 and int(height) > 7):
        raise ConfigError(
            f"--size {args.size or '(missing)'}: points:CSV needs the pictures' size, as 640x480"
        )
    return int(width), int(height)


def _counts(seen: Views) -> dict[str, Any]:
    return {
        "pictures": seen.looked,
        "blurred_views": seen.blurred,
        "repeated_views": seen.alike,
        "inverted": seen.inverted > len(seen.views) / 2,
        "mirrored": seen.mirrored > len(seen.views) / 2,
    }


def _too_little(seen: Views) -> Finding:
    found = len(seen.views)
    if seen.instead is not None:
        columns, rows = seen.instead
        return Finding(
            "FAIL",
            f"no such board: the pictures show one of {columns}x{rows} inner corners",
            f"give --board chessboard:{columns}x{rows}:SQUARE",
        )
    if seen.blurred:
        return Finding(
            "FAIL",
            f"{len(seen.blurred)} of {seen.looked} pictures are blurred, {found} are left",
            "hold the board still, add light",
        )
    return Finding("FAIL", f"the board was found in {found} different pictures of {seen.looked}; {LEAST_VIEWS} are the least, 15 are good", "check --board (kind, size, dictionary), add light, keep the whole board in the picture")  # fmt: skip


def _oddities(seen: Views) -> list[Finding]:
    if seen.mirrored > len(seen.views) / 2:
        return [Finding("FAIL", "the pictures are mirrored: left and right are exchanged", "switch mirroring off in the camera's settings and record again")]  # fmt: skip
    if seen.mirrored:
        return [Finding("FAIL", f"{seen.mirrored} of {len(seen.views)} pictures are mirrored, the others are not", "record with one setting")]  # fmt: skip
    if len(seen.blurred) > len(seen.views):
        return [Finding("MARGINAL", f"{len(seen.blurred)} pictures were too blurred to use", "hold the board still, add light")]  # fmt: skip
    return []
