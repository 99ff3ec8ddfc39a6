"""`companion model evaluate`: jobs, figures, a table, pictures, and the manifest's metrics."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from msgspec import structs

from models.bundle import Bundle, find_bundle, load_bundle
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.arguments import count
from tools.compose import DEFAULT_BUNDLE, check_alarms
from tools.evaluate.jobs import (
    FRESH_SEED,
    PARTS,
    jobs_of,
    manifest_sha,
    pinned,
    run_all,
)
from tools.evaluate.summary import summary
from tools.played import code_sha
from tools.train.pool import ENGINES, Pool
from tools.train.signing import resign

HELP = """Runs the real stack (gate and firmware included) in lockstep on seeds that no training used.
Parts: follow (easy and hard scenes, with open-loop prediction and the privileged expert beside it),
skills (approach, look_at, search, go_to on hard scenes), ablation (the model is shown black frames,
and no alarm stops it), surprise (paired events), quiet (an hour of following: holds and false alarms),
planning (candidates imagined per frame; imagining costs no time of the run, see `bench inference` for
what it would). Rows are kept in --work as they come: the same command goes on where it was stopped,
and Ctrl-C prints what was measured, with exit code 130. Rows of other graphs, levels or code than
today's are not taken."""

SEEDS = 2**31
MOST_SEEDS = 100_000


def seed_range(text: str) -> range:
    """`N` fresh seeds, or `A:B`, B not included."""
    first, colon, end = text.partition(":")
    try:
        found = range(int(first), int(end)) if colon else range(FRESH_SEED, FRESH_SEED + int(first))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither a count nor A:B") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text} holds no seed; give a count or A:B with A < B")
    if found.start < 0 or found.stop > SEEDS or found.stop - found.start > MOST_SEEDS:
        raise argparse.ArgumentTypeError(
            f"{text}: seeds are 0 to {SEEDS - 1}, and at most {MOST_SEEDS} of them at once"
        )
    return found


def parts_of(text: str) -> tuple[str, ...]:
    """Names of parts, comma separated."""
    names = tuple(text.split(","))
    unknown = [n for n in names if n not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no part {', '.join(unknown)}: known are {', '.join(PARTS)}"
        )
    return names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `model evaluate`."""
    parser.description = f"{parser.description}. {HELP}"
    add = parser.add_argument
    add("--bundle", default=DEFAULT_BUNDLE, help="name or directory")
    add("--seeds", type=seed_range, default=seed_range("20"), metavar="N|A:B", help="N fresh seeds, or A to B (default 20)")  # fmt: skip
    add("--only", type=parts_of, default=PARTS, metavar="PARTS", help=f"of {','.join(PARTS)}")
    add("--jobs", type=count, default=2, help="processes (default 2)")
    add("--engine", choices=ENGINES, default="local", help="local processes, or Ray")
    add("--work", type=Path, default=Path("runs/evaluate"), help="rows and pictures, by bundle")
    add("--json", action="store_true", help="print one JSON object")
    add("--write", action="store_true", help=f"write the figures into the bundle's manifest (development key); seeds from {FRESH_SEED} on, which nothing was trained or tuned on")  # fmt: skip


def evaluate(args: argparse.Namespace) -> int:
    """Exit 0 however well it did, the figures say it; 130 after Ctrl-C."""
    if args.write and args.seeds.start < FRESH_SEED:
        raise ConfigError(
            f"--write signs figures of fresh seeds, and {args.seeds.start} may have been trained or tuned "
            f"on; give --seeds A:B from {FRESH_SEED} on, or leave --write out"
        )
    path = find_bundle(args.bundle)
    bundle = load_bundle(path, load_body("companion").layout())
    check_alarms(bundle)
    folder = args.work / f"{bundle.manifest.name}-{played_sha(bundle)[:12]}"
    jobs = pinned(jobs_of(str(path), args.seeds, args.only), path)
    try:
        rows = run_all(jobs, folder, Pool(args.jobs, args.engine), _say)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}); give --work DIR with room"
        ) from error
    if not rows:
        return 130
    found = {"bundle": bundle.manifest.name, **summary(rows, bundle.manifest.surprise)}
    complete = len(rows) == len(jobs)
    try:
        pictures = _draw(found, rows, bundle, folder)
    except OSError as error:
        _say(f"no picture: {folder} cannot be written ({error.strerror})")
        pictures = []
    if args.write and complete and manifest_sha(path) != jobs[0].manifest:
        _say(f"{path} keeps its figures: it is another bundle than the one that was measured")
    elif args.write and complete:
        _write(path, found, args.only == PARTS)
    elif args.write:
        _say(f"{path} keeps its figures: only whole measurements are written into it")
    if args.json:
        print(json.dumps(found))
    else:
        print("\n".join(table(found) + [f"picture: {p}" for p in pictures]))
    return 0 if complete else 130


def played_sha(bundle: Bundle) -> str:
    """What rows are of: the bundle without its figures, and what plays it."""
    what = repr(structs.replace(bundle.manifest, metrics={})) + code_sha()
    return hashlib.sha256(what.encode()).hexdigest()


def _draw(found: dict[str, Any], rows: list[dict[str, Any]], bundle: Bundle, folder: Path) -> list[Path]:  # fmt: skip
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        _say("no picture: it needs matplotlib (pip install '.[plot]')")
        return []
    from tools.evaluate.picture import draw, draw_surprise

    pictures = [folder / "evaluate.png"]
    draw(found, pictures[0])
    events = [r for r in rows if r["part"] == "surprise"]
    if events:
        pictures.append(folder / "surprise.png")
        draw_surprise(events, bundle.manifest.surprise, pictures[1])
    return pictures


def flat(found: dict[str, Any]) -> dict[str, float]:
    """The figures as the manifest's metrics: dotted names, numbers alone."""
    out: dict[str, float] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            out[prefix] = float(value)

    walk("", found)
    return out


