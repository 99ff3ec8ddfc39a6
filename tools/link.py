"""`companion link watch|stats`: what comes over a port, decoded."""

from __future__ import annotations

import argparse
import json
import select

from firmware_bridge.link import Link
from firmware_bridge.probe import probe
from firmware_bridge.protocol import Mode
from firmware_bridge.serial_port import SerialTransport
from runtime.body import load_body
from runtime.clock import now_ns
from tools.arguments import seconds

WAIT_S = 2.0


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", default="/dev/companion-mcu", help="serial port (default: /dev/companion-mcu)"
    )
    parser.add_argument("--body", default="companion")
    parser.add_argument(
        "--duration", type=seconds, default=5.0, metavar="S", help="how long (default: 5)"
    )


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Options of `link watch`."""
    _options(parser)


def add_stats(parser: argparse.ArgumentParser) -> None:
    """Options of `link stats`."""
    _options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _open(args: argparse.Namespace) -> Link:
    link = Link(SerialTransport(args.port), load_body(args.body).limit_table())
    probe(link, WAIT_S, now_ns)
    return link


def _listen(link: Link, duration_s: float, every_ns: int, say: bool, names: tuple[str, ...]) -> int:
    """Step the link; the number of sensor batches that came. Nothing is ever armed."""
    fd = link.fileno()
    end, next_line, first = now_ns() + int(duration_s * 1e9), now_ns(), link.sensors_seq
    while now_ns() < end:
        if fd is not None:
            select.select([fd], [], [], 0.01)
        link.step(now_ns())
        if say and now_ns() >= next_line and link.sensors_seq:
            next_line = now_ns() + every_ns
            s = link.sensors[0]
            joints = " ".join(
                f"{n} {float(s['position_rad'][i]):+.3f}" for i, n in enumerate(names)
            )
            mode = Mode(int(s["mcu_mode"])).name
            print(
                f"{mode:6} {joints} | gyro z {float(s['gyro_rad_s'][-1][2]):+.3f} rad/s, range {float(s['range_m']):.2f} m, {float(s['battery_v']):.1f} V",
                flush=True,
            )
    return link.sensors_seq - first


def watch(args: argparse.Namespace) -> int:
    """Print the newest state twice a second."""
    link = _open(args)
    try:
        names = load_body(args.body).joint_names
        _listen(link, args.duration, 500_000_000, True, names)
    finally:
        link.close()
    return 0


def stats(args: argparse.Namespace) -> int:
    """Rates, errors, round trip, clock."""
    link = _open(args)
    try:
        batches = _listen(link, args.duration, 0, False, ())
    finally:
        link.close()
    s, who = link.status, link.identity
    found = {
        "port": args.port,
        "state": s.state.value,
        "uid": who.uid if who else "",
        "firmware": who.version if who else "",
        "batches_hz": round(batches / args.duration, 1),
        "bytes_in_s": round(link.bytes_in / args.duration),
        "bad_frames": s.bad,
        "lost_frames": s.lost,
        "round_trip_us": round(s.rtt_us, 1),
        "clock_skew_ppm": round(s.skew_ppm, 2),
    }
    print(json.dumps(found) if args.json else "\n".join(f"{k:16} {v}" for k, v in found.items()))
    return 0
