"""Plots of a camera calibration: whether the whole picture is known, and every view agrees."""

from __future__ import annotations

import base64

import numpy as np

from calibration.intrinsics import Intrinsics
from calibration.lens_checks import scale_of
from calibration.lens_trust import CELLS, projection_std
from calibration.projection import matrix
from tools.calibrate.figures import BAD, DATA, FAINT, GOOD, figure, svg
from tools.calibrate.page import Page, Plot
from tools.calibrate.pictures import Views

FINE = 24
ARROW = 60.0
BANDS = (
    "#1a7f4b",
    "#4fa36f",
    "#8cc59a",
    "#cfe6c4",
    "#f6c7a5",
    "#e8804f",
    "#c0392b",
)  # red above the limit


def draw(seen: Views, fit: Intrinsics | None) -> Page:
    """The page's plots; without a fit only what was looked at."""
    inputs = [str(f) for f in seen.files[:40]]
    title = f"Camera, {seen.size[0]}x{seen.size[1]}, {len(seen.views)} views of a board"
    if fit is None:
        return Page(title, [], inputs=inputs)
    plots = [_trust(fit), _covered(fit), _views(fit), _arrows(fit), _radius(fit), _models(fit)]
    if seen.sample is not None:
        plots.append(_straight(seen, fit))
    return Page(title, plots, inputs=inputs)


def _trust(fit: Intrinsics) -> Plot:
    width, height = fit.size
    x = np.linspace(0, width - 1, FINE)
    y = np.linspace(0, height - 1, FINE)
    at = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    std = np.minimum(projection_std(fit.wide, at, fit.size), 9.9).reshape(FINE, FINE)
    drawn, axes = figure(6.4, 4.6)
    limit = scale_of(width)
    levels = np.array([0, 0.15, 0.3, 0.5, 1, 2, 4, 10]) * limit
    shown = axes.contourf(x, y, std, levels=levels, colors=BANDS)
    for view in fit.views:
        axes.plot(*view.pixels.T, ".", color="black", ms=1, alpha=0.35)
    drawn.colorbar(shown, label="standard deviation of projection [px]")
    _picture(axes, fit)
    see = (
        f"Green: known well. Red (above {limit:.2g} px): do not trust it there. Dots: corners seen."
    )
    return Plot("Where can it be trusted?", see, svg(drawn))


def _covered(fit: Intrinsics) -> Plot:
    drawn, axes = figure(6.4, 4.4)
    axes.imshow(np.minimum(fit.counts, 40), cmap="Blues", extent=(0, CELLS, CELLS, 0), aspect=fit.size[1] / fit.size[0], vmin=0)  # fmt: skip
    for (row, column), count in np.ndenumerate(fit.counts):
        colour = BAD if not count else "white" if count > 25 else "black"
        text = f"{count}\n±{fit.std_px[row, column]:.2g} px" if count else f"none\n±{fit.std_px[row, column]:.2g} px"  # fmt: skip
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set(xticks=[], yticks=[])
    see = "Corners seen in each part of the picture. Red: no corner was ever there; hold the board there."
    return Plot("Was the whole picture covered?", see, svg(drawn))


def _views(fit: Intrinsics) -> Plot:
    names = [v.name for v in fit.views] + list(fit.bad_views)
    values = [*fit.view_rms_px, *fit.bad_views.values()]
    colours = [DATA] * len(fit.views) + [BAD] * len(fit.bad_views)
    drawn, axes = figure(6.4, 1.2 + 0.17 * len(names))
    axes.barh(range(len(names)), values, color=colours)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("RMS of the view [px]")
    see = "All bars should be about alike. Red views did not fit and were left out." if fit.bad_views else "All bars should be about alike; they are one lens and one board."  # fmt: skip
    return Plot("Does every view agree?", see, svg(drawn))


def _arrows(fit: Intrinsics) -> Plot:
    drawn, axes = figure(6.4, 4.6)
    at = np.concatenate([v.pixels for v in fit.views])
    r = np.concatenate(fit.solution.residuals)
    axes.quiver(*at.T, *r.T, angles="xy", scale_units="xy", scale=1 / ARROW, width=0.0015, color=DATA)  # fmt: skip
    for wild in fit.outliers:
        if len(wild):
            axes.plot(wild[:, 0], wild[:, 1], "x", color=BAD)
    _picture(axes, fit)
    see = f"Residuals, {ARROW:.0f} times as long. Good: arrows point anywhere. A pattern (all outwards, a swirl) means a wrong model or a bent board."  # fmt: skip
    return Plot("Is what remains only noise?", see, svg(drawn))


def _radius(fit: Intrinsics) -> Plot:
    drawn, axes = figure(6.4, 3.0)
    at = np.concatenate([v.pixels for v in fit.views])
    r = np.linalg.norm(np.concatenate(fit.solution.residuals), axis=1)
    radius = np.linalg.norm(at - fit.solution.lens[2:4], axis=1)
    axes.plot(radius, r, ".", ms=2, color=FAINT)
    edges = np.linspace(0, radius.max(), 9)
    middle = [np.median(r[(radius >= a) & (radius <= b)]) if ((radius >= a) & (radius <= b)).any() else np.nan for a, b in zip(edges[:-1], edges[1:], strict=True)]  # fmt: skip
    axes.plot((edges[:-1] + edges[1:]) / 2, middle, color=GOOD, lw=2)
    axes.set(
        xlabel="distance from the principal point [px]", ylabel="residual [px]", ylim=(0, None)
    )
    return Plot("Do the edges fit as well as the middle?", "The line (median) should stay level.", svg(drawn))  # fmt: skip


def _models(fit: Intrinsics) -> Plot:
    names = list(fit.held_out_px)
    drawn, axes = figure(6.4, 2.2)
    chosen = [GOOD if n == fit.solution.family.name else FAINT for n in names]
    axes.barh(range(len(names)), [fit.held_out_px[n] for n in names], color=chosen)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("error on views left out [px]")
    see = "Green: chosen. A larger model has to be clearly better on views it has not seen."
    return Plot("Which lens model?", see, svg(drawn))


def _straight(seen: Views, fit: Intrinsics) -> Plot:
    import cv2

    assert seen.sample is not None
    lens = fit.solution.lens
    if fit.model == "fisheye":
        flat = cv2.fisheye.undistortImage(seen.sample, matrix(lens), lens[4:], Knew=matrix(lens))
    else:
        flat = cv2.undistort(seen.sample, matrix(lens), lens[4:])
    both = np.concatenate([seen.sample, np.asarray(flat)], axis=1)
    width = min(1000, max(640, both.shape[1]))
    both = cv2.resize(both, (width, round(both.shape[0] * width / both.shape[1])))
    _, jpeg = cv2.imencode(".jpg", both, [cv2.IMWRITE_JPEG_QUALITY, 80])
    text = base64.b64encode(jpeg.tobytes()).decode()
    see = "Left: as recorded. Right: put straight; edges that are straight in the world are straight here."
    return Plot("Are straight things straight?", see, f'<img alt="recorded and undistorted" src="data:image/jpeg;base64,{text}">')  # fmt: skip


def _picture(axes: object, fit: Intrinsics) -> None:
    axes.set(xlim=(0, fit.size[0] - 1), ylim=(fit.size[1] - 1, 0), aspect="equal", xlabel="x [px]", ylabel="y [px]")  # type: ignore[attr-defined] # fmt: skip
