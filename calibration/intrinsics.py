"""Camera intrinsics from views of a board: model chosen by held-out error, judged by projection.

A residual says how well the views were fitted; what matters is where the camera will think that a
ray falls. So every figure here is in pixels of projection: its standard deviation over the image,
its change between halves of the views, its error on views that were left out. A lens that is moved
and a camera that is turned look alike, so rotations are taken out before comparing (as mrcal does).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from calibration.bundle_adjustment import (
    Family,
    Solution,
    View,
    adjust,
    bend,
    locate,
    rms,
    without,
)
from calibration.errors import DataError
from calibration.lens_trust import CELLS, coverage, grid_px, projection_change, projection_std, tilt
from calibration.projection import PARAMETERS, project

Floats = npt.NDArray[np.float64]
LEAST_VIEWS = 3
FOCAL_GUESSES = (0.4, 0.6, 0.9, 1.3, 2.0)  # of the width: 100 to 28 degrees across
BAD_VIEW = 2.5  # times the median RMS of a view
BAD_VIEW_FLOOR_PX = 0.15
BAD_SHARE = 0.1  # of a view's corners
CONCENTRATE = (2.5, 2.5, 2.5)
LEAST_CORNERS = 6
OUTLIER = 6.0  # times the robust spread of residuals
OUTLIER_FLOOR_PX = 0.5
BETTER = 0.97  # a model with more parameters must hold out this much better
OTHER_MODEL = 0.85  # and another kind of lens this much: it extrapolates differently
FOLDS = 5


def _free(count: int, *columns: tuple[int, ...]) -> Floats:
    out = np.zeros((count, len(columns)))
    for column, rows in enumerate(columns):
        out[list(rows), column] = 1
    return out


FAMILIES = {
    "pinhole-small": Family("pinhole-small", "pinhole", _free(9, (0, 1), (2,), (3,), (4,), (5,))),
    "pinhole": Family("pinhole", "pinhole", np.eye(9)),
    "pinhole-bent": Family("pinhole-bent", "pinhole", np.eye(9), warp=True),
    "fisheye": Family("fisheye", "fisheye", np.eye(8)),
    "fisheye-bent": Family("fisheye-bent", "fisheye", np.eye(8), warp=True),
}  # `small`: one focal length, k1, k2; `bent`: the board is not flat
CHOICES = {
    "auto": tuple(FAMILIES),
    "pinhole": ("pinhole-small", "pinhole", "pinhole-bent"),
    "fisheye": ("fisheye", "fisheye-bent"),
}


@dataclass(frozen=True)
class Intrinsics:
    """A calibrated lens and all that says whether to trust it."""

    solution: Solution
    views: list[View]  # the good ones, without outliers
    size: tuple[int, int]  # width, height [px]
    bad_views: dict[str, float]  # name: RMS [px] before it was dropped
    outliers: list[Floats]  # (K, 4) per good view: x, y, dx, dy [px]
    outlier_share: float
    held_out_px: dict[str, float]  # of every family tried
    std_px: Floats  # (CELLS, CELLS) of projection, of the full model
    half_split_px: float  # median over the cells that were seen
    half_split_map: Floats  # (CELLS, CELLS)
    std: Floats  # (P,) of the lens's parameters
    counts: npt.NDArray[np.int64]  # (CELLS, CELLS) corners seen
    tilts: Floats  # (V, 2) slope of the board along x and y, as seen from the camera
    wide: Solution = field(repr=False)  # the full model, whose covariance `std_px` is of

    @property
    def model(self) -> str:
        """Pinhole or fisheye."""
        return self.solution.family.model

    @property
    def view_rms_px(self) -> list[float]:
        """Of every good view."""
        return [rms([r]) for r in self.solution.residuals]


def solve_intrinsics(views: list[View], size: tuple[int, int], choice: str = "auto") -> Intrinsics:
    """Choose a model, drop what does not fit, fit, and measure how far it can be trusted.

    Raises DataError when there are too few views to say anything.
    """
    if len(views) < LEAST_VIEWS:
        raise DataError(
            f"the board was found in {len(views)} pictures, {LEAST_VIEWS} are the least and 15 good;"
            " take more, tilted and all over the picture"
        )
    kinds = dict.fromkeys(FAMILIES[c].model for c in CHOICES[choice])
    firsts = [_first(FAMILIES[f"{kind}-small" if kind == "pinhole" else kind], views, size) for kind in kinds]  # fmt: skip
    first = min(firsts, key=lambda s: s.rms_px)
    good, bad, outliers, share = _cleaned(views, first, size)
    held: dict[str, float] = {}
    best: Solution | None = None
    for name in CHOICES[choice]:
        family = FAMILIES[name]
        fitted = _grown(
            family, good, next(s for s in firsts if s.family.model == family.model), size
        )
        held[name] = _held_out(fitted, good)
        same = best is not None and best.family.model == family.model
        if best is None or held[name] < (BETTER if same else OTHER_MODEL) * held[best.family.name]:
            best = fitted
    assert best is not None
    full = FAMILIES[best.family.name.replace("-small", "")]
    wide = best if full is best.family else _grown(full, good, best, size)
    grid = grid_px(size)
    halves = _halves(wide.family, good, wide, size, grid)
    counts = coverage(good, size)
    seen = (counts.ravel() > 0) & np.isfinite(halves)
    return Intrinsics(
        solution=best,
        views=good,
        size=size,
        bad_views=bad,
        outliers=outliers,
        outlier_share=share,
        held_out_px=held,
        std_px=projection_std(wide, grid, size).reshape(CELLS, CELLS),
        half_split_px=float(np.median(halves[seen])) if seen.any() else np.inf,
        half_split_map=halves.reshape(CELLS, CELLS),
        std=_parameter_std(best),
        counts=counts,
        tilts=np.array([tilt(p) for p in best.poses]),
        wide=wide,
    )


def _first(family: Family, views: list[View], size: tuple[int, int]) -> Solution:
    """The best fit from several focal lengths: a wrong first guess ends in a wrong valley."""
    found = []
    for share in FOCAL_GUESSES:
        lens = np.zeros(PARAMETERS[family.model])
        lens[:2] = share * size[0]
        lens[2:4] = (size[0] - 1) / 2, (size[1] - 1) / 2
        poses = np.array([locate(family.model, lens, v) for v in views])
        x = np.asarray(np.linalg.lstsq(family.free, lens, rcond=None)[0], np.float64)
        found.append(adjust(family, views, x, poses))
    return min(found, key=lambda s: s.rms_px)


def _grown(family: Family, views: list[View], near: Solution, size: tuple[int, int]) -> Solution:
    """A fit of another family (or of other views) from one that is near."""
    x = np.asarray(np.linalg.lstsq(family.free, near.lens, rcond=None)[0], np.float64)
    if family.warp:
        x = np.concatenate([x, near.sag_m])
    if len(near.poses) == len(views):
        poses = near.poses
    else:
        poses = np.array([locate(family.model, family.free @ x[: family.free.shape[1]], v) for v in views])  # fmt: skip
    return adjust(family, views, x, poses)


def _cleaned(
    views: list[View], first: Solution, size: tuple[int, int]
) -> tuple[list[View], dict[str, float], list[Floats], float]:
    """Views and corners that belong: good views, dropped ones with their RMS, outliers, their share.

    Fits what fits best and looks again (concentration steps: Rousseeuw & Van Driessen 1999), tight
    at first, for a fit that wild corners have pulled makes good ones look bad.
    """
    full = FAMILIES[first.family.name.replace("-small", "")]
    fit = _grown(full, views, first, size)
    bad: dict[str, float] = {}
    good, kept = list(views), list(views)
    for tight in (*CONCENTRATE, OUTLIER):
        lengths = [np.linalg.norm(r, axis=1) for r in _residuals(fit, good)]
        near = [n[n < _limit(lengths, tight)] for n in lengths]
        limit = _limit(near, tight)
        wild = [n >= limit for n in lengths]
        worse = _bad(lengths, wild) if tight == OUTLIER else {}
        bad |= {good[i].name: value for i, value in worse.items()}
        stay = [i for i in range(len(good)) if i not in worse]
        poses = fit.poses[stay]
        good = [good[i] for i in stay]
        keep = [~wild[i] if (~wild[i]).sum() >= LEAST_CORNERS else np.ones_like(wild[i]) for i in stay]  # fmt: skip
        kept = without(good, keep)
        fit = adjust(full, kept, fit.x, poses)
    lengths = _residuals(fit, good)
    outliers = [
        np.concatenate([v.pixels[~k], r[~k]], axis=1)
        for v, r, k in zip(good, lengths, keep, strict=True)
    ]
    return kept, bad, outliers, 1 - float(np.concatenate(keep).mean())


def _limit(lengths: list[Floats], times: float) -> float:
    return max(times * 1.4826 * float(np.median(np.concatenate(lengths))), OUTLIER_FLOOR_PX)


def _residuals(fit: Solution, views: list[View]) -> list[Floats]:
    """(N, 2) of all corners of the views, those too that the fit has left out."""
    points = [bend(v.points, fit.sag_m)[0] for v in views]
    return [
        project(fit.family.model, fit.lens, pose, p)[0] - v.pixels
        for v, p, pose in zip(views, points, fit.poses, strict=True)
    ]


def _bad(lengths: list[Floats], wild: list[npt.NDArray[np.bool_]]) -> dict[int, float]:
    """Views that err as wholes, with their RMS [px]: a single wild corner makes no bad view."""
    errors = np.array([float(np.sqrt((n**2).mean())) for n in lengths])
    middle = np.array([float(np.median(n)) for n in lengths])
    far = errors > max(BAD_VIEW * float(np.median(errors)), BAD_VIEW_FLOOR_PX)
    many = np.array([w.mean() > BAD_SHARE for w in wild])
    whole = many | (middle > BAD_VIEW * float(np.median(middle)))
    worst_first = [int(i) for i in np.argsort(-errors) if far[i] and whole[i]]
    return {i: float(errors[i]) for i in worst_first[: max(0, len(lengths) - LEAST_VIEWS)]}


def _held_out(fitted: Solution, views: list[View]) -> float:
    """RMS [px] on views left out in turn, of which only the pose is fitted."""
    folds = min(FOLDS, len(views))
    errors: list[Floats] = []
    for fold in range(folds):
        inside = [v for i, v in enumerate(views) if i % folds != fold]
        if len(inside) < 2:
            continue
        poses = np.array([p for i, p in enumerate(fitted.poses) if i % folds != fold])
        part = adjust(fitted.family, inside, fitted.x, poses)
        for i, view in enumerate(views):
            if i % folds == fold:
                errors.append(_placed(part, view, fitted.poses[i]))
    return rms(errors)


def _placed(part: Solution, view: View, guess: Floats) -> Floats:
    """Residuals (N, 2) of a view that the fit has not seen, its pose apart."""
    alone = Family("pose", part.family.model, np.zeros((len(part.lens), 0)))
    flat = View(view.name, bend(view.points, part.sag_m)[0], view.pixels)
    return adjust(alone, [flat], np.zeros(0), guess[None], part.lens).residuals[0]


def _halves(
    family: Family, views: list[View], whole: Solution, size: tuple[int, int], at: Floats
) -> Floats:
    """(N,) change of projection [px] between fits of the even and of the odd views."""
    if len(views) < 2 * LEAST_VIEWS:
        return np.full(len(at), np.inf)
    parts = []
    for k in (0, 1):
        pick = np.arange(k, len(views), 2)
        parts.append(adjust(family, [views[i] for i in pick], whole.x, whole.poses[pick]))
    return projection_change(parts[0], parts[1], at)


def _parameter_std(solution: Solution) -> Floats:
    """(P,) of the lens's parameters, the larger of the two covariances."""
    count = solution.family.free.shape[1]
    both = np.maximum(np.diag(solution.covariance), np.diag(solution.robust))[:count]
    return np.asarray(solution.family.free @ np.sqrt(np.maximum(both, 0)))
