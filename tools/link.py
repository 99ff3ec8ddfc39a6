"""`companion link watch|stats|loopback`: see and touch the wire. Nothing is ever armed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from firmware_bridge.errors import LinkError
from firmware_bridge.link import Link, LinkState
from firmware_bridge.probe import probe
from runtime.clock import now_ns
from tools import link_loopback, link_port, link_stats, link_watch
from tools.arguments import count, seconds
from tools.link_port import Port, Seen, open_port

STEP_S = 0.01
READY_S = 2.0  # for the clock, once the MCU has answered


def _duration(parser: argparse.ArgumentParser, default: str, value: float | None) -> None:
    parser.add_argument(
        "--duration",
        type=seconds,
        default=value,
        metavar="S",
        help=f"how long (default: {default})",
    )


def add_watch(parser: argparse.ArgumentParser) -> None:
    """Options of `link watch`."""
    link_port.add_options(parser)
    _duration(parser, "until Ctrl-C", None)
    parser.add_argument("--raw", action="store_true", help="also the bytes of each frame, in hex")
    parser.add_argument("--only", metavar="NAME,NAME", help="these messages; `broken` is one too")
    parser.add_argument(
        "--lines", action="store_true", help="one line per frame, on a terminal too"
    )


def add_stats(parser: argparse.ArgumentParser) -> None:
    """Options of `link stats`."""
    link_port.add_options(parser)
    _duration(parser, "5", 5.0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_loopback(parser: argparse.ArgumentParser) -> None:
    """Options of `link loopback`."""
    link_port.add_options(parser)
    parser.add_argument("--count", type=count, default=500, metavar="N", help="default: 500")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _step(port: Port, link: Link, duration_s: float | None) -> Iterator[list[Seen]]:
    """Step the link; what passed since the last look, each time."""
    end_ns = None if duration_s is None else now_ns() + int(duration_s * 1e9)
    while end_ns is None or now_ns() < end_ns:
        port.tap.wait(STEP_S)
        link.step(now_ns())
        yield port.tap.take()


def watch(args: argparse.Namespace) -> int:
    """Print what passes until the time is over or Ctrl-C."""
    names = link_watch.only(args.only) if args.only else ()
    plain = bool(args.raw or args.lines or names or not link_watch.on_terminal())
    with open_port(args) as port:
        link = port.link()
        start_ns, table, met = now_ns(), link_watch.Table(port), False
        state = link.status.state
        try:
            for passed in _step(port, link, args.duration):
                if plain:
                    _print(passed, names, start_ns, args.raw)
                    state = _news(link, state, start_ns)
                else:
                    table.show(passed, link, now_ns())
                met = met or link.session != 0
                if not met and now_ns() - start_ns > link_port.WAIT_S * 1e9:
                    break
        except KeyboardInterrupt:
            print()
        if not met:
            raise LinkError(_nobody(port, link))
    return 0


def _print(passed: list[Seen], names: tuple[str, ...], start_ns: int, raw: bool) -> None:
    for seen in passed:
        if link_watch.wanted(seen, names):
            print(link_watch.line(seen, start_ns, raw))
    sys.stdout.flush()


def _news(link: Link, before: LinkState, start_ns: int) -> LinkState:
    """A line when the link comes or goes: frames alone do not tell an unplugged port from a quiet one."""
    status = link.status
    if status.state is not before:
        why = f": {status.reason}" if status.reason else ""
        t_s = (now_ns() - start_ns) / 1e9
        print(f"{t_s:8.3f} = link {status.state.value}{why}", file=sys.stderr)
    return status.state


def _nobody(port: Port, link: Link) -> str:
    if link.status.state in (LinkState.DISCONNECTED, LinkState.MISMATCH):
        return f"port {port.name}: {link.status.reason}"
    return f"port {port.name}: no MCU of ours answered ({link.bytes_in} bytes came): {link.status.reason}"


def stats(args: argparse.Namespace) -> int:
    """Rates, errors, round trip, clock, and the MCU's own counters."""
    with open_port(args) as port:
        link = port.link()
        probe(link, link_port.WAIT_S, now_ns)
        for _ in _step(port, link, READY_S):
            if link.ready:
                break
        tally, start_ns, boot_id = link_stats.Tally(), now_ns(), _boot_id(link)
        for passed in _step(port, link, args.duration):
            if boot_id != _boot_id(link):
                boot_id = _boot_id(link)
                tally.forget_seq()
            for seen in passed:
                tally.add(seen)
            if link.status.state is LinkState.DISCONNECTED:
                raise _gone(port, (now_ns() - start_ns) / 1e9)
        found = link_stats.summary(port, link, tally, (now_ns() - start_ns) / 1e9)
    print(json.dumps(found) if args.json else "\n".join(link_stats.lines(found)))
    return 0


def _gone(port: Port, after_s: float) -> LinkError:
    return LinkError(
        f"port {port.name} went away after {after_s:.1f} s: check cable and power, then run it again"
    )


def _boot_id(link: Link) -> int:
    return link.identity.boot_id if link.identity else 0


def loopback(args: argparse.Namespace) -> int:
    """Round trips with known contents; exit 1 when any is lost or changed."""
    with open_port(args) as port:
        start_ns = now_ns()
        try:
            found = link_loopback.verdict(port, link_loopback.Loopback(port).run(args.count))
        except OSError as error:  # of the port: this loop has no link that would open it again
            raise _gone(port, (now_ns() - start_ns) / 1e9) from error
    print(json.dumps(found) if args.json else "\n".join(link_loopback.lines(found)))
    return 0 if found["verdict"] == "PASS" else 1
