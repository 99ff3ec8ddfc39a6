"""`companion model levels`: the alarm levels of a bundle that is there, set anew."""

from __future__ import annotations

import argparse
import os
from typing import Any

from models.bundle import find_bundle, load_bundle
from runtime.body import load_body
from runtime.errors import ConfigError, RuntimeFault
from tools.arguments import count
from tools.compose import DEFAULT_BUNDLE
from tools.evaluate.jobs import manifest_sha
from tools.evaluate.thresholds import ALARM_EVERY_S, measure
from tools.model import say
from tools.train.pool import ENGINES, Pool
from tools.train.settings import TrainSettings
from tools.train.signing import resign

ABOUT = f"""As the last stage of a training does it: undisturbed episodes on hard scenes, all skills in turn, of seeds
that training draws from; all channels together are to alarm once in {ALARM_EVERY_S / 60:.0f} minutes there. The networks stay
as they are. The manifest is signed anew with the development key, names the new version, and loses the figures of
the old one: they were of other levels; `model evaluate --write` brings new ones. Ctrl-C leaves the bundle as it was.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `model levels`."""
    parser.description = f"{parser.description}. {ABOUT}"
    add = parser.add_argument
    add("--bundle", default=DEFAULT_BUNDLE, help="name or directory")
    add("--version", required=True, help="of the bundle from then on")
    add("--undisturbed", type=count, default=TrainSettings.undisturbed, help="episodes (default %(default)s)")  # fmt: skip
    add("--jobs", type=count, default=os.cpu_count() or 2, help="processes")
    add("--engine", choices=ENGINES, default="local", help="local processes, or Ray")


def main(args: argparse.Namespace) -> int:
    """Measure, write, and say what changed.

    Raises:
        ConfigError: the version is the one that is there.
        RuntimeFault: somebody changed the bundle meanwhile.
    """
    path = find_bundle(args.bundle)
    before = load_bundle(path, load_body("companion").layout()).manifest
    if args.version == before.version:
        raise ConfigError(
            f"{path} is version {before.version} already, and with other levels it is another; "
            "give a --version of its own"
        )
    at_first = manifest_sha(path)
    levels = measure(str(path), args.undisturbed, Pool(args.jobs, args.engine), say)
    if manifest_sha(path) != at_first:
        raise RuntimeFault(f"{path} was changed meanwhile and stays as it is; run it again")

    def change(fields: dict[str, Any]) -> None:
        fields.update(surprise=levels, version=args.version, metrics={})

    resign(path, change)
    print(f"{path}: version {args.version}, was {before.version}")
    for name, level in levels.items():
        old = before.surprise.get(name)
        print(f"  {name}: {level['event']:.4g}" + (f", was {old.event:.4g}" if old else ""))
    return 0
