"""The options of `companion run`, and the run they ask for."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from runtime.errors import ConfigError
from runtime.planner_wire import check_address
from runtime.skills import SKILLS
from tools.compose import DEFAULT_BUNDLE, ROBOT_BACKENDS, TWIN_BACKENDS, RunSettings
from tools.config import load_robot

Option = tuple[str, dict[str, Any]]
FLAG: dict[str, Any] = {"action": "store_true"}
TEXT: dict[str, Any] = {"default": ""}
FORESIGHT_MAX = (
    256  # beyond any use; in real time what a frame has time for is measured at the start
)
SCENARIO_NAMES = ("default", "easy", "open", "hard", "empty")
FILE: dict[str, Any] = {"type": Path, "default": None}
OPTIONS: tuple[Option, ...] = (
    ("--body", {**TEXT, "help": "body name or TOML file (default: companion)"}),
    ("--target", {"choices": ("twin", "robot"), "default": "twin", "help": "what moves (default: twin)"}),
    ("--firmware", {**TEXT, "metavar": "host|qemu|PORT", "help": "host: the MCU's core as a process (twin); qemu: its ARM image on an emulated board (twin); or a serial port (robot, default /dev/companion-mcu)"}),
    ("--camera", {**TEXT, "metavar": "twin|DEVICE|VIDEO", "help": "twin, a V4L2 device, a GStreamer pipeline, or a video file (motors stay disarmed)"}),
    ("--skill", {"default": "follow", "choices": tuple(SKILLS), "help": "what it does (default: follow)"}),
    ("--scenario", {"default": "default", "choices": SCENARIO_NAMES, "help": "how hard the twin's scene is (default: default)"}),
    ("--foresight", {"type": int, "default": 0, "metavar": "N", "help": "while somebody is followed, variations of how fast imagined per frame; the best corrects the policy (default 0: the policy alone)"}),
    ("--duration", {"type": float, "default": 0.0, "metavar": "S", "help": "seconds from the first active tick; 0: until Ctrl-C (default)"}),
    ("--headless", {**FLAG, "help": "no page"}),
    ("--seed", {"type": int, "default": 0, "help": "the twin's world (default: 0)"}),
    ("--lockstep", {**FLAG, "help": "one process on virtual time: faster than real time, bit-identical per seed"}),
    ("--record", {**FILE, "metavar": "DIR", "help": "where log and run.html go"}),
    ("--report", {**FILE, "metavar": "FILE", "help": "write the report as JSON"}),
    ("--bundle", {**TEXT, "help": f"bundle name or directory (default: {DEFAULT_BUNDLE})"}),
    ("--config", {**FILE, "metavar": "FILE", "help": "robot: a robot.toml (default: the installed one)"}),
    ("--accept-unvalidated", {**FLAG, "help": "robot: engage a bundle without recorded validation on this body, at 0.2 m/s"}),
    ("--page-port", {"type": int, "default": 0, "metavar": "N", "help": "port of the page on loopback (default: a free one)"}),
    ("--planner", {**TEXT, "metavar": "ADDRESS", "help": "a planner to listen to, as tcp://127.0.0.1:5560"}),
    ("--goal", {**TEXT, "metavar": "TEXT", "help": "what the planner is asked for, as 'follow for 20 s, then wait 5 s'"}),
    ("--stay", {**FLAG, "help": "go on after --duration while a page is connected (make run does)"}),
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The fixed options of `companion run`."""
    for name, how in OPTIONS:
        parser.add_argument(name, **how)


def settings_of(args: argparse.Namespace) -> RunSettings:
    """The run that was asked for; ConfigError on contradictions."""
    _check_values(args)
    return _robot_settings(args) if args.target == "robot" else _twin_settings(args)


def _check_values(args: argparse.Namespace) -> None:
    if not math.isfinite(args.duration) or args.duration < 0:
        raise ConfigError(
            f"--duration {args.duration:g} is no time; give seconds, or 0 for until Ctrl-C"
        )
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed} is negative; give 0 or more")
    if not 0 <= args.foresight <= FORESIGHT_MAX:
        raise ConfigError(
            f"--foresight {args.foresight}: give 0 (off) to {FORESIGHT_MAX} variations"
        )
    if not 0 <= args.page_port <= 65535:
        raise ConfigError(f"--page-port {args.page_port} is no port; give 1 to 65535")
    if args.planner:
        check_address(args.planner)
    if args.goal and not args.planner:
        raise ConfigError(
            "--goal is what a planner is asked for; give --planner tcp://127.0.0.1:5560 too"
        )


def _twin_settings(args: argparse.Namespace) -> RunSettings:
    if args.firmware not in ("", "host", "qemu"):
        raise ConfigError(
            f"--firmware {args.firmware} is a port: ports belong to --target robot; "
            "on the twin use --firmware host or qemu"
        )
    if args.firmware == "qemu" and args.lockstep:
        raise ConfigError(
            "--firmware qemu runs in real time; leave out --lockstep, or use --firmware host"
        )
    if args.config is not None:
        raise ConfigError("--config is a robot's; give --target robot too")
    return RunSettings(
        body=args.body or "companion", firmware=args.firmware or "host",
        camera=args.camera or "twin", skill=args.skill, scenario=args.scenario,
        duration_s=args.duration, headless=args.headless, seed=args.seed, lockstep=args.lockstep,
        record=args.record, report=args.report, bundle=args.bundle or DEFAULT_BUNDLE,
        page_port=args.page_port, foresight=args.foresight, planner=args.planner, stay=args.stay, goal=args.goal,
        backends=dict(TWIN_BACKENDS),
    )  # fmt: skip


def _robot_settings(args: argparse.Namespace) -> RunSettings:
    """What the command line leaves open stands in robot.toml."""
    robot, _ = load_robot(args.config)
    firmware, camera = args.firmware or robot.port, args.camera or robot.camera
    if firmware in ("host", "qemu") or camera == "twin":
        raise ConfigError(
            "--target robot needs a serial port and a real camera; "
            "for the simulation use --target twin"
        )
    if args.scenario != "default":
        raise ConfigError("--scenario is a twin's; leave out --target robot")
    if args.lockstep:
        raise ConfigError("--lockstep runs the twin on virtual time; leave out --target robot")
    return RunSettings(
        body=args.body or robot.body, target="robot", firmware=firmware, camera=camera,
        skill=args.skill, duration_s=args.duration, headless=args.headless, seed=args.seed,
        record=args.record, report=args.report, bundle=args.bundle or robot.bundle,
        accept_unvalidated=args.accept_unvalidated, page_port=args.page_port,
        planner=args.planner or robot.planner, stay=args.stay, goal=args.goal,
        backends=dict(ROBOT_BACKENDS), allow_development_key=robot.allow_development_key,
        needs_operator=robot.needs_operator, foresight=args.foresight,
    )  # fmt: skip
