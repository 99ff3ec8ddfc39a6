"""The live status of a run on a terminal: one line that is refreshed, or a line now and then."""

from __future__ import annotations

import select
import sys

from runtime.channels import Channels
from runtime.conditions import missing
from runtime.modes import Mode
from tools.compose import Setup

REFRESH_NS = 500_000_000
LINE_NS = 5_000_000_000  # where there is no terminal


class StatusLine:
    """Reads channels, writes stderr."""

    def __init__(self, setup: Setup, channels: Channels) -> None:
        self._setup = setup
        self._status = channels.reader("status")
        self._tick = channels.reader("tick")
        self._surprise = channels.reader("surprise")
        self._truth = channels.reader("truth")
        self._frame = channels.reader("frame")
        self._readers = (self._status, self._tick, self._surprise, self._truth, self._frame)
        self._next_ns = 0
        self._tty = sys.stderr.isatty()

    def step(self, t: int, started_ns: int) -> None:
        """Refresh when it is due; `started_ns` is 0 before the run counts."""
        if t < self._next_ns:
            return
        self._next_ns = t + (REFRESH_NS if self._tty else LINE_NS)
        for reader in self._readers:
            reader.latest()
        if not self._takes():
            return
        text = " | ".join(self._parts(t, started_ns))
        begin, end = ("\r\x1b[2K", "") if self._tty else ("", "\n")
        print(f"{begin}{text}", end=end, file=sys.stderr, flush=True)

    def _parts(self, t: int, started_ns: int) -> list[str]:
        settings, status = self._setup.settings, self._status.record
        mode = Mode(int(status["mode"]))
        parts = [f"{settings.target} {self._setup.body.name}", mode.name.lower()]
        if not self._setup.has_body:
            parts[1] = "disarmed: a recording has no body"
        if started_ns:
            done, total = (t - started_ns) / 1e9, settings.duration_s
            parts.append(f"{done:.0f} of {total:.0f} s" if total else f"{done:.0f} s")
        elif mode is not Mode.BOOT:
            parts.append(
                f"waiting for: {', '.join(missing(int(status['conditions']))) or 'engage'}"
            )
        parts.append(f"{int(status['commands'])} commands")
        parts.append(f"{int(self._frame.record['number'])} frames")
        parts.append(f"tick {float(self._tick.record['tick_wall_us']):.0f} us")
        parts.append(f"surprise {float(self._surprise.record['value'][0]):.1f} nats")
        if self._truth.seq:
            parts.append(f"person at {float(self._truth.record['distance_m']):.2f} m")
        return parts

    def _takes(self) -> bool:
        """A terminal that was paused (Ctrl-S) must not pause who watches over the run."""
        return not self._tty or bool(select.select([], [sys.stderr], [], 0)[1])

    def close(self) -> None:
        """End the live line."""
        if self._tty and self._takes():
            print(file=sys.stderr)