def _write(path: Path, found: dict[str, Any], whole: bool) -> None:
    """Figures into the manifest; of some parts alone they say nothing of the rest's seeds."""

    def change(fields: dict[str, Any]) -> None:
        metrics = flat(found) if whole else {**fields["metrics"], **flat(found)}
        if not whole:
            for count in ("episodes", "seeds", "first_seed"):
                metrics.pop(count, None)
        fields["metrics"] = metrics

    resign(path, change)


def table(found: dict[str, Any]) -> list[str]:
    """What a person reads."""
    lines = [f"{found['bundle']}: {found['episodes']} episodes on {found['seeds']} seeds"]
    scenes = (("hard", found), ("easy", found.get("easy", {})))
    for scene, part in scenes:
        for k, v in part.get("open_loop", {}).items():
            shares = ", ".join(
                f"{name.replace('_vs_', ' / ').replace('_', ' ')} {v[name]:.3f}"
                for name in v
                if "_vs_" in name and not name.endswith("ci95")
            )
            lines.append(f"  {scene}, {int(k) / 20:g} s ahead: {shares}")
        if "person_median_m" in part:
            lines.append(f"  {scene}: a person in view is placed within {100 * part['person_median_m']:.1f} cm (median)")  # fmt: skip
        if "occluded_2s" in part:
            o = part["occluded_2s"]
            lines.append(f"  {scene}: after 2 s out of sight {o['model_m']:.2f} m off, the last seen place {o['last_seen_m']:.2f} m")  # fmt: skip
    skills = [*found.get("skills", {}).items()]
    skills += [("follow, easy", s) for s in [found.get("easy", {}).get("skills", {}).get("follow")] if s]  # fmt: skip
    for name, s in skills:
        low, high = s["success_ci95"]
        expert = f", return {s['return_vs_expert']:.2f} of the expert's" if "return_vs_expert" in s else ""  # fmt: skip
        lines.append(f"  {name}: success {s['success']:.2f} (95 % {low:.2f} to {high:.2f}), {s['bumps_per_episode']:.2f} bumps per episode{expert}")  # fmt: skip
    if "blackout" in found:
        lines.append(f"  shown black frames: success {found['blackout']['success']:.2f}")
    for event, s in found.get("surprise", {}).items():
        late = f", noticed after {s['detect_ms_p50']} ms" if "detect_ms_p50" in s else ""
        lines.append(f"  {event}: AUROC {s['window_auroc']:.3f} by window, {s['step_auroc']:.3f} by frame (raw {s['raw_window_auroc']:.3f}, {s['raw_step_auroc']:.3f}){late}")  # fmt: skip
    lines += _hours(found)
    for n, s in found.get("planning", {}).get("candidates", {}).items():
        gain = f", gain {s['return_gain']:+.3f} {tuple(s['return_gain_ci95'])}" if "return_gain" in s else ""  # fmt: skip
        lines.append(f"  {n} candidates among many things: success {s['success']:.2f}, return {s['return']:.3f}{gain}")  # fmt: skip
    return lines


def _hours(found: dict[str, Any]) -> list[str]:
    lines = []
    if "quiet" in found:
        q = found["quiet"]
        lines.append(
            f"  {q['hours']:.2f} undisturbed hours: {q['holds']} holds, {q['alarms']} false alarms"
        )
    for name, q in found.get("driven", {}).items():
        lines.append(f"  {name.replace('_', ' ')}: {q['hours']:.2f} hours driven, {q['holds']} holds, {q['alarms']} false alarms before anything was touched")  # fmt: skip
    return lines


def _say(text: str) -> None:
    import time

    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


__all__ = ["add_arguments", "evaluate"]
