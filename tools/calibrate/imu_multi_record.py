"""`companion calibrate imu-multi record`: a person turns the robot through poses, told which and when.

Nothing is driven: motors stay off, the board only tells what its IMU says. On the twin a hand does
what the advice asks for.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from calibration.pose_guidance import PoseAdvice, PoseGuide
from runtime.body import load_body
from runtime.errors import ConfigError
from tools.calibrate.imu_record import HEADER
from tools.calibrate.pose_page import PosePage
from tools.calibrate.rig import PERIOD_NS, Rig, TwinRig
from tools.calibrate.rigs import add_rig, open_rig
from tools.report import write_whole
from tools.twin import imu_truth
from tools.twin.turning_hand import TurningHand

DEGRADED = 3
LONGEST_S = 1800.0
HAND = 13  # purpose a seed is split by
WATCHED_S = 0.01  # of real time for each period, where somebody watches the twin
LEAST_POSES = 12  # fewer are nothing to solve
SILENT = 200  # periods without a word of the board: the person cannot know that nothing is taken


class Person(Protocol):
    """Who turns the robot."""

    def follow(self, advice: PoseAdvice) -> None:
        """Hear what is asked for."""


class Nobody:
    """A person at the robot hears it without us."""

    def follow(self, advice: PoseAdvice) -> None:
        """See `Person`."""


class TwinPerson:
    """Turns the twin when a pose is taken, and again when nothing comes of it."""

    PATIENCE = 600  # periods

    def __init__(self, rig: TwinRig) -> None:
        twin = rig.twin
        self._hand = TurningHand(twin.ids, twin.data, np.random.default_rng((twin.seed, HAND)))
        twin.hands = self._hand
        self._waited = 0
        self._asked: tuple[float, ...] = ()

    def follow(self, advice: PoseAdvice) -> None:
        """See `Person`."""
        self._waited += 1
        if advice.target is None or self._hand.moving:
            return
        asked = tuple(np.round(advice.target, 3))
        if asked != self._asked or self._waited > self.PATIENCE:
            self._asked, self._waited = asked, 0
            self._hand.turn_to(advice.target)


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder for the log")
    add_rig(parser)
    add("--headless", action="store_true", help="no page, only this terminal")
    add("--page", type=int, default=0, metavar="PORT", help="port of the page (default: a free one)")  # fmt: skip


def record(args: argparse.Namespace) -> int:
    """Guide until all poses are there; exit 0, or 3 when it ended before."""
    if not 0 <= args.page <= 65535:
        raise ConfigError(f"--page {args.page}: give a port from 1 to 65535, 0 for a free one")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise ConfigError(f"--out {args.out} is not empty; give a new folder")
    with ExitStack() as stack:
        rig, person = _open(args, stack)
        page = None if args.headless else stack.enter_context(PosePage(args.page))
        if page is not None:
            print(f"page: {page.url}", flush=True)
        guide = PoseGuide(PERIOD_NS / 1e9)
        rows, ended = _followed(rig, person, guide, page, watched=page is not None)
        uid = rig.link.identity.uid if rig.link.identity is not None else ""
        about: dict[str, Any] = {"tool": "imu-multi", "serial": uid, "body": args.body}
        if isinstance(rig, TwinRig):
            about |= _truth(rig)
    if len(guide.ways) < LEAST_POSES:
        print(f"{ended or 'ended'}: {len(guide.ways)} poses were held, {LEAST_POSES} are the least; nothing is kept", file=sys.stderr)  # fmt: skip
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    write_whole(args.out / "imu.csv", "\n".join([HEADER, *rows]) + "\n")
    write_whole(args.out / "record.json", json.dumps(about, indent=2) + "\n")
    said = f"recorded {len(guide.ways)} poses in {int(guide.cells.sum())} of 32 directions: {args.out}"  # fmt: skip
    print(said if not ended else f"{ended}; {said}")
    print(f"next: companion calibrate imu-multi solve --record {args.out}")
    return DEGRADED if ended else 0


def _open(args: argparse.Namespace, stack: ExitStack) -> tuple[Rig, Person]:
    if args.port:
        return stack.enter_context(open_rig(args, "")), Nobody()
    rig = TwinRig(load_body(args.body), args.seed, raw_imu=True)
    rig.connect()
    return rig, TwinPerson(rig)


def _followed(
    rig: Rig, person: Person, guide: PoseGuide, page: PosePage | None, watched: bool
) -> tuple[list[str], str]:
    """Rows of the log, and why it ended before all was there."""
    line = Line()
    rows: list[str] = []
    seen = silent = 0
    paced = watched and isinstance(rig, TwinRig)
    try:
        while not guide.done:
            sample = rig.advance()
            if rig.link.sensors_seq == seen:
                silent += 1
                if silent >= SILENT:
                    return rows, "the board says nothing any more: see to its cable and its power"
                continue
            seen, silent = rig.link.sensors_seq, 0
            stamps = np.array(rig.link.sensors[0]["imu_t_ns"])
            for t, gyro, accel in zip(stamps, sample.gyro_rad_s, sample.accel_m_s2, strict=True):
                rows.append(f"{t}," + ",".join(f"{v:.7f}" for v in (*gyro, *accel)))
            advice = guide.feed(sample.gyro_rad_s, sample.accel_m_s2)
            person.follow(advice)
            line.show(advice, guide)
            if page is not None:
                page.show(advice, guide)
                if paced:
                    page.wait(WATCHED_S)
            if len(rows) * 0.002 > LONGEST_S:
                return rows, f"half an hour has passed; still wanted: {advice.text}"
        if page is not None:
            page.linger()
    except KeyboardInterrupt:
        return rows, "stopped"
    finally:
        line.end()
    return rows, ""


def _truth(rig: TwinRig) -> dict[str, Any]:
    """What solve should find, and gravity where the twin stands."""
    triads = {k: {"matrix": m.tolist(), "bias": b.tolist()} for k, (m, b) in imu_truth.triads(rig.twin).items()}  # fmt: skip
    return {"gravity_m_s2": -float(rig.twin.model.opt.gravity[2]), "truth": triads}


class Line:
    """The advice in a plain terminal: one line that is renewed, with a bell at each pose."""

    EVERY = 10  # periods: a faster line only flickers

    def __init__(self) -> None:
        self._live, self._before, self._count = sys.stderr.isatty(), "", 0

    def show(self, advice: PoseAdvice, guide: PoseGuide) -> None:
        """On a terminal often, elsewhere once per pose."""
        self._count += 1
        state = "still " if advice.still else "moving"
        text = f"{advice.share:4.0%} {len(guide.ways):2d} poses {state} {advice.text}"
        if self._live and (advice.taken or self._count % self.EVERY == 0):
            bell = "\a" if advice.taken else ""
            print(f"\r{text:<79.79}{bell}", end="", file=sys.stderr, flush=True)
        elif not self._live and advice.taken:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._live:
            print(file=sys.stderr)
