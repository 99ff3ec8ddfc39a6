"""Gates of a camera calibration: what speaks against it, and what the tech should do about it.

Limits are in pixels of a picture 640 wide and grow with the picture (0.4 there is 0.7 at 1280).
They are proposals of the design, fitted to no recording.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from calibration.intrinsics import Intrinsics
from calibration.lens_trust import CELLS, grid_px, projection_std
from calibration.projection import matrix
from calibration.verdict import Finding, Level

HELD_OUT_PX = 0.4
STD_CENTRE_PX, STD_EDGE_PX = 0.3, 1.0
HALF_SPLIT_PX, HALVES_SIGMA = 0.5, 3.0
FEW_VIEWS, TOO_FEW_VIEWS = 10, 5
TILT_RAD, TILT_DIRECTIONS = 0.2, 4
SEEN_SHARE = 0.6  # of the cells
BENT_SHARE = 0.01  # of the board's size
STRETCH = 0.02
AROUND = 72
ROWS = ("upper", "upper middle", "middle", "lower middle", "lower")
COLUMNS = ("left", "left of centre", "centre", "right of centre", "right")


def scale_of(width: int) -> float:
    """How limits grow with the width of the picture [px]."""
    return float(max(0.5, (width / 640) ** 0.8))


def region(row: int, column: int) -> str:
    """A cell in words."""
    if row == column == CELLS // 2:
        return "centre"
    return f"{ROWS[row]} {COLUMNS[column]}"


def radius80(fit: Intrinsics) -> float:
    """Median projection std [px] on the circle at 80 % of the half diagonal, inside the picture."""
    width, height = fit.size
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    reach = 0.4 * float(np.hypot(width, height))
    at = np.stack((np.cos(angle), np.sin(angle)), 1) * reach + (
        (width - 1) / 2,
        (height - 1) / 2,
    )
    inside = (at >= 0).all(1) & (at <= (width - 1, height - 1)).all(1)
    return float(np.median(projection_std(fit.wide, at[inside], fit.size)))


def directions(fit: Intrinsics) -> int:
    """In how many of eight directions the board was tilted."""
    strong = fit.tilts[np.linalg.norm(fit.tilts, axis=1) > TILT_RAD]
    return len({int(round(a / (np.pi / 4))) % 8 for a in np.arctan2(strong[:, 1], strong[:, 0])})


def result_of(fit: Intrinsics) -> dict[str, Any]:
    """The result in the keys of the format; `std` beside it."""
    lens, std = fit.solution.lens, fit.std
    return {
        "model": fit.model,
        "image_size": list(fit.size),
        "camera_matrix": matrix(lens).tolist(),
        "distortion": lens[4:].tolist(),
        "std": {"fx": std[0], "fy": std[1], "cx": std[2], "cy": std[3], "distortion": std[4:].tolist()},
        "parameters": fit.solution.family.name,
    }  # fmt: skip


def quality_of(fit: Intrinsics) -> dict[str, Any]:
    """Figures that say how good it is."""
    centre = projection_std(
        fit.wide, np.array([[(fit.size[0] - 1) / 2, (fit.size[1] - 1) / 2]]), fit.size
    )
    return {
        "rms_px": fit.solution.rms_px,
        "worst_view_px": max(fit.view_rms_px),
        "held_out_px": fit.held_out_px[fit.solution.family.name],
        "projection_std_px": {"centre": float(centre[0]), "radius80": radius80(fit)},
        "half_split_px": fit.half_split_px,
        "bad_views": list(fit.bad_views),
        "views": len(fit.views),
        "corners": int(sum(len(v.pixels) for v in fit.views)),
        "outlier_share": fit.outlier_share,
        "cells_seen": int((fit.counts > 0).sum()),
        "tilt_directions": directions(fit),
        "board_sag_mm": (fit.solution.sag_m * 1e3).round(3).tolist(),
        "held_out_px_by_model": fit.held_out_px,
    }


def findings_of(fit: Intrinsics) -> list[Finding]:
    """Everything that speaks against the calibration."""
    return [*_views(fit), *_errors(fit), *_regions(fit), *_shape(fit)]


def _views(fit: Intrinsics) -> list[Finding]:
    out = []
    count = len(fit.views)
    if count < FEW_VIEWS:
        level: Level = "FAIL" if count < TOO_FEW_VIEWS else "MARGINAL"
        rough = np.unravel_index(np.argmax(fit.std_px), fit.std_px.shape)
        out.append(
            Finding(
                level,
                f"not enough data: {count} good views, {_px(fit.std_px.max())} in the"
                f" {region(*map(int, rough))} of the picture",
                f"take at least {15 - count} more, tilted each way and out to the corners",
            )
        )
    if fit.bad_views and len(fit.bad_views) > 0.25 * (count + len(fit.bad_views)):
        names = ", ".join(fit.bad_views)
        out.append(Finding("MARGINAL", f"{len(fit.bad_views)} views do not fit and were left out: {names}", "hold the board still, in good light, and take them again"))  # fmt: skip
    if fit.outlier_share > 0.03:
        level = "FAIL" if fit.outlier_share > 0.1 else "MARGINAL"
        out.append(Finding(level, f"{fit.outlier_share:.0%} of the corners do not fit a flat board", "check the board's size and kind, and that nothing covers it"))  # fmt: skip
    if directions(fit) < TILT_DIRECTIONS:
        out.append(
            Finding(
                "MARGINAL" if directions(fit) else "FAIL",
                f"the board was tilted in {directions(fit)} of 8 directions; without tilt the focal length"
                " and the distance look alike",
                "tilt the board left, right, up and down by 30 degrees",
            )
        )
    return out


def _errors(fit: Intrinsics) -> list[Finding]:
    scale = scale_of(fit.size[0])
    quality = quality_of(fit)
    limits = (
        ("error on views left out", quality["held_out_px"], HELD_OUT_PX * scale, "clean the lens, stop motion blur, check the board is flat"),
        ("uncertainty at the centre", quality["projection_std_px"]["centre"], STD_CENTRE_PX * scale, "take more views, closer, tilted"),
    )  # fmt: skip
    return [
        Finding("FAIL" if value > 3 * limit else "MARGINAL", f"{what} is {_px(value)}, at most {_px(limit)} is good", do)
        for what, value, limit, do in limits
        if not value <= limit
    ] + _halves(fit, scale)  # fmt: skip


def _halves(fit: Intrinsics, scale: float) -> list[Finding]:
    """The fit of all views is off by about half of what its halves are apart."""
    apart = fit.half_split_px
    limit = HALF_SPLIT_PX * max(1.0, scale)  # noise of a corner does not shrink with the picture
    if apart <= limit:
        return []
    if not np.isfinite(apart):
        few = f"{len(fit.views)} views cannot be halved to see whether the halves agree"
        return [Finding("MARGINAL", few, "take more views")]
    # each half is known half as well: more than that is no chance
    chance = HALVES_SIGMA * 2 * float(np.median(fit.std_px))
    level: Level = "FAIL" if apart > 3 * max(limit, chance) else "MARGINAL"
    cause = f"two halves of the views disagree by {apart:.3g} px, most in the {_torn(fit)}; at most {limit:.3g} px is good"
    if apart > max(limit, chance):
        return [Finding(level, f"{cause}, and chance would give {chance:.3g} px", "hold focus, zoom, mirroring and board as they are, and record again")]  # fmt: skip
    return [Finding(level, cause, "take more views; both halves should cover the whole picture")]


def _torn(fit: Intrinsics) -> str:
    """Where the halves of the views are farthest apart."""
    apart = np.nan_to_num(fit.half_split_map, nan=np.inf)
    return region(*map(int, np.unravel_index(int(apart.argmax()), apart.shape)))


def _regions(fit: Intrinsics) -> list[Finding]:
    out = []
    limit = STD_EDGE_PX * scale_of(fit.size[0])
    unseen = [(r, c) for r, c in np.ndindex(CELLS, CELLS) if not fit.counts[r, c]]
    vague = sorted(
        (cell for cell in np.ndindex(CELLS, CELLS) if not fit.std_px[cell] <= limit),
        key=lambda cell: -fit.std_px[cell],
    )
    if vague:
        worst = vague[0]
        how = "never seen" if not fit.counts[worst] else "hardly seen"
        level: Level = "FAIL" if len(vague) > 0.4 * CELLS**2 else "MARGINAL"
        out.append(Finding(level, f"the {region(*worst)} was {how}: {_px(fit.std_px[worst])} there", f"fill the {region(*worst)} of the picture with the board and add those views"))  # fmt: skip
    if len(unseen) > (1 - SEEN_SHARE) * CELLS**2:
        level = "FAIL" if len(unseen) > 0.6 * CELLS**2 else "MARGINAL"
        names = ", ".join(region(*cell) for cell in unseen[:3])
        out.append(Finding(level, f"{len(unseen)} of {CELLS**2} parts of the picture were never seen, as {names}", "move the board through the whole picture, corners too"))  # fmt: skip
    return out


def _shape(fit: Intrinsics) -> list[Finding]:
    out = []
    lens = fit.solution.lens
    size = float(np.ptp(fit.views[0].points[:, :2], axis=0).max())
    sag = float(np.abs(fit.solution.sag_m).max())
    if sag > BENT_SHARE * size:
        out.append(Finding("MARGINAL", f"the board is bent by {sag * 1e3:.1f} mm over {size * 1e3:.0f} mm", "glue it to a flat plate and take the views again"))  # fmt: skip
    if abs(lens[0] / lens[1] - 1) > STRETCH:
        out.append(Finding("MARGINAL", f"pixels are not square: fx / fy = {lens[0] / lens[1]:.3f}; the picture seems stretched", "record in the sensor's own aspect ratio"))  # fmt: skip
    off = np.abs(lens[2:4] - (np.array(fit.size) - 1) / 2) / np.array(fit.size)
    if off.max() > 0.15:
        out.append(Finding("MARGINAL", f"the principal point ({lens[2]:.0f}, {lens[3]:.0f}) is far from the middle; the picture seems cropped", "record the full sensor, or cover the picture better"))  # fmt: skip
    return out


def cell_centres(fit: Intrinsics) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(CELLS, CELLS, 2) centres of the cells [px], row by row."""
    return grid_px(fit.size).reshape(CELLS, CELLS, 2)


def _px(value: float) -> str:
    return "no figure" if not np.isfinite(value) else f"±{value:.2g} px"
