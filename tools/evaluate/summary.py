"""From rows to figures: the keys of `companion model evaluate --json`, with 95 % intervals.

Success has Wilson intervals, ratios and differences bootstrap intervals over episodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from models.manifest import Threshold
from runtime.surprise import SURPRISE_CHANNELS
from tools.evaluate.surprise import EVENTS, areas, scores, usable

Rows = list[dict[str, Any]]
Floats = npt.NDArray[np.float64]
DRAWS = 1000
RATIOS = {
    "image_vs_persistence": ("image", "image_persistence"),
    "image_vs_warp": ("image", "image_warp"),
    "person_vs_persistence": ("person", "person_persistence"),
    "person_vs_constant_velocity": ("person_steady", "person_velocity"),
    "person_vs_standing": ("person", "person_standing"),
    "person_vs_walking_on": ("person_steady", "person_walking"),
    "gyro_vs_persistence": ("gyro", "gyro_persistence"),
}


def summary(rows: Rows, thresholds: dict[str, Threshold]) -> dict[str, Any]:
    """All figures that the rows allow; what was not measured is absent."""
    quiet = all(r["part"] == "quiet" for r in rows)  # its seeds are its own, whatever was asked for
    seeds = {r["seed"] for r in rows if quiet or r["part"] != "quiet"}
    out: dict[str, Any] = {"episodes": len(rows), "seeds": len(seeds), "first_seed": min(seeds)}
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "follow": lambda: _follow(rows),
        "ablation": lambda: {"blackout": _skill(_of(rows, "ablation"))},
        "surprise": lambda: {"surprise": _surprise(_of(rows, "surprise"), thresholds)},
        "quiet": lambda: {"quiet": _quiet(_of(rows, "quiet"))},
        "planning": lambda: {"planning": _planning(_of(rows, "planning"))},
    }
    for part, figures in parts.items():
        if _of(rows, part):
            out |= figures()
    driven = [r for r in rows if r["part"] in ("follow", "skills") and "alarms" in r]
    if driven:
        kinds = sorted({(r["skill"], r["scenario"]) for r in driven})
        out["driven"] = {
            f"{skill}_{scenario}": _quiet([r for r in driven if (r["skill"], r["scenario"]) == (skill, scenario)])
            for skill, scenario in kinds
        }  # fmt: skip
    skills = out.setdefault("skills", {})
    for name in ("approach", "look_at", "search", "go_to"):
        found = [r for r in _of(rows, "skills") if r["skill"] == name]
        if found:
            skills[name] = _skill(found)
    return out


def _of(rows: Rows, part: str, scenario: str = "") -> Rows:
    return [r for r in rows if r["part"] == part and scenario in ("", r["scenario"])]


def _follow(rows: Rows) -> dict[str, Any]:
    """Follow and prediction: `skills` and `open_loop` are of the hard scenes, `easy` has the others."""
    out: dict[str, Any] = {"skills": {}}
    for scenario in ("hard", "easy"):
        found = _of(rows, "follow", scenario)
        if not found:
            continue
        experts = {r["seed"]: r for r in _of(rows, "expert", scenario)}
        figures = {
            "open_loop": open_loop_figures(found),
            **_tracking(found),
        }
        skill = _skill(found, [experts[r["seed"]] for r in found if r["seed"] in experts])
        if scenario == "hard":
            out |= figures
            out["skills"]["follow"] = skill
        else:
            out["easy"] = {**figures, "skills": {"follow": skill}}
    return out


def _skill(rows: Rows, experts: Rows | None = None) -> dict[str, Any]:
    wins = sum(r["success"] for r in rows)
    returns = np.array([_value(r, "return") for r in rows])
    out = {
        "success": round(wins / len(rows), 4),
        "success_ci95": wilson(wins, len(rows)),
        "bumps_per_episode": round(float(np.mean([r["metrics"].get("bumps", 0.0) for r in rows])), 4),
        "return": round(float(returns.mean()), 4),
        "episodes": len(rows),
    }  # fmt: skip
    if experts:
        seeds = {r["seed"] for r in experts}
        own = np.array([_value(r, "return") for r in rows if r["seed"] in seeds])
        best = np.array([_value(r, "return") for r in experts])
        out["return_vs_expert"] = round(float(own.mean() / best.mean()), 4)
        out["return_vs_expert_ci95"] = bootstrap(
            len(own), lambda i: float(own[i].mean() / best[i].mean())
        )
        out["expert_success"] = round(float(np.mean([r["success"] for r in experts])), 4)
    return out


def open_loop_figures(rows: Rows) -> dict[str, dict[str, Any]]:
    """Per horizon the ratios of summed errors over all rollouts of all episodes."""
    out: dict[str, dict[str, Any]] = {}
    for k in rows[0]["open_loop"]["steps"]:
        steps = [r["open_loop"]["steps"][k] for r in rows if r["open_loop"]["steps"][k]]
        if not steps:
            continue
        column = {key: np.array([s.get(key, 0.0) for s in steps]) for key in {*sum(RATIOS.values(), ()), "inside90", "people", "n"}}  # fmt: skip
        figures: dict[str, Any] = {"rollouts": int(column["n"].sum())}
        for name, (ours, theirs) in RATIOS.items():
            a, b = column[ours], column[theirs]
            if b.sum() > 0:
                figures[name] = round(float(a.sum() / b.sum()), 4)
                figures[f"{name}_ci95"] = bootstrap(len(a), _ratio(a, b))
        if column["people"].sum():
            figures["person_inside90"] = round(float(column["inside90"].sum() / column["people"].sum()), 4)  # fmt: skip
            figures["person_m"] = round(float(column["person"].sum() / column["people"].sum()), 4)
        out[k] = figures
    return out


def _ratio(a: Floats, b: Floats) -> Callable[[npt.NDArray[np.int64]], float]:
    return lambda i: float(a[i].sum() / max(b[i].sum(), 1e-12))


def _tracking(rows: Rows) -> dict[str, Any]:
    seen = np.concatenate([r["open_loop"]["seen_m"] for r in rows])
    inside = np.sum([r["open_loop"]["seen_inside90"] for r in rows], 0)
    out: dict[str, Any] = {}
    if len(seen):
        out["person_median_m"] = round(float(np.median(seen)), 4)
        out["person_inside90"] = round(float(inside[0] / max(inside[1], 1)), 4)
    pairs = [(r["open_loop"]["hidden_m"], r["open_loop"]["hidden_last_seen_m"]) for r in rows]
    sums = np.array([(sum(own), sum(last), len(own)) for own, last in pairs if own], float)
    if len(sums):
        moments = sums[:, 2].sum()
        less = sums[:, 0] - sums[:, 1]
        out["occluded_2s"] = {
            "model_m": round(float(sums[:, 0].sum() / moments), 4),
            "last_seen_m": round(float(sums[:, 1].sum() / moments), 4),
            "difference_ci95": bootstrap(len(sums), _ratio(less, sums[:, 2])),
            "moments": int(moments),
        }
    return out


def _surprise(rows: Rows, thresholds: dict[str, Threshold]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for event in EVENTS:
        found = [r for r in rows if r["event"] == event and usable(r)]
        if not found:
            continue
        by_score = {name: areas(v) for name, v in scores(found, thresholds).items()}
        raw = [v for name, v in by_score.items() if name.startswith("raw_")]
        channels = {n: by_score[n] for n in SURPRISE_CHANNELS}
        best = max(channels, key=lambda n: channels[n][1])
        times = [r["first_alarm"] for r in found if r["first_alarm"] is not None]
        figures: dict[str, Any] = {
            "window_auroc": round(by_score["all"][1], 4),
            "step_auroc": round(by_score["all"][0], 4),
            "raw_window_auroc": round(max(v[1] for v in raw), 4),
            "raw_step_auroc": round(max(v[0] for v in raw), 4),
            "best_channel": best,
            "channels": {n: [round(v[0], 3), round(v[1], 3)] for n, v in channels.items()},
            "detected": round(len(times) / len(found), 4),
            "episodes": len(found),
            "left_out": sum(r["event"] == event for r in rows) - len(found),
        }
        if len(times) * 2 > len(found):
            late = sorted(times + [math.inf] * (len(found) - len(times)))
            figures["detect_ms_p50"] = round(50 * late[len(late) // 2])
        out[event] = figures
    return out


def _quiet(rows: Rows) -> dict[str, Any]:
    """Hours are those in which the policy drove: one that stands stopped holds for nothing."""
    return {
        "hours": round(sum(r["active_s"] for r in rows) / 3600, 3),
        "holds": sum(r["holds"] for r in rows),
        "alarms": sum(r["alarms"] for r in rows),
        "episodes": len(rows),
    }


def _planning(rows: Rows) -> dict[str, Any]:
    counts = sorted({r["foresight"] for r in rows})
    candidates: dict[str, Any] = {}
    by_count = {n: {r["seed"]: r for r in rows if r["foresight"] == n} for n in counts}
    for i, n in enumerate(counts):
        figures = _skill(list(by_count[n].values()))
        if i:
            figures |= _gain(by_count[n], by_count[counts[0]], "gain")
        if i > 1:  # whether more of them are worth more
            figures |= _gain(by_count[n], by_count[counts[i - 1]], "gain_by_more")
        candidates[str(n)] = figures
    return {"candidates": candidates}


def _gain(
    rows: dict[int, dict[str, Any]], base: dict[int, dict[str, Any]], word: str
) -> dict[str, Any]:
    """What success and return of `rows` are above those of `base`, seed by seed."""
    pairs = [(rows[seed], base[seed]) for seed in sorted(rows.keys() & base.keys())]
    out: dict[str, Any] = {}
    for name in ("success", "return") if pairs else ():
        gain = np.array([_value(a, name) - _value(b, name) for a, b in pairs])
        out[f"{name}_{word}"] = round(float(gain.mean()), 4)
        out[f"{name}_{word}_ci95"] = bootstrap(len(gain), _mean(gain))
    return out


def _mean(values: Floats) -> Callable[[npt.NDArray[np.int64]], float]:
    return lambda i: float(values[i].mean())


def _value(row: dict[str, Any], name: str) -> float:
    """Success or return of an episode; one that never began has no metrics, and earned nothing."""
    return float(row["success"] if name == "success" else row["metrics"].get("return", 0.0))


def bootstrap(n: int, figure: Callable[[npt.NDArray[np.int64]], float]) -> tuple[float, float]:
    """95 % percentile interval of a figure of resampled episodes (Efron 1979)."""
    rng = np.random.default_rng(0)
    drawn = [figure(rng.integers(0, n, n)) for _ in range(DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.96, successes / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = max(0.0, centre - spread) / scale, min(scale, centre + spread) / scale
    return round(low, 4), round(high, 4)
