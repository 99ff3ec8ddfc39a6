"""`companion link watch`: every message by name, with its fields in SI units.

On a terminal a table that stays in place; into a pipe, or with `--raw`, `--only` or `--lines`, one
line per frame.
"""

from __future__ import annotations

import shutil
import sys
from collections import deque
from dataclasses import dataclass, field

from firmware_bridge.dissect import Frame, Reading, Value
from firmware_bridge.link import Link
from firmware_bridge.protocol import MESSAGES
from runtime.errors import ConfigError
from tools.link_port import Port, Seen

NAMES = tuple(m.name.upper() for m in MESSAGES)
EXTRA = ("SMP", "BROKEN")
REFRESH_NS = 200_000_000
SPAN_NS = 2_000_000_000  # rates are over this time
NEWS = ("LOG", "FAULT", "ACK", "PARAM", "HELLO_ACK")  # kept under the table
RED, DIM, BOLD, PLAIN = "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


def only(text: str) -> tuple[str, ...]:
    """Names by commas; ConfigError lists what there is."""
    names = tuple(part.strip().upper() for part in text.split(",") if part.strip())
    unknown = [n for n in names if n not in NAMES + EXTRA]
    if unknown or not names:
        raise ConfigError(
            f"--only {text}: no message {', '.join(unknown) or 'named'}; there are "
            f"{', '.join(n.lower() for n in NAMES + EXTRA)}"
        )
    return names


def number(value: Value) -> str:
    """A value in as few characters as its size needs."""
    if isinstance(value, str):
        return value or "-"
    if isinstance(value, int):
        return str(value)
    return f"{value: .3f}" if abs(value) < 100 else f"{value: .1f}"


def _words(reading: Reading) -> str:
    if reading.unit == "s":  # a clock of microseconds
        text = f"{float(reading.values[0]):.6f}".rstrip("0").rstrip(".")
        return f"{reading.name} {text} s"
    text = " ".join(number(v) for v in reading.values)
    return f"{reading.name} {text}{f' {reading.unit}' if reading.unit else ''}"


def describe(frame: Frame) -> str:
    """The fields of a frame on one line: per joint together, of the IMU samples the newest."""
    if frame.name == "SMP":
        return f"{len(frame.payload)} bytes of mcumgr"
    parts = [_words(r) for r in frame.readings if not r.of]
    groups: dict[str, list[str]] = {}
    for r in frame.readings:
        if r.of:
            groups.setdefault(r.of, []).append(_words(r))
    if frame.name == "IMU":
        groups = dict(list(groups.items())[-1:])
    parts += [f"{of}: {' '.join(words)}" for of, words in groups.items()]
    return ", ".join(parts)


def line(seen: Seen, start_ns: int, raw: bool) -> str:
    """One frame on one line: time, way, name, fields; what is wrong; its bytes."""
    frame, way = seen.frame, "<" if seen.from_mcu else ">"
    t_s = (seen.t_ns - start_ns) / 1e9
    if frame.broken is not None:
        text = f"{t_s:8.3f} {way} BROKEN     {frame.broken.value}, {len(frame.raw)} bytes"
        name = "" if frame.name == "?" else f" (type {frame.name.removeprefix('? ')})"
        text += name
    else:
        text = f"{t_s:8.3f} {way} {frame.name:10} {describe(frame)}"
    return f"{text}\n{'':11}{frame.raw.hex(' ')} 00" if raw else text


def wanted(seen: Seen, names: tuple[str, ...]) -> bool:
    """Whether a frame is among those asked for."""
    if not names:
        return True
    return ("BROKEN" if seen.frame.broken is not None else seen.frame.name) in names


@dataclass(slots=True)
class _Row:
    times: deque[int] = field(default_factory=lambda: deque(maxlen=1024))
    newest: Frame | None = None


class Table:
    """The newest frame of every type, drawn in place."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._rows: dict[tuple[bool, str], _Row] = {}
        self._news: deque[str] = deque(maxlen=6)
        self._bytes = (0, 0)
        self._next_ns = self._start_ns = 0
        self._broken = 0

    def add(self, seen: Seen) -> None:
        """One more frame."""
        if not self._start_ns:
            self._start_ns = seen.t_ns
        name = seen.frame.name
        if seen.frame.broken is not None:
            self._broken += 1
            name = "BROKEN"
        row = self._rows.setdefault((not seen.from_mcu, name), _Row())
        fresh = row.newest is None or row.newest.payload != seen.frame.payload
        row.times.append(seen.t_ns)
        row.newest = seen.frame
        if name == "BROKEN" or (name in NEWS and fresh):
            self._news.append(line(seen, self._start_ns, False))

    def show(self, passed: list[Seen], link: Link, t_ns: int) -> None:
        """Take these in; draw five times a second."""
        for seen in passed:
            self.add(seen)
        if t_ns >= self._next_ns:
            clear = "" if self._next_ns else "\x1b[2J"
            self._next_ns = t_ns + REFRESH_NS
            print(clear + self.draw(link, t_ns), end="", flush=True)

    def draw(self, link: Link, t_ns: int) -> str:
        """The screen, from its top left corner."""
        width, height = shutil.get_terminal_size((100, 30))
        out = [*self._head(link, t_ns), ""]
        for (to_mcu, name), row in sorted(self._rows.items()):
            rate = sum(t > t_ns - SPAN_NS for t in row.times) / (SPAN_NS / 1e9)
            told = describe(row.newest) if row.newest and row.newest.broken is None else ""
            colour = RED if name == "BROKEN" else (DIM if rate == 0 else "")
            text = f"{'>' if to_mcu else '<'} {name:10} {rate:6.1f}/s  {told}"
            out += [colour + part + PLAIN for part in _wrap(text, width, 24)]
        out += ["", *(text[:width] for text in self._news)]
        return "\x1b[H" + "".join(f"{row}\x1b[K\n" for row in out[: height - 1]) + "\x1b[J"

    def _head(self, link: Link, t_ns: int) -> list[str]:
        status, tap, who = link.status, self._port.tap, link.identity
        name = f"MCU {who.uid}, firmware {who.version}" if who else "no MCU yet"
        state = status.state.value + (f": {status.reason}" if status.reason else "")
        seconds = max((t_ns - self._start_ns) / 1e9, 1e-3) if self._start_ns else 1.0
        rates = f"in {tap.bytes_in / seconds:.0f} bytes/s ({tap.bytes_in / seconds / self._port.capacity:.0%}), "
        rates += f"out {tap.bytes_out / seconds:.0f} ({tap.bytes_out / seconds / self._port.capacity:.0%})"
        errors = f"broken {self._broken}, lost {status.lost}"
        if self._broken or status.lost:
            errors = f"{RED}{errors}{PLAIN}"
        clock = f"round trip {status.rtt_us:.0f} us, skew {status.skew_ppm:+.0f} ppm"
        lines = [f"{BOLD}{self._port.name}{PLAIN}  {name}  {state}"]
        lines.append(f"{rates}, {errors}, {clock}")
        return lines + ([f"{RED}{status.clock_note}{PLAIN}"] if status.clock_note else [])


def _wrap(text: str, width: int, indent: int) -> list[str]:
    """Break at commas, so that a joint stays whole; later lines are indented."""
    out = [""]
    for part in text.split(", "):
        glue = ", " if out[-1].strip() else ""
        if len(out[-1]) + len(glue) + len(part) > width and out[-1].strip():
            out.append(" " * indent + part)
        else:
            out[-1] += glue + part
    return [row[:width] for row in out]


def on_terminal() -> bool:
    """Whether a table can stay in place."""
    return sys.stdout.isatty()
