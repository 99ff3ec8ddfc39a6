"""`companion run`: the robot runs, then its story is told."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

from runtime.camera import VideoCamera
from runtime.errors import ConfigError
from runtime.log import Arrays
from runtime.process import USAGE
from tools.compose import Setup, check_alarms, load_policy, open_world, prepare
from tools.report import RunFacts, build_report, story, write_json
from tools.report_html import write_html
from tools.run_log import log_path, parts
from tools.run_options import add_arguments, settings_of
from tools.runtime_folder import RuntimeFolder
from tools.start_checks import check, listen, make_folder

__all__ = ["add_arguments", "main"]

OK, FAILED, WRONG_USE, DEGRADED = 0, 1, 2, 3
LOCKSTEP_S = 60.0  # a lockstep run ends; nobody waits for it with Ctrl-C


def main(args: argparse.Namespace) -> int:
    """Run; the exit code."""
    settings = settings_of(args)
    if settings.lockstep and settings.duration_s <= 0:
        settings = replace(settings, duration_s=LOCKSTEP_S)
    setup = prepare(settings)
    check_alarms(setup.bundle)
    if settings.lockstep:
        setup = check(setup)
        return _lockstep(setup)
    if sys.platform != "linux":
        raise ConfigError(
            "a real-time run needs Linux (x86-64 or aarch64); use --lockstep on this system"
        )
    name = f"twin-{settings.seed}-{os.getpid()}" if setup.is_twin else f"robot-{setup.body.name}"
    with RuntimeFolder(name) as folder:
        setup = check(setup)
        page = None if settings.headless else listen(settings.page_port)
        return _realtime(setup, folder, page)


def _lockstep(setup: Setup) -> int:
    from runtime.log import McapSink, Sink
    from tools.lockstep_run import LockstepRun, Overrides

    video = None if setup.has_body else VideoCamera(Path(setup.settings.camera))
    world, chosen = open_world(setup)
    policy, drives = load_policy(setup)
    run = LockstepRun(setup, world, policy, Overrides(video=video))
    make_folder(setup.folder)
    sinks: list[Sink] = []
    log = ""
    if setup.settings.record:
        path = log_path(setup.settings.record)
        log = str(path)
        rows = [row for row in setup.table.values() if row.log_every]
        sinks.append(McapSink(path, rows, setup.metadata()))
    result = run.run(setup.settings.duration_s, sinks)
    chosen.append(drives)
    facts = RunFacts(
        backends={c.graph: c.backend for c in chosen},
        degraded=[c.degraded for c in chosen if c.degraded],
        log=log,
        tick_log_sha256=result.tick_log_sha256,
        firmware="lockstep" if setup.has_body else "none",
        tick_us=result.tick_us,
        observe_ms=result.observe_ms,
    )
    print(
        f"{result.virtual_s:.1f} s of virtual time in {result.wall_s:.1f} s "
        f"({result.virtual_s / result.wall_s:.1f} x real time)"
    )
    return _tell(setup, result.records, facts)


def _realtime(setup: Setup, folder: RuntimeFolder, page: socket.socket | None) -> int:
    from tools.realtime_run import NO_FIFO, RealtimeRun

    made = make_folder(setup.folder)
    if setup.is_twin and setup.has_body:
        setup.calibrate_twin()
    log = log_path(setup.folder)
    started = False
    try:
        emulated = None
        if setup.settings.firmware == "qemu":
            from tools.emulated_board import emulated_board

            emulated = emulated_board(folder.path, setup.body.limit_table())
        run = RealtimeRun(setup, folder, log, page, emulated)
        if page is not None:
            print(f"page: http://127.0.0.1:{page.getsockname()[1]}/", flush=True)
        if not run.fifo:
            print(f"note: {NO_FIFO}", flush=True)
        outcome = run.run(on_start=lambda: _tell_start(setup))
        started = outcome.started or not outcome.failure
    finally:
        if not started:
            _clean(log, made)
    if outcome.failure:
        said = "the run ended early: " if started else ""
        print(f"companion: {said}{outcome.facts.failed}", file=sys.stderr)
    if outcome.missed:
        print(f"note: the log lacks {outcome.missed} records, the recorder came late")
    code = _tell(setup, outcome.records, outcome.facts) if started else OK
    if outcome.failure:
        return WRONG_USE if outcome.failure == USAGE else FAILED
    return code


def _clean(log: Path, made: list[Path]) -> None:
    """A run that never started leaves nothing behind."""
    for part in parts(log):
        part.unlink()
    if made:
        shutil.rmtree(made[0], ignore_errors=True)


def _tell_start(setup: Setup) -> None:
    """Seconds from the start of the command to motion, or to the first frame of a recording."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    print(f"{'moving' if setup.has_body else 'seeing'} after {seconds:.1f} s", flush=True)


def _tell(setup: Setup, records: Arrays, facts: RunFacts) -> int:
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
