"""One picture of an evaluation, and one of every surprise channel around every event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.manifest import Threshold
from runtime.surprise import SURPRISE_CHANNELS
from tools.evaluate.surprise import EVENTS, LAST, START, scores

Rows = list[dict[str, Any]]
UNITS = {"divergence": "nats", "image_error": "squared, of full scale", "imu_error": "squared, normalised",
         "odometry": "rad/s", "drive": "of full speed", "vibration": "m/s²", "rarity": "nats per unit"}  # fmt: skip
OURS, THEIRS, PLAIN = "#1b6ca8", "#c8553d", "#8a8a8a"


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, file: Path) -> None:
    """Whole or not at all."""
    work = file.with_name(f".{file.name}.part")
    try:
        figure.savefig(work, dpi=90, format="png")
        work.replace(file)
    finally:
        work.unlink(missing_ok=True)


def draw(found: dict[str, Any], file: Path) -> None:
    """Open loop against its baselines, skills, surprise, and planning against candidates."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(2, 3, figsize=(15, 8.5))
    _open_loop(axes[0, 0], found, ("image_vs_persistence", "image_vs_warp"), "Predicted frame: squared error")  # fmt: skip
    _open_loop(axes[0, 1], found, ("person_vs_persistence", "person_vs_constant_velocity"), "Predicted person: distance off")  # fmt: skip
    _open_loop(axes[0, 2], found, ("gyro_vs_persistence",), "Predicted gyro: squared error")
    _skills(axes[1, 0], found)
    _surprise(axes[1, 1], found)
    _planning(axes[1, 2], found)
    figure.suptitle(f"{found['bundle']}: {found['episodes']} episodes on {found['seeds']} seeds")
    figure.tight_layout()
    _save(figure, file)
    pyplot.close(figure)


def _open_loop(axis: Any, found: dict[str, Any], names: tuple[str, ...], title: str) -> None:
    scenes = (("hard scenes", found, "-"), ("easy scenes", found.get("easy", {}), ":"))
    for label, part, line in scenes:
        figures = part.get("open_loop", {})
        for name, colour in zip(names, (OURS, THEIRS), strict=False):
            ks = [int(k) for k in figures if name in figures[k]]
            if not ks:
                continue
            y = [figures[str(k)][name] for k in ks]
            spread = np.array([figures[str(k)][f"{name}_ci95"] for k in ks])
            off = np.abs(spread.T - np.array(y))
            axis.errorbar(
                [k / 20 for k in ks], y, off, color=colour, linestyle=line, marker="o", capsize=3,
                label=f"{name.split('_vs_')[1].replace('_', ' ')}, {label}",
            )  # fmt: skip
    axis.axhline(1, color=PLAIN, linewidth=0.8)
    axis.set(title=title, xlabel="seconds ahead", ylabel="share of the baseline's", ylim=(0, None))
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8)
    else:
        _not_measured(axis)


def _skills(axis: Any, found: dict[str, Any]) -> None:
    bars = [(name, s) for name, s in found.get("skills", {}).items()]
    easy = found.get("easy", {}).get("skills", {}).get("follow")
    bars += [("follow, easy", easy)] if easy else []
    bars += [("shown black frames", found["blackout"])] if "blackout" in found else []
    for i, (_, s) in enumerate(bars):
        low, high = s["success_ci95"]
        axis.barh(i, s["success"], color=OURS)
        axis.plot([low, high], [i, i], color="black", linewidth=2)
    axis.set_yticks(range(len(bars)), [name for name, _ in bars])
    axis.invert_yaxis()
    axis.axvline(0.9, color=PLAIN, linewidth=0.8)
    axis.set(title="Success, with 95 % interval", xlim=(0, 1), xlabel="share of episodes")


def _surprise(axis: Any, found: dict[str, Any]) -> None:
    kinds = found.get("surprise", {})
    if not kinds:
        _not_measured(axis)
    for i, s in enumerate(kinds.values()):
        axis.barh(i - 0.2, s["window_auroc"], 0.38, color=OURS)
        axis.barh(i + 0.2, s["raw_window_auroc"], 0.38, color=THEIRS)
    axis.set_yticks(range(len(kinds)), [k.replace("_", " ") for k in kinds])
    axis.invert_yaxis()
    axis.axvline(0.5, color=PLAIN, linewidth=0.8)
    axis.set(title="Surprise told from quiet (blue), raw signals (red)", xlim=(0, 1), xlabel="AUROC of 0.6 s windows")  # fmt: skip


def _not_measured(axis: Any) -> None:
    axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color=PLAIN)


def _planning(axis: Any, found: dict[str, Any]) -> None:
    candidates = found.get("planning", {}).get("candidates", {})
    if not candidates:
        _not_measured(axis)
    for i, (_, s) in enumerate(candidates.items()):
        low, high = s["success_ci95"]
        axis.plot([i, i], [low, high], color=OURS)
        axis.plot(i, s["success"], "o", color=OURS)
    axis.set_xticks(range(len(candidates)), list(candidates))
    axis.set(title="Follow among many things", xlabel="candidates imagined per frame (1: the policy alone)", ylabel="success (blue)", ylim=(0, 1))  # fmt: skip
    gains = {i: s for i, s in enumerate(candidates.values()) if "return_gain" in s}
    if gains:
        other = axis.twinx()
        for i, s in gains.items():
            other.plot([i + 0.1] * 2, s["return_gain_ci95"], color=THEIRS)
            other.plot(i + 0.1, s["return_gain"], "s", color=THEIRS)
        other.axhline(0, color=PLAIN, linewidth=0.8)
        most = 1.5 * max(abs(v) for s in gains.values() for v in s["return_gain_ci95"])
        other.set(ylabel="return gained on the policy alone (red)", ylim=(-most, most))


def draw_surprise(rows: Rows, thresholds: dict[str, Threshold], file: Path) -> None:
    """Each channel's mean over episodes around each event, over its alarm level."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(2, 5, figsize=(19, 7))
    span = np.arange(START - 20, START + LAST + 30)
    seconds = (span - START) / 20
    for event in EVENTS:
        found = [r for r in rows if r["event"] == event and len(r["values"]) > span[-1]]
        if not found:
            continue
        by_score = scores(found, thresholds)
        for axis, name in zip(axes.flat, SURPRISE_CHANNELS, strict=False):
            mean = np.mean([v[span] for v in by_score[name]], 0)
            axis.plot(seconds, mean, label=event.replace("_", " "), color=PLAIN if event == "none" else None)  # fmt: skip
    for axis, name in zip(axes.flat, SURPRISE_CHANNELS, strict=False):
        level = thresholds[name].event if name in thresholds else 0.5
        axis.axhline(level, color="black", linestyle="--", linewidth=0.8)
        axis.axvspan(0, LAST / 20, color="#eeeeee")
        axis.set(title=name.replace("_", " "), xlabel="seconds from the event")
        if name not in ("frozen", "dark"):
            axis.set_yscale("symlog", linthresh=level)
            axis.set_ylim(bottom=0)
            axis.set_ylabel(UNITS[name])
    axes.flat[-1].set_axis_off()
    axes.flat[-1].legend(*axes.flat[0].get_legend_handles_labels(), loc="center", title="dashed: alarm level")  # fmt: skip
    figure.tight_layout()
    _save(figure, file)
    pyplot.close(figure)
