"""Whether a camera's stamps are those of its shutter, or the times at which its frames arrived.

A shutter is driven by a crystal: its stamps lie on a straight line to some microseconds, with whole
periods between them where frames are missing. What passed a bus, a driver and a scheduler does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stamps:
    """The frame clock behind the stamps: period [s], p95 distance from it [s], share of frames missing."""

    period_s: float
    jitter_s: float
    missing: float
    age_s: float  # median time from stamp to arrival
    age_jitter_s: float  # p95 of its distance from that


def read_stamps(stamp_s: Floats, arrival_s: Floats) -> Stamps:
    """Of frames (F,), F at least 3: stamps and arrivals on one clock."""
    step = np.diff(stamp_s)
    period = float(np.median(step))
    number = np.concatenate([[0], np.cumsum(np.maximum(np.rint(step / period), 1))])
    line = np.polyfit(number, stamp_s - stamp_s[0], 1)
    off = stamp_s - stamp_s[0] - np.polyval(line, number)
    age = arrival_s - stamp_s
    middle = float(np.median(age))
    return Stamps(
        float(line[0]),
        float(np.percentile(np.abs(off), 95)),
        float(1 - len(number) / (number[-1] + 1)),
        middle,
        float(np.percentile(np.abs(age - middle), 95)),
    )
