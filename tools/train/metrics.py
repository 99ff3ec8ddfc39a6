"""From evaluation episodes to the figures a manifest carries and `model evaluate --json` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime.surprise import FLAGS, SURPRISE_CHANNELS
from tools.model import wilson
from tools.train.signing import resign

Results = dict[str, list[dict[str, Any]]]
ALARM_MARGIN = 1.5  # times the largest run-long level of good runs: false alarms must be rare


def summary(bundle: Path, results: Results) -> dict[str, Any]:
    """The keys of `companion model evaluate --json` that were measured; others are absent."""
    normal = results.get("normal", [])
    out: dict[str, Any] = {
        "bundle": bundle.name,
        "seeds": len(normal),
        "episodes": sum(len(r) for r in results.values()),
        "open_loop": {},
        "skills": {},
    }
    if normal:
        wins = sum(r["success"] for r in normal)
        bumps = [r["metrics"].get("bumps", 0.0) for r in normal]
        out["skills"]["follow"] = {
            "success": wins / len(normal),
            "success_ci95": wilson(wins, len(normal)),
            "bumps_per_episode": float(np.mean(bumps)),
        }
        out["open_loop"] = _open_loop(normal)
    for kind in ("blackout", "frozen", "shuffled"):
        if results.get(kind):
            out[kind] = {"success": float(np.mean([r["success"] for r in results[kind]]))}
    return out


def _open_loop(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    pairs = np.array([p for r in rows for p in r["prediction"]], float)
    if not len(pairs):
        return {}
    out = {}
    for k in sorted(set(pairs[:, 0].astype(int).tolist())):
        rows_k = pairs[pairs[:, 0] == k]
        out[str(k)] = {
            "image_vs_persistence": round(float(rows_k[:, 1].mean() / rows_k[:, 2].mean()), 4)
        }
    return out


def thresholds(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Typical level (median) and alarm level of each surprise channel, over good runs."""
    values = np.concatenate(
        [np.array(r["surprise"], float)[20:] for r in rows if len(r["surprise"]) > 40]
    )
    out = {}
    for i, name in enumerate(SURPRISE_CHANNELS):
        if name in FLAGS:
            out[name] = {"typical": 0.0, "event": FLAGS[name]}
            continue
        column = values[:, i]
        column = column[np.isfinite(column)]
        high = float(np.percentile(column, 99.9))
        out[name] = {"typical": float(np.median(column)), "event": high * ALARM_MARGIN}
    return out


def write_metrics(bundle: Path, found: dict[str, Any], results: Results) -> None:
    """Put the figures and the thresholds into the manifest and sign it again."""
    flat: dict[str, float] = {}
    for name, skill in found["skills"].items():
        flat[f"{name}_success"] = skill["success"]
        flat[f"{name}_bumps_per_episode"] = skill["bumps_per_episode"]
        flat[f"{name}_seeds"] = float(found["seeds"])
    for kind in ("blackout", "frozen", "shuffled"):
        if kind in found:
            flat[f"{kind}_success"] = found[kind]["success"]
    for k, v in found["open_loop"].items():
        flat[f"image_vs_persistence_{k}"] = v["image_vs_persistence"]
    good = [r for r in results.get("normal", []) if r["success"]]

    def change(fields: dict[str, Any]) -> None:
        fields["metrics"] = {**fields["metrics"], **flat}
        if good:
            fields["surprise"] = thresholds(good)

    resign(bundle, change)
