"""When does a sensor lie still? Windows whose spread is near the smallest of the recording.

Variance test of Tedaldi, Pretto, Menegatti, "A robust and easy to implement method for IMU
calibration without external equipments", ICRA 2014; the sensor's noise is read from the recording's
quietest tenth instead of from a period that the operator declares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

QUIET_PERCENTILE = 10


@dataclass(frozen=True, slots=True)
class Still:
    """A still period: first sample, one past the last, and their times [s]."""

    first: int
    end: int
    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """How long it lasts."""
        return self.end_s - self.start_s


def spread(xyz: Floats, window: int) -> Floats:
    """(N, 3) -> (N - window + 1,): standard deviation in each window, all axes together."""
    centred = xyz - xyz.mean(axis=0)
    zero = np.zeros((1, xyz.shape[1]))
    first = np.concatenate((zero, np.cumsum(centred, axis=0)))
    second = np.concatenate((zero, np.cumsum(centred**2, axis=0)))
    mean = (first[window:] - first[:-window]) / window
    square = (second[window:] - second[:-window]) / window
    found: Floats = np.sqrt(np.maximum(square - mean**2, 0).sum(axis=1))
    return found


def noise_floor(spreads: Floats) -> float:
    """The spread of the recording's quietest windows."""
    return float(np.percentile(spreads, QUIET_PERCENTILE))


def still_periods(
    t_s: Floats, spreads: Floats, limit: float, window: int, at_least_s: float
) -> list[Still]:
    """Periods whose windows all stay below `limit`, at least so long.

    Half a window is taken off both ends: it may hold the begin of a move that is still too small to
    be seen in the spread, and turns the gyro all the same.
    """
    quiet = np.concatenate(([False], spreads < limit, [False]))
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8)))
    found = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        end = int(last) - 1 + window
        period = Still(int(first), end, float(t_s[first]), float(t_s[end - 1]))
        if period.length_s >= at_least_s:
            found.append(period)
    return [_inner(p, window // 2, t_s) for p in _apart(found, t_s)]


def _inner(period: Still, margin: int, t_s: Floats) -> Still:
    margin = min(margin, (period.end - period.first) // 4)
    first, end = period.first + margin, period.end - margin
    return Still(first, end, float(t_s[first]), float(t_s[end - 1]))


def _apart(found: list[Still], t_s: Floats) -> list[Still]:
    """Windows of two periods may overlap where something happened between: split them there."""
    out: list[Still] = []
    for period in found:
        if out and period.first < out[-1].end:
            middle = (period.first + out[-1].end) // 2
            before = out[-1]
            out[-1] = Still(before.first, middle, before.start_s, float(t_s[middle - 1]))
            period = Still(middle, period.end, float(t_s[middle]), period.end_s)
        out.append(period)
    return out
