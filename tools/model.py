"""`companion model train|evaluate|list`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from models.bundle import BUNDLES, NAME, load_bundle
from models.errors import BundleError
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.arguments import count, counts, whole
from tools.compose import DEFAULT_BUNDLE
from tools.train.pool import ENGINES, Pool
from tools.train.settings import EPISODE_FRAMES, LEAST_LENGTH, TrainSettings

MOST_ROUNDS = 50
MOST_SEED = 99  # two seeds share no episode, and none is one of an evaluation's


def bundle_name(text: str) -> str:
    """The name of a folder among the bundles."""
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a bundle: it names a folder of its own in models/bundles; "
            "give letters, digits, ., _ and - (another place: --out)"
        )
    return text


def add_train(parser: argparse.ArgumentParser) -> None:
    """Options of `model train`."""
    add = parser.add_argument
    add("--name", type=bundle_name, default=DEFAULT_BUNDLE, help="name of the bundle")
    add("--version", default="1", help="version of the bundle")
    add("--work", type=Path, default=Path("runs/train"), help="work folder; training resumes there")
    add("--out", type=Path, default=None, help="bundle folder (default: models/bundles/NAME)")
    add("--body", default=TrainSettings.body)
    add(
        "--episodes",
        type=count,
        default=TrainSettings.episodes,
        help="expert episodes of 20 s (default %(default)s)",
    )
    add(
        "--updates",
        type=counts,
        default=TrainSettings.updates,
        help="updates per round; every round after the first lets the policy drive",
    )
    add(
        "--decoder-updates",
        type=count,
        default=TrainSettings.decoder_updates,
        help="of the decoder alone, afterwards (default %(default)s)",
    )
    add(
        "--aggregate",
        type=count,
        default=TrainSettings.aggregate,
        help="episodes per aggregation round (default %(default)s)",
    )
    add(
        "--finder-updates",
        type=count,
        default=TrainSettings.finder_updates,
        help="of what finds each hue and furniture in the picture (default %(default)s)",
    )
    add(
        "--people-updates",
        type=count,
        default=TrainSettings.people_updates,
        help="of the filter that follows each person (default %(default)s)",
    )
    add(
        "--demonstrations",
        type=count,
        default=TrainSettings.demonstrations,
        help="the expert's episodes for the policy alone (default %(default)s)",
    )
    add(
        "--policy-rounds",
        type=whole(0, MOST_ROUNDS),
        default=TrainSettings.policy_rounds,
        help="aggregation rounds of the policy alone (default %(default)s)",
    )
    add(
        "--policy-updates",
        type=count,
        default=TrainSettings.policy_updates,
        help="updates of each of them (default %(default)s)",
    )
    add(
        "--undisturbed",
        type=count,
        default=TrainSettings.undisturbed,
        help="episodes that alarm levels are set on (default %(default)s)",
    )
    add("--jobs", type=count, default=os.cpu_count() or 2, help="processes that collect")
    add("--engine", choices=ENGINES, default="local", help="collect in local processes or on Ray")
    add(
        "--threads",
        type=whole(1, 1024),
        default=TrainSettings.threads,
        help="threads that train (default %(default)s; beside other work one is faster: two wait for each other)",
    )
    add(
        "--length",
        type=whole(LEAST_LENGTH, EPISODE_FRAMES),
        default=TrainSettings.length,
        help="frames per training sequence, at 20 Hz (default %(default)s)",
    )
    add(
        "--batch",
        type=count,
        default=TrainSettings.batch,
        help="sequences per update (default %(default)s)",
    )
    add(
        "--device",
        choices=("cpu", "cuda"),
        default=TrainSettings.device,
        help="where it trains; collecting is done on the CPU's cores (default %(default)s)",
    )
    add("--seed", type=whole(0, MOST_SEED), default=TrainSettings.seed, help="of networks and of the thousand episodes that are its own (default %(default)s)")  # fmt: skip


def train(args: argparse.Namespace) -> int:
    """Train a bundle; resumes after an interruption."""
    try:
        from tools.train.pipeline import train as run
    except ImportError as error:
        raise ConfigError(
            f"training needs torch and onnx ({error}); run `make train`, or pip install '.[train]'"
        ) from error
    out = args.out or BUNDLES / args.name
    settings = TrainSettings(
        name=args.name, version=args.version, work=args.work, out=out, body=args.body,
        episodes=args.episodes, updates=args.updates, aggregate=args.aggregate, decoder_updates=args.decoder_updates,
        finder_updates=args.finder_updates, people_updates=args.people_updates, demonstrations=args.demonstrations,
        policy_rounds=args.policy_rounds, policy_updates=args.policy_updates,
        undisturbed=args.undisturbed,
        pool=Pool(args.jobs, args.engine), threads=args.threads, seed=args.seed, batch=args.batch, length=args.length, device=args.device,
    )  # fmt: skip
    try:
        print(f"bundle: {run(settings, say)}")
    except KeyboardInterrupt:
        say("stopped; the same command goes on from where it stopped")
        raise
    return 0


def say(text: str) -> None:
    """Progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def add_list(parser: argparse.ArgumentParser) -> None:
    """Options of `model list`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--body", default="companion")


def list_bundles(args: argparse.Namespace) -> int:
    """Bundles of this installation, and why one cannot be used."""
    layout = load_body(args.body).layout()
    rows = []
    there = BUNDLES.iterdir() if BUNDLES.is_dir() else ()
    for folder in sorted(p for p in there if p.is_dir() and not p.name.startswith(".")):
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
    if not rows:
        print(f"no bundle in {BUNDLES}; copy one there, or make one: `make train`", file=sys.stderr)
    return 0
