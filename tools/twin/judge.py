"""One judgement of a run, from the twin's truth alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

VISIBLE_PX = 20  # of the camera's image
SETTLE_NS = 3_000_000_000
SHARE = 0.9


@dataclass(frozen=True, slots=True)
class SkillResult:
    """Success, and the figures it rests on."""

    success: bool
    metrics: dict[str, float]


def judge(truth: npt.NDArray[np.void], desired_m: float = 1.2) -> SkillResult:
    """Follow: seen > 90 % after 3 s, distance within 1 m for > 90 %, nothing touched at all."""
    if len(truth) == 0:
        return SkillResult(False, {})
    settled = truth[truth["t_ns"] >= truth["t_ns"][0] + SETTLE_NS]
    error = np.abs(truth["distance_m"] - desired_m)
    touched = truth["bump"] > 0
    metrics = {
        "visible_share": _share(settled["person_px"] >= VISIBLE_PX),
        "distance_share": _share(error < 1.0),
        "distance_error_m": float(error.mean()),
        "bumps": float(np.count_nonzero(touched[1:] & ~touched[:-1]) + bool(touched[0])),
    }
    good = metrics["visible_share"] > SHARE and metrics["distance_share"] > SHARE
    return SkillResult(bool(good and metrics["bumps"] == 0), metrics)


def _share(condition: npt.NDArray[np.bool_]) -> float:
    return float(condition.mean()) if len(condition) else 0.0
