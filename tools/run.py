"""`companion run`: the robot runs, then its story is told."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.camera import VideoCamera
from runtime.errors import ConfigError
from tools.compose import ROBOT_BACKENDS, RunSettings, Setup, open_policy, open_world, prepare
from tools.report import RunFacts, build_report, story, write_json
from tools.report_html import write_html
from tools.runtime_folder import RuntimeFolder, runs_folder

OK, FAILED, USAGE, DEGRADED = 0, 1, 2, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The fixed options of `companion run`."""
    add = parser.add_argument
    add("--body", default="companion", help="body name or TOML file (default: companion)")
    add("--target", choices=("twin", "robot"), default="twin", help="what moves (default: twin)")
    add("--firmware", default="", metavar="host|PORT", help="host: the MCU's core as a process (twin); or a serial port (robot, default /dev/companion-mcu)")
    add("--camera", default="", metavar="twin|DEVICE|VIDEO", help="twin, a V4L2 device, a GStreamer pipeline, or a video file (motors stay disarmed)")
    add("--skill", default="follow", choices=("follow", "idle"), help="what it does (default: follow)")
    add("--duration", type=float, default=0.0, metavar="S", help="seconds from the first active tick; 0: until Ctrl-C (default)")
    add("--headless", action="store_true", help="no page")
    add("--seed", type=int, default=0, help="the twin's world (default: 0)")
    add("--lockstep", action="store_true", help="one process on virtual time: faster than real time, bit-identical per seed")
    add("--record", type=Path, default=None, metavar="DIR", help="where log and run.html go")
    add("--report", type=Path, default=None, metavar="FILE", help="write the report as JSON")
    add("--bundle", default=RunSettings.bundle, help="bundle name or directory")
    add("--accept-unvalidated", action="store_true", help="robot: engage a bundle without recorded validation on this body, at 0.2 m/s")
    add("--page-port", type=int, default=0, metavar="N", help="port of the page on loopback (default: a free one)")
    add("--planner", default="", metavar="ADDRESS", help="a planner to listen to, as tcp://127.0.0.1:5560")
    add("--goal", default="", metavar="TEXT", help="what the planner is asked for, as 'follow for 20 s, then wait 5 s'")
    add("--stay", action="store_true", help="go on after --duration while a page is connected (make run does)")


def settings_of(args: argparse.Namespace) -> RunSettings:
    """The run that was asked for; ConfigError on contradictions."""
    robot = args.target == "robot"
    firmware = args.firmware or ("/dev/companion-mcu" if robot else "host")
    camera = args.camera or ("0" if robot else "twin")
    if not robot and firmware != "host":
        raise ConfigError(f"--firmware {firmware} is a port: ports belong to --target robot; on the twin use --firmware host")
    if robot and (firmware == "host" or camera == "twin"):
        raise ConfigError("--target robot needs a serial port and a real camera; for the simulation use --target twin")
    if args.lockstep and robot:
        raise ConfigError("--lockstep runs the twin on virtual time; leave out --target robot")
    if args.duration < 0:
        raise ConfigError(f"--duration {args.duration:g} is negative; give seconds, or 0 for until Ctrl-C")
    if args.goal and not args.planner:
        raise ConfigError("--goal is what a planner is asked for; give --planner tcp://127.0.0.1:5560 too")
    backends = {"backends": dict(ROBOT_BACKENDS)} if robot else {}
    return RunSettings(
        body=args.body, target=args.target, firmware=firmware, camera=camera, skill=args.skill,
        duration_s=args.duration, headless=args.headless, seed=args.seed, lockstep=args.lockstep,
        record=args.record, report=args.report, bundle=args.bundle,
        accept_unvalidated=args.accept_unvalidated, page_port=args.page_port,
        planner=args.planner, stay=args.stay, goal=args.goal, **backends,
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Run; the exit code."""
    settings = settings_of(args)
    if settings.lockstep and settings.duration_s <= 0:
        settings = replace(settings, duration_s=60.0)
    setup = prepare(settings)
    setup.folder.mkdir(parents=True, exist_ok=True)
    if settings.lockstep:
        return _lockstep(setup)
    if sys.platform != "linux":
        raise ConfigError(
            "a real-time run needs Linux (x86-64 or aarch64); use --lockstep on this system"
        )
    return _realtime(setup)


def _lockstep(setup: Setup) -> int:
    from runtime.log import McapSink, Sink
    from tools.lockstep_run import LockstepRun, Overrides
    from tools.realtime_run import log_path

    world, chosen = open_world(setup)
    policy, drives = open_policy(setup)
    if not setup.has_body:
        video = VideoCamera(Path(setup.settings.camera))
        run = LockstepRun(setup, world, policy, Overrides(video=video))
    else:
        run = LockstepRun(setup, world, policy)
    sinks: list[Sink] = []
    log = ""
    if setup.settings.record:
        path = log_path(setup.settings.record)
        log = str(path)
        sinks.append(McapSink(path, [r for r in setup.table.values() if r.log_every], setup.metadata()))
    result = run.run(setup.settings.duration_s, sinks)
    facts = RunFacts(
        backends={c.graph: c.backend for c in [*chosen, *([drives] if drives else [])]},
        degraded=[d for c in chosen if (d := c.degraded)],
        log=log,
        tick_log_sha256=result.tick_log_sha256,
        firmware="lockstep",
        tick_us=result.tick_us,
        observe_ms=result.observe_ms,
    )
    speed = setup.settings.duration_s / result.wall_s
    print(f"{setup.settings.duration_s:g} s of virtual time in {result.wall_s:.1f} s ({speed:.1f} x real time)")
    return _tell(setup, result.records, facts)


def _realtime(setup: Setup) -> int:
    from tools.realtime_run import RealtimeRun, log_path

    name = f"twin-{setup.settings.seed}-{os.getpid()}" if setup.is_twin else f"robot-{setup.body.name}"
    with RuntimeFolder(name) as folder:
        run = RealtimeRun(setup, folder, log_path(setup.folder))
        if run.page_port:
            print(f"page: http://127.0.0.1:{run.page_port}/", flush=True)
        if not run.fifo:
            print("note: real-time priority is not allowed here; ticks may come late", flush=True)
        outcome = run.run()
    if outcome.facts.failed:
        print(f"companion: the run ended early: {outcome.facts.failed}", file=sys.stderr)
    code = _tell(setup, outcome.records, outcome.facts)
    return FAILED if outcome.facts.failed else code


def _tell(setup: Setup, records: dict[str, Any], facts: RunFacts) -> int:
    """Report, page and story of a finished run; the exit code."""
    report = build_report(setup, records, facts)
    if setup.settings.report:
        write_json(setup.settings.report, report)
    html = setup.folder / "run.html"
    write_html(html, setup, records, report)
    print("\n".join(story(report, str(html))))
    if report["degraded"]:
        print(f"DEGRADED: {'; '.join(report['degraded'])}")
        return DEGRADED
    return OK

