"""`companion calibrate watch`: the same watch that runs on the robot, over a run that was recorded."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.verdict import Finding, judged
from calibration.watch import KINDS, REFERENCE, Flag, Gauge, H, blocks_to_false_alarm
from calibration.watch_monitor import Monitor, Watched
from models.bundle import find_bundle, load_bundle
from runtime.body import load_body
from runtime.channels import Channel, Record, channel_table
from runtime.errors import ConfigError
from runtime.log import decode_record, read_messages
from runtime.odometry import WheelGeometry
from tools.calibrate.figures import BAD, DATA, FAINT, GOOD, figure, svg
from tools.calibrate.finish import add_output, check_output, digest, finish
from tools.calibrate.page import Page, Plot, Table
from tools.compose import DEFAULT_BUNDLE
from tools.log import check_log
from tools.watched import watched

GROUPS = {
    "wheels": ("wheel_ratio", "wheel_base"),
    "IMU": ("gyro_bias_x", "gyro_bias_y", "gyro_bias_z", "imu_roll", "imu_pitch", "gravity"),
    "camera": ("camera_roll", "camera_pitch", "camera_course", "focal"),
}
BLOCKS = 2  # beyond the reference, or a gauge has not said anything
TITLES = {
    "camera_course": "Camera sideways",
    "imu_roll": "IMU roll",
    "imu_pitch": "IMU pitch",
    "focal": "Focal length",
}
DO = {
    "wheels": "let it drive for three minutes, straight on, back, and in turns",
    "IMU": "let it stand for some seconds at five places",
    "camera": "let it turn on the spot for two minutes, in light",
}
UNSEEN = (
    "What no sense on board tells: both wheels and the track larger alike (run the proof drive of `calibrate"
    " robot`), which of the two wheels changed, a camera less than 3 degrees sideways, and a focal length"
    " less than 10 % off (run `companion calibrate camera-quick solve`)."
)


class Seen(Monitor):
    """A monitor that keeps its blocks, for the page: time [s], value, std."""

    def __init__(self, body: Watched) -> None:
        super().__init__(body)
        self.blocks: dict[str, list[tuple[float, float, float]]] = {}

    def _tell(self, name: str, t_ns: int, value: float, std: float) -> None:
        if self.gauges[name].usable(std):
            self.blocks.setdefault(name, []).append((t_ns / 1e9, value, std))
        super()._tell(name, t_ns, value, std)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.epilog = UNSEEN
    add = parser.add_argument
    add(
        "--log", type=Path, required=True, metavar="DIR|F.mcap", help="the run's folder, or its log"
    )
    add("--against", type=Path, metavar="DIR|F.mcap", help="an earlier run that was well: its blocks come first (default: the begin of the same run)")  # fmt: skip
    add("--body", default="companion", help="body that was recorded")
    add_output(parser)


def main(args: argparse.Namespace) -> int:
    """Run the watch over the log; exit 0 nothing moved, 3 something did or too little is seen, 1 gross."""
    check_output(args)
    runs = [logs_of(path, option) for path, option in ((args.against, "--against"), (args.log, "--log")) if path]  # fmt: skip
    body = load_body(args.body)
    camera = load_bundle(find_bundle(DEFAULT_BUNDLE), body.layout()).manifest.camera
    monitor = Seen(watched(body, WheelGeometry.drawn(body.geometry), camera))
    starts = [feed(monitor, logs) for logs in runs]
    files = [file for logs in runs for file in logs]
    flags = monitor.flags
    verdict = judged(
        "watch", result_of(monitor, starts[-1]), quality_of(monitor), findings_of(monitor, flags, starts[-1]),
        digest(files), next_when_good="nothing", cause_when_good="no calibration has moved",
    )  # fmt: skip
    return finish(args, verdict, lambda: page(monitor, starts, [str(f) for f in files]))


def logs_of(path: Path, option: str) -> list[Path]:
    """The parts of a run's log; ConfigError where there are none."""
    if path.is_dir():
        found = sorted(path.glob("*.mcap"))
        if not found:
            raise ConfigError(f"{option} {path} holds no .mcap; give the folder that `run --record` wrote")  # fmt: skip
    else:
        found = [path]
    for file in found:
        check_log(file)
    return found


def feed(monitor: Monitor, logs: list[Path]) -> int:
    """One run through the monitor; its first stamp [ns]. ConfigError where it has no sensors."""
    start_ns = last_ns = 0
    monitor.pause()
    for name, record in _records(logs):
        t_ns = int(record["t_ns"])
        if name == "frame":
            if not (record["dark"] or record["repeated"]):
                monitor.see(t_ns, record["pixels"])
        elif t_ns > last_ns:  # a restarted recorder finds some records a second time
            last_ns, start_ns = t_ns, start_ns or t_ns
            monitor.sense(t_ns, record["position_rad"], record["gyro_rad_s"].astype(float), record["accel_m_s2"].astype(float))  # fmt: skip
    if not start_ns:
        raise ConfigError(f"{logs[0]} holds no sensor data; give the log of a run with a body")
    return start_ns


