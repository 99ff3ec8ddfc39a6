"""Progress of a training: losses with the time left, kept in a CSV and drawn as a picture."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path


class Progress:
    """Prints the losses with the time left, appends them to `STEM.csv` and draws `STEM.png`."""

    def __init__(self, stem: Path, updates: int, start: int, say: Callable[[str], None]) -> None:
        self._stem, self._updates, self._start, self._say = stem, updates, start, say
        self._began = time.monotonic()
        self._drawn = 0.0
        self._take_back(start)

    def __call__(self, update: int, parts: dict[str, float]) -> None:
        """One report."""
        rate = (time.monotonic() - self._began) / max(1, update - self._start)
        left = rate * (self._updates - update)
        losses = " ".join(f"{k} {v:.3g}" for k, v in parts.items())
        self._say(f"update {update}/{self._updates}, {left / 60:.0f} min left: {losses}")
        self._keep(update, parts)
        if time.monotonic() - self._drawn > 60 or update >= self._updates:
            draw(self._stem)
            self._drawn = time.monotonic()

    def _take_back(self, start: int) -> None:
        """Drop the rows of updates that are done again, as after an interruption."""
        file = self._stem.with_suffix(".csv")
        if not file.is_file():
            return
        with file.open(newline="") as stream:
            rows = list(csv.reader(stream))
        whole = [r for r in rows[1:] if r and r[0].isdecimal() and len(r) == len(rows[0])]
        kept = [r for r in whole if int(r[0]) <= start]
        if not kept:
            file.unlink()
            return
        work = self._stem.with_suffix(".part.csv")
        with work.open("w", newline="") as stream:
            csv.writer(stream).writerows([rows[0], *kept])
        work.replace(file)

    def _keep(self, update: int, parts: dict[str, float]) -> None:
        file = self._stem.with_suffix(".csv")
        fresh = not file.is_file()
        with file.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if fresh:
                writer.writerow(["update", *parts])
            writer.writerow([update, *(f"{v:.6g}" for v in parts.values())])


def draw(stem: Path) -> None:
    """One small plot per loss; without matplotlib there is the CSV alone."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    with stem.with_suffix(".csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    names, values = rows[0], [[float(v) for v in row] for row in rows[1:]]
    count = len(names) - 1
    columns = min(4, count)
    figure, axes = pyplot.subplots(
        math.ceil(count / columns), columns, figsize=(3.2 * columns, 2.2 * math.ceil(count / columns)), squeeze=False
    )  # fmt: skip
    for i, name in enumerate(names[1:], 1):
        axis = axes.flat[i - 1]
        axis.plot([row[0] for row in values], [row[i] for row in values])
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    figure.tight_layout()
    work = stem.with_suffix(".part.png")
    figure.savefig(work, dpi=90)
    pyplot.close(figure)
    work.replace(stem.with_suffix(".png"))
