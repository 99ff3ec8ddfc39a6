"""The six panels of `companion model geometry`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tools.geometry import Measured, starred

NAMES = {"consecutive": "frame to\nnext frame", "random": "frame to\nany frame", "off_data": "frame to\nspoilt frame"}  # fmt: skip

ERRORS = ("person_now", "belief_next", "image_next", "image_10", "person_10")


def draw(m: Measured, out: Path) -> None:
    """Write the picture beside its place and rename it there; panels not measured say so."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(15, 8.5))
    panels = (("rarity", _rarity), ("regions", _regions), ("gain", _gain),
              ("growth", _bounds), ("growth", _apart), ("worth", _worth))  # fmt: skip
    for axis, (key, panel) in zip(axes.flat, panels, strict=True):
        if key in m.arrays or (key == "worth" and "worth" in m.found):
            panel(axis, m)
        else:
            axis.text(0.5, 0.5, f"{key}: not measured", ha="center", va="center")
            axis.set_axis_off()
    name = f"{m.found['bundle']} {m.found['version']}"
    figure.suptitle(f"Geometry of {name}: {m.found.get('episodes', 0)} episodes, {m.found.get('moments', 0)} moments")  # fmt: skip
    figure.tight_layout()
    work = out.with_name(f".{out.name}.part")
    try:
        figure.savefig(work, dpi=90, format=out.suffix.lstrip("."))
        work.replace(out)
    finally:
        pyplot.close(figure)
        work.unlink(missing_ok=True)


def _rarity(axis: Any, m: Measured) -> None:
    values = m.arrays["rarity"]
    off = m.found["rarity"]["off"]
    labels = [k if k == "data" else f"{k}\n{off[k]['auroc']:.2f}" for k in values]
    axis.boxplot(list(values.values()), whis=(5, 95), showfliers=False)
    axis.set_xticks(range(1, len(labels) + 1), labels)
    axis.set_ylabel("mean rarity per unit [nats]")
    axis.set_title("Rarity of activation patterns\n(below each: AUROC against data)")


def _regions(axis: Any, m: Measured) -> None:
    values = m.arrays["regions"]
    axis.boxplot(list(values.values()), whis=(5, 95), showfliers=False)
    axis.set_xticks(range(1, len(values) + 1), [NAMES[k] for k in values])
    axis.set_yscale("log")
    axis.set_ylabel("units that switch, per unit of length")
    axis.set_title("Density of linear regions")


def _gain(axis: Any, m: Measured) -> None:
    from matplotlib.ticker import LogLocator

    for steps, values in m.arrays["gain"].items():
        ordered = np.sort(values)
        axis.plot(ordered, (np.arange(len(ordered)) + 0.5) / len(ordered), label=f"{steps} step{'s' if steps > 1 else ''}")  # fmt: skip
    axis.axvline(1, color="grey", linewidth=0.8)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_minor_formatter("")
    axis.set_xlabel("largest singular value of the Jacobian")
    axis.set_ylabel("share of moments below")
    axis.set_title("Gain of the soft dynamics\n(right of 1: some small change grows)")
    axis.legend()


def _bounds(axis: Any, m: Measured) -> None:
    other = axis.twinx()
    for i, (name, g) in enumerate(m.arrays["growth"].items()):
        axis.plot(g.h.max(1), color=f"C{i}", label=f"|h|, {name} actions")
        other.plot(g.person_m.max(1), color=f"C{i}", linestyle=":", label=f"person, {name} actions")
    axis.set_ylim(0, 1.05)
    axis.set_xlabel("step (0.05 s each)")
    axis.set_ylabel("largest |h|")
    other.set_ylabel("farthest person [m]")
    farthest = max(float(g.person_m.max()) for g in m.arrays["growth"].values())
    other.set_ylim(0, 2 * farthest + 0.1)  # below the lines of |h|
    lines, labels = axis.get_legend_handles_labels()
    more, and_labels = other.get_legend_handles_labels()
    other.legend(lines + more, labels + and_labels, fontsize=8, ncols=2, loc="center", bbox_to_anchor=(0.5, 0.7))  # fmt: skip
    axis.set_title("Bounds over 500 steps of imagination")


def _apart(axis: Any, m: Measured) -> None:
    for i, (name, g) in enumerate(m.arrays["growth"].items()):
        low, middle, high = np.percentile(g.apart, [10, 50, 90], axis=1)
        axis.plot(middle, color=f"C{i}", label=f"{name} actions (median)")
        axis.fill_between(range(len(low)), low, high, color=f"C{i}", alpha=0.2)
    axis.axhline(1e-3, color="grey", linewidth=0.8)
    axis.set_yscale("log")
    axis.set_xlabel("step (0.05 s each)")
    axis.set_ylabel("distance of the two beliefs")
    axis.set_title("Two rollouts that start 0.001 apart\n(same noise; band: 10 to 90 %)")
    axis.legend(fontsize=8)


def _worth(axis: Any, m: Measured) -> None:
    worth = m.found["worth"]
    errors = [k for k in ERRORS if any(k in row for row in worth.values())]
    grid = np.array([[row.get(k, np.nan) for k in errors] for row in worth.values()])
    axis.imshow(grid, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    axis.set_xticks(range(len(errors)), [k.replace("_", "\n") for k in errors])
    axis.set_yticks(range(len(worth)), [k.replace("_", " ") for k in worth])
    for (i, j), value in np.ndenumerate(grid):
        if np.isfinite(value):
            star = starred(m.found["worth_ci95"][list(worth)[i]][errors[j]])
            axis.text(j, i, f"{value:.2f}{star}", ha="center", va="center", fontsize=9, color="white" if abs(value) > 0.6 else "black")  # fmt: skip
    axis.set_title(
        "Worth as a warning: rank correlation with errors\n(*: its interval over episodes leaves out 0)"
    )
