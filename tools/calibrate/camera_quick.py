"""`companion calibrate camera-quick solve`: three shots of a board tell whether the lens is still the one calibrated."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from calibration.bundle_adjustment import Family, Floats, Solution, adjust, locate, rms
from calibration.camera import FisheyeCamera
from calibration.errors import DataError
from calibration.lens_checks import scale_of
from calibration.lens_trust import grid_px, projection_change, projection_std
from calibration.projection import project
from calibration.store import Record, lens_of
from calibration.verdict import Finding, Verdict, judged
from runtime.errors import ConfigError
from tools.calibrate.camera import board_of
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.page import Page
from tools.calibrate.pictures import Views, read_pictures
from tools.calibrate.recording import recording_of

TOOL = "camera-quick"
SHOTS = 3
DRIFT_PX = 1.0  # in a picture 640 wide; grows as the gates of the full calibration do
CENTRE_PX = 3.0  # of the principal point, as the former: a third of a degree
SIGMAS = 4.0  # a change must stand out by: three shots are few, and their errors are not all noise
WORSE = 2.5  # times the error that the calibration had on views it had not seen
WORSE_FLOOR_PX = 0.3


class _Stored(msgspec.Struct):
    """What a result of `camera solve` and an installed record have in common."""

    result: dict[str, Any]
    quality: dict[str, Any]
    tool: str = ""
    kind: str = ""
    serial: str = ""
    device: str = ""


def add_solve(parser: argparse.ArgumentParser) -> None:
    """Options of solve."""
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR|VIDEO", help=f"{SHOTS} or more pictures of the board, tilted, in different places")  # fmt: skip
    add("--board", default="", metavar="BOARD", help="what is held up (default: what `record` noted)")  # fmt: skip
    add("--calibration", type=Path, required=True, metavar="F.json", help="what `camera solve --out` wrote, or the installed record")  # fmt: skip
    add_output(parser)


def solve(args: argparse.Namespace) -> int:
    """Fit only poses under the stored lens; exit 0 PASS, 3 MARGINAL, 1 FAIL."""
    check_output(args)
    stored = _stored(args.calibration)
    recorded = recording_of(args.images)
    seen = read_pictures(args.images, board_of(args, recorded))
    device = recorded.serial if recorded else ""
    known = stored.serial or stored.device
    if device and known and device != known:
        raise DataError(
            f"the pictures are of camera {device}, the calibration {args.calibration} of {known};"
            " give the calibration of this camera"
        )
    verdict = judge(seen, stored, args.calibration, device or known)
    title = f"Camera, quick check, {len(seen.views)} views of a board"
    return finish(args, verdict, lambda: Page(title, inputs=[str(f) for f in seen.files[:40]]))


def judge(seen: Views, stored: _Stored, source: Path, device: str = "") -> Verdict:
    """How well views fit the stored lens, against how well its own did."""
    sha = digest([*seen.files, source])
    lens, model, size = _lens(stored, source)
    if seen.size != size:
        raise DataError(
            f"the pictures are {seen.size[0]}x{seen.size[1]}, the calibration {source} is of"
            f" {size[0]}x{size[1]}; record in the mode that was calibrated"
        )
    if len(seen.views) < SHOTS:
        few = Finding("FAIL", f"the board was found in {len(seen.views)} different pictures of {seen.looked}; {SHOTS} are the least", "take three shots of the whole board, tilted, in different places")  # fmt: skip
        return judged(TOOL, {}, {"views": len(seen.views)}, [few], sha, device)
    residuals = {}
    for view in seen.views:
        pose = locate(model, lens, view)
        residuals[view.name] = project(model, lens, pose, view.points)[0] - view.pixels
    drift = rms(list(residuals.values()))
    held_out = float(stored.quality.get("held_out_px", np.nan))
    quality = {
        "drift_px": drift,
        "stored_held_out_px": held_out,
        "views": len(seen.views),
        "view_px": {name: rms([r]) for name, r in residuals.items()},
    }
    moved = _change(seen, lens, model, _centre_std(stored))
    quality |= {
        "lens_change_px": moved.lens_px,
        "lens_change_std_px": moved.lens_std_px,
        "centre_change_px": moved.centre_px,
        "centre_change_std_px": moved.centre_std_px,
    }
    scale = scale_of(size[0])
    findings = _findings(drift, held_out, scale) + _moved(moved, scale, float(lens[0]))
    return judged(TOOL, {}, quality, findings, sha, device, "nothing", "the lens is as calibrated")


@dataclass(frozen=True, slots=True)
class Change:
    """What three shots would change of a stored lens [px], and how sure that is."""

    lens_px: float  # median over the picture, turns of the camera apart
    lens_std_px: float
    centre_px: float  # of the principal point
    centre_std_px: float  # along its change, the stored one's included


def _centre_std(stored: _Stored) -> Floats:
    """(2,) of the stored principal point [px]; 0 where a result does not say."""
    std = stored.result.get("std")
    std = std if isinstance(std, dict) else {}
    return np.array([float(std.get(k) or 0.0) for k in ("cx", "cy")])


def _change(seen: Views, lens: Floats, model: str, centre_std: Floats) -> Change:
    """How far the shots, were they to choose, would move projection [px], and its uncertainty.

    Poses swallow most of a moved lens, so a small residual alone proves little: focal length,
    centre and first distortion are fitted beside the stored ones. A moved centre is told by itself:
    with turns of the camera taken out hardly anything of it is left, but on its mount the camera
    does not turn, and sees everything in another direction.
    """
    free = np.zeros((len(lens), 4))
    free[:2, 0] = lens[:2] / lens[0]
    free[(2, 3, 4), (1, 2, 3)] = 1
    whole = Family("stored", model, np.eye(len(lens)))
    nothing, poses = np.eye(len(lens)), np.array([locate(model, lens, v) for v in seen.views])
    fit = adjust(Family("moved", model, free), seen.views, np.zeros(4), poses, lens)
    old = Solution(whole, lens, poses, [], nothing, nothing)
    new = Solution(whole, lens + free @ fit.x, fit.poses, fit.residuals, free @ fit.covariance @ free.T, free @ fit.robust @ free.T)  # fmt: skip
    at = grid_px(seen.size)
    change, std = projection_change(old, new, at), projection_std(new, at, seen.size)
    centre: Floats = fit.x[1:3]
    length = float(np.linalg.norm(centre))
    way = centre / max(length, 1e-12)
    found: list[Floats] = [c[1:3, 1:3] + np.diag(centre_std**2) for c in (fit.covariance, fit.robust)]  # fmt: skip
    sure = max(float(np.sqrt(max(float(way @ c @ way), 0.0))) for c in found)
    return Change(float(np.nanmedian(change)), float(np.median(std)), length, sure)


def _moved(moved: Change, scale: float, focal_px: float) -> list[Finding]:
    recalibrate = "recalibrate: companion calibrate camera record"
    change, std, limit = moved.lens_px, moved.lens_std_px, DRIFT_PX * scale
    if change > limit and change > SIGMAS * std:
        return [Finding("FAIL", f"the lens moved, or this is another camera: a lens that is {change:.2g} ± {std:.2g} px different fits better, {limit:.2g} px is the most", recalibrate)]  # fmt: skip
    centre, centre_std, most = moved.centre_px, moved.centre_std_px, CENTRE_PX * scale
    if centre > most and centre > SIGMAS * centre_std:
        turned = np.degrees(np.arctan(centre / focal_px))
        return [Finding("FAIL", f"the lens moved, or this is another camera: the picture's centre is {centre:.2g} ± {centre_std:.2g} px elsewhere, {turned:.2g} deg; {most:.2g} px is the most", recalibrate)]  # fmt: skip
    if not (std <= limit and centre_std <= most):
        vague = (
            f"±{std:.2g} px" if not std <= limit else f"its centre is known to ±{centre_std:.2g} px"
        )
        return [Finding("MARGINAL", f"the shots cannot tell whether the lens moved: {vague}", "take shots that fill the picture, tilted by 30 degrees, left, right and up")]  # fmt: skip
    return []


def _findings(drift: float, held_out: float, scale: float) -> list[Finding]:
    if not drift <= DRIFT_PX * scale:
        return [Finding("FAIL", f"the lens moved, or this is another camera: the board is off by {drift:.2g} px, at most {DRIFT_PX * scale:.2g} px is good", "recalibrate: companion calibrate camera record")]  # fmt: skip
    limit = max(WORSE * held_out, WORSE_FLOOR_PX * scale)
    if drift > limit:
        return [Finding("MARGINAL", f"the board is off by {drift:.2g} px; when it was calibrated it was {held_out:.2g} px", "hold the board still and take the shots again; recalibrate if it stays so")]  # fmt: skip
    return []


def _stored(file: Path) -> _Stored:
    try:
        stored = msgspec.json.decode(file.read_bytes(), type=_Stored)
    except FileNotFoundError as error:
        raise ConfigError(f"--calibration {file}: no such file; give what `camera solve --out` wrote") from error  # fmt: skip
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"--calibration {file} is no calibration ({error}); give what `camera solve --out` wrote") from error  # fmt: skip
    if (stored.tool or stored.kind) != "camera":
        raise ConfigError(f"--calibration {file} is of {stored.tool or stored.kind or 'nothing known'}; give one of the camera")  # fmt: skip
    return stored


def _lens(stored: _Stored, source: Path) -> tuple[Any, str, tuple[int, int]]:
    """Parameters, model and picture size of a stored lens."""
    record = Record(kind="camera", serial=str(source), date="", tool_version="", verdict="PASS", cause="", next="", result=stored.result, quality={})  # fmt: skip
    lens = lens_of(record)
    p = lens.pinhole
    model = "fisheye" if isinstance(lens, FisheyeCamera) else "pinhole"
    return np.array([p.fx, p.fy, p.cx, p.cy, *lens.distortion]), model, (p.width, p.height)
