"""`companion model train|evaluate|list`."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from models.bundle import BUNDLES, find_bundle, load_bundle
from models.errors import BundleError
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.arguments import count, counts, seconds
from tools.compose import DEFAULT_BUNDLE
from tools.train.pool import ENGINES, Pool


def add_train(parser: argparse.ArgumentParser) -> None:
    """Options of `model train`."""
    add = parser.add_argument
    add("--name", default=DEFAULT_BUNDLE, help="name of the bundle")
    add("--version", default="1", help="version of the bundle")
    add("--work", type=Path, default=Path("runs/train"), help="work folder; training resumes there")
    add("--out", type=Path, default=None, help="bundle folder (default: models/bundles/NAME)")
    add("--body", default="companion")
    add("--episodes", type=count, default=400, help="expert episodes of 20 s")
    add(
        "--updates",
        type=counts,
        default="9000,6000",
        help="updates per round; every round after the first lets the policy drive",
    )
    add("--aggregate", type=count, default=120, help="episodes per aggregation round")
    add("--policy-rounds", type=int, default=3, help="aggregation rounds of the policy alone")
    add("--policy-updates", type=count, default=5000, help="updates of each of them")
    add("--jobs", type=count, default=os.cpu_count() or 2, help="processes that collect")
    add("--engine", choices=ENGINES, default="local", help="collect in local processes or on Ray")
    add("--threads", type=count, default=2, help="threads that train")
    add("--length", type=count, default=32, help="frames per training sequence")
    add("--batch", type=count, default=16, help="sequences per update")
    add("--seed", type=int, default=0)


def train(args: argparse.Namespace) -> int:
    """Train a bundle; resumes after an interruption."""
    try:
        from tools.train.pipeline import TrainSettings
        from tools.train.pipeline import train as run
    except ImportError as error:
        raise ConfigError(
            f"training needs torch and onnx ({error}); run `make train`, or pip install '.[train]'"
        ) from error
    out = args.out or BUNDLES / args.name
    settings = TrainSettings(
        name=args.name, version=args.version, work=args.work, out=out, body=args.body,
        episodes=args.episodes, updates=args.updates, aggregate=args.aggregate,
        policy_rounds=args.policy_rounds, policy_updates=args.policy_updates,
        pool=Pool(args.jobs, args.engine), threads=args.threads, seed=args.seed, batch=args.batch, length=args.length,
    )  # fmt: skip
    print(f"bundle: {run(settings, say)}")
    return 0


def say(text: str) -> None:
    """Progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Options of `model evaluate`."""
    add = parser.add_argument
    add("--bundle", default=DEFAULT_BUNDLE)
    add("--seeds", type=count, default=20, help="fresh seeds per kind")
    add("--kinds", default="normal,blackout", help="normal, blackout, frozen, shuffled")
    add("--duration", type=seconds, default=20.0)
    add("--jobs", type=count, default=2)
    add("--json", action="store_true", help="print one JSON object")
    add(
        "--write",
        action="store_true",
        help="write metrics and surprise thresholds into the bundle's manifest (development key)",
    )


def evaluate(args: argparse.Namespace) -> int:
    """Closed loop on fresh seeds; exit 0 however well it did, the figures say it."""
    from tools.train.evaluate import KINDS
    from tools.train.evaluate import evaluate as run
    from tools.train.metrics import summary, write_metrics

    kinds = tuple(args.kinds.split(","))
    unknown = [k for k in kinds if k not in KINDS]
    if unknown:
        raise ConfigError(f"no kind {', '.join(unknown)}: known are {', '.join(KINDS)}")
    path = find_bundle(args.bundle)
    load_bundle(path, load_body("companion").layout())
    results = run(str(path), args.seeds, kinds, args.jobs, say, duration_s=args.duration)
    found = summary(path, results)
    if args.write:
        write_metrics(path, found, results)
    print(json.dumps(found) if args.json else _table(found))
    return 0


def _table(found: dict[str, Any]) -> str:
    lines = []
    for name, skill in found["skills"].items():
        low, high = skill["success_ci95"]
        lines.append(
            f"{name}: success {skill['success']:.2f} (95 % {low:.2f} to {high:.2f}) on {found['seeds']} seeds, {skill['bumps_per_episode']:.2f} bumps per episode"
        )
    for kind in ("blackout", "frozen", "shuffled"):
        if kind in found:
            lines.append(f"{kind}: success {found[kind]['success']:.2f}")
    for k, v in found["open_loop"].items():
        lines.append(
            f"{k} frames ahead: image error {v['image_vs_persistence']:.2f} of an unchanged picture's"
        )
    return "\n".join(lines)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.96, successes / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return round((centre - spread) / scale, 4), round((centre + spread) / scale, 4)


def add_list(parser: argparse.ArgumentParser) -> None:
    """Options of `model list`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--body", default="companion")


def list_bundles(args: argparse.Namespace) -> int:
    """Bundles of this installation, and why one cannot be used."""
    layout = load_body(args.body).layout()
    rows = []
    for folder in sorted(p for p in BUNDLES.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            bundle = load_bundle(folder, layout)
            m = bundle.manifest
            rows.append(
                {
                    "name": m.name,
                    "version": m.version,
                    "body": m.body,
                    "signed_by": bundle.signed_by,
                    "usable": True,
                    "trained_on": m.trained_on,
                }
            )
        except BundleError as error:
            rows.append({"name": folder.name, "usable": False, "reason": str(error)})
    if args.json:
        print(json.dumps({"bundles": rows}))
    for row in [] if args.json else rows:
        print(
            f"{row['name']} {row['version']} for {row['body']}, signed by {row['signed_by']}: {row['trained_on']}"
            if row["usable"]
            else f"{row['name']} REFUSED: {row['reason']}"
        )
    return 0