def _records(logs: list[Path]) -> Iterator[tuple[str, Record]]:
    table: dict[str, Channel] = channel_table(1, (1, 1, 3))
    for file in logs:
        for name, data in read_messages(file):
            if name in ("sensors", "frame"):
                record: Record = np.zeros((), table[name].dtype)
                decode_record(table[name], data, record)
                yield name, record


def findings_of(monitor: Monitor, flags: list[Flag], start_ns: int) -> list[Finding]:
    """What has moved, and what the run could not tell."""
    out = []
    for flag in flags:
        since = f"{max(flag.since_ns - start_ns, 0) / 1e9:.0f} s into the run"
        cause, _, do = flag.said(since).partition(": ")
        out.append(Finding("FAIL" if flag.gross else "MARGINAL", cause, do))
    for group, names in GROUPS.items():
        blocks = [monitor.gauges[n].blocks for n in names]
        if max(blocks) < REFERENCE + BLOCKS:
            out.append(Finding("MARGINAL", f"too little seen of the {group}: {max(blocks)} blocks, {REFERENCE + BLOCKS} needed", DO[group]))  # fmt: skip
    return out


def result_of(monitor: Monitor, start_ns: int) -> dict[str, Any]:
    """Each gauge that has said something: reference, how far it moved, blocks, flag."""
    return {name: _gauge(g, start_ns) for name, g in monitor.gauges.items() if g.blocks}


def _gauge(gauge: Gauge, start_ns: int) -> dict[str, Any]:
    out: dict[str, Any] = {"reference": gauge.reference, "moved": gauge.amount, "blocks": gauge.blocks}  # fmt: skip
    if gauge.flag is not None:
        out["flagged_since_s"] = (gauge.flag.since_ns - start_ns) / 1e9
    return out


def quality_of(monitor: Monitor) -> dict[str, Any]:
    """How the flags are made."""
    return {
        "blocks": sum(g.blocks for g in monitor.gauges.values()),
        "cusum_limit_std": H,
        "blocks_of_noise_to_a_false_alarm": blocks_to_false_alarm(),
        "reference_blocks": REFERENCE,
    }


def page(monitor: Seen, starts: list[int], inputs: list[str]) -> Page:
    """A plot per group, limits about the reference; a table of all gauges."""
    rows = []
    for name, g in monitor.gauges.items():
        k = KINDS[name]
        unit = _unit(name)
        moved = f"{g.amount / k.per:+.2f}" if g.tail else ""
        state = "MOVED" if g.flag else "well" if g.tail else "not enough seen"
        rows.append([name, state, moved, f"{k.raise_at / k.per:.2g}", unit, str(g.blocks), k.tool])
    table: Table = ("Gauges", ["what", "state", "moved", "flagged from", "in", "blocks", "set right by"], rows)  # fmt: skip
    shown = [n for names in GROUPS.values() for n in names if len(monitor.blocks.get(n, [])) > REFERENCE]  # fmt: skip
    shown.sort(key=lambda n: monitor.gauges[n].flag is None)  # what moved comes first
    plots = [_plot(monitor, n, starts) for n in shown]
    return Page("Have calibrations drifted?", plots, [table], inputs)


def _unit(name: str) -> str:
    return KINDS[name].words.rsplit("}", 1)[1].split()[0]


def _plot(monitor: Seen, name: str, starts: list[int]) -> Plot:
    kind, gauge = KINDS[name], monitor.gauges[name]
    t, value, std = np.array(monitor.blocks[name]).T
    t = _joined(t, starts)
    off = (value - (gauge.reference or 0.0)) / kind.per
    drawn, axis = figure(6.4, 2.6)
    limit, clear = kind.raise_at / kind.per, kind.clear_at / kind.per
    axis.axhspan(-clear, clear, color=GOOD, alpha=0.08, lw=0)
    for side in (-limit, limit):
        axis.axhline(side, color=BAD, lw=0.9, ls="--")
    axis.errorbar(t, off, yerr=1.96 * std / kind.per, fmt=".", color=BAD if gauge.flag else DATA, ecolor=FAINT)  # fmt: skip
    axis.axvspan(t[0], t[REFERENCE - 1], color=FAINT, alpha=0.15, lw=0)
    axis.set(xlabel="time [s] (grey: the reference)", ylabel=_unit(name))
    moved = gauge.flag is not None
    see = "It left the dashed lines for good." if moved else "Dots between the dashed lines: it has not moved."  # fmt: skip
    title = TITLES.get(name, name.replace("_", " ").capitalize())
    return Plot(title, see, svg(drawn))  # fmt: skip


def _joined(t_s: npt.NDArray[np.float64], starts: list[int]) -> npt.NDArray[np.float64]:
    """Seconds from the begin of the first run; a later run's clock is set behind the one before."""
    out = t_s.copy()
    jump = np.flatnonzero(np.abs(np.diff(t_s)) > 3600)
    for k in jump:
        out[k + 1 :] += out[k] + 10 - out[k + 1]
    found: npt.NDArray[np.float64] = out - out[0]
    return found
