"""Samples that jump away from their neighbours: what a loose cable or a disturbed bus makes of a log."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CHUNK = 200  # samples over which the usual scatter is measured: motion changes it
MOST_CHUNKS = 1000  # of a long log, evenly spread
FAR = 8.0  # robust stds
MANY = 0.03  # real motion has up to 0.01 at 10 Hz; of 20 % of wild samples half stand alone


def spike_share(xyz: Floats) -> float:
    """Share of the samples (N,) or (N, K), in the worst column, that stand out from both neighbours.

    Out to the same side, and FAR times farther than the neighbours are apart and than second
    differences usually are nearby: what moves, however fast, does so over several samples.
    """
    x = xyz if xyz.ndim == 2 else xyz[:, None]
    if len(x) < 2 * CHUNK:
        return 0.0
    starts = np.arange(0, len(x) - CHUNK + 1, CHUNK)
    if len(starts) > MOST_CHUNKS:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_CHUNKS).astype(int)]
    quantum = _quantum(x)
    alone = np.zeros(x.shape[1])
    for start in starts:
        part = x[start : start + CHUNK]
        before, after = part[1:-1] - part[:-2], part[1:-1] - part[2:]
        usual = np.maximum(1.4826 * np.median(np.abs(before + after), axis=0) / 2, quantum)
        out = np.minimum(np.abs(before), np.abs(after))
        away = (before * after > 0) & (out > FAR * np.maximum(usual, np.abs(before - after)))
        alone += away.mean(axis=0)
    return float(alone.max() / len(starts))


def _quantum(x: Floats) -> Floats:
    """(K,) smallest step of each column: a coarse sensor has no scatter of its own."""
    steps = np.abs(np.diff(x[: 100 * CHUNK], axis=0))
    least = np.where(steps > 0, steps, np.inf).min(axis=0)
    return np.where(np.isfinite(least), least, 0.0)
