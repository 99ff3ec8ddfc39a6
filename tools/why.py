"""`companion why`: power -> link -> mode -> limits -> policy -> operator, the first break named."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path

from models.bundle import load_bundle
from runtime.body import load_body
from runtime.channels import Channels, Record, channel_table
from runtime.clock import now_ns, sleep_until
from runtime.conditions import CONDITIONS, Condition
from runtime.controller import LINK_STATES
from runtime.errors import RuntimeFault
from runtime.modes import MOVING, Mode
from runtime.sharing import fetch_memory, open_channels
from tools.runtime_folder import base_folder

STAGES = (
    ("power", Condition.BATTERY | Condition.STOP_INPUT),
    ("link", Condition.LINK | Condition.FIRMWARE | Condition.SENSORS),
    ("machine", Condition.TEMPERATURE | Condition.MEMORY | Condition.DISK),
    ("world model", Condition.BUNDLE | Condition.CAMERA | Condition.CALIBRATED | Condition.BELIEF | Condition.SURPRISE),
    ("mind", Condition.MIND),
    ("operator", Condition.OPERATOR),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """One stage of the walk."""

    stage: str
    ok: bool
    says: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument(
        "--run",
        default="",
        metavar="NAME",
        help="which run, when several live (a folder name, as `twin-0-1234`)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def find_run(name: str) -> Path:
    """The socket of a live run: the named one, or the newest."""
    sockets = sorted(base_folder().glob("*/channels.sock"), key=os.path.getmtime)
    chosen = [s for s in sockets if not name or s.parent.name == name]
    if not chosen:
        live = ", ".join(s.parent.name for s in sockets) or "none"
        raise RuntimeFault(
            f"no run {name or 'is live'}: live are {live}; start one with `companion run`"
        )
    return chosen[-1]


def attach(name: str) -> tuple[Channels, dict[str, object]]:
    """The channels of a live run."""
    fds, about = fetch_memory(find_run(name))
    body = load_body(str(about["body"]))
    bundle = load_bundle(Path(str(about["bundle"])), body.layout())
    shape = (body.camera.height, body.camera.width, 3)
    return open_channels(channel_table(bundle.manifest.belief, shape), fds), about


def main(args: argparse.Namespace) -> int:
    """Walk the chain; exit 0 when it moves or may move, 1 at the first break."""
    channels, about = attach(args.run)
    reader = channels.reader("status")
    deadline = now_ns() + 1_000_000_000
    while not reader.latest() and now_ns() < deadline:
        sleep_until(now_ns() + 20_000_000)
    answers = walk(reader.record, reader.stale(now_ns()), str(about["target"]))
    broken = next((a for a in answers if not a.ok), None)
    if args.json:
        print(
            json.dumps(
                {
                    "moving": broken is None,
                    "first_break": broken.stage if broken else "",
                    "stages": [{"stage": a.stage, "ok": a.ok, "says": a.says} for a in answers],
                }
            )
        )
    else:
        for a in answers:
            print(f"{'ok ' if a.ok else 'NO '} {a.stage:12} {a.says}")
    return 0 if broken is None else 1


def walk(status: Record, stale: bool, target: str) -> list[Answer]:
    """The chain for one status record."""
    if stale:
        return [
            Answer("controller", False, "the controller process is silent; see the run's terminal")
        ]
    bits = int(status["conditions"])
    out = []
    for stage, needs in STAGES:
        flags = [
            f
            for f in CONDITIONS
            if f & needs and not (f is Condition.OPERATOR and target == "twin")
        ]
        bad = [f"{CONDITIONS[f][0]}: {CONDITIONS[f][1]}" for f in flags if not bits & f]
        says = (
            "; ".join(bad) or ", ".join(CONDITIONS[f][0] for f in flags) or "not needed on the twin"
        )
        if stage == "link":
            says += f" ({LINK_STATES[int(status['link'])].value}, round trip {float(status['rtt_us']):.0f} us)"
        out.append(Answer(stage, not bad, says))
    mode = Mode(int(status["mode"]))
    hints = {
        Mode.STOPPED: "hold re-arm on the page for 2 s",
        Mode.FAULT: "remove the cause, then re-arm",
        Mode.IDLE: "engage on the page",
        Mode.HOLD: "it goes on when the cause has gone; after 5 s a robot waits for you instead",
    }
    out.append(
        Answer(
            "mode",
            mode in MOVING,
            f"{mode.name.lower()}" + (f": {hints[mode]}" if mode in hints else ""),
        )
    )
    cap = float(status["speed_cap"])
    out.append(Answer("limits", cap > 0, f"speed cap {cap:.2f} m/s"))
    return out
