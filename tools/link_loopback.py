"""`companion link loopback`: numbers go out, come back, and are compared.

With an MCU each round trip is a SYNC_REQ, whose 64-bit field the MCU returns in SYNC_RSP beside its
normal telemetry. With TX and RX joined by a jumper the very bytes come back: then it tests the port
and the cable up to the jumper.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from firmware_bridge import protocol
from firmware_bridge.codec import Encoder
from firmware_bridge.dissect import Frame
from firmware_bridge.errors import LinkError
from firmware_bridge.telemetry import parse_identity
from runtime.clock import now_ns
from tools.link_port import WAIT_S, Port
from tools.link_stats import quantiles

REPLY_S = 0.2
HELLO_EVERY_S = 0.2
SLOW_US = 10_000  # p99; a USB adapter with its usual latency timer of 16 ms is above it
MARKER = 0x5EED << 48  # no host time looks like this


@dataclass(slots=True)
class Loop:
    """Counts of one run."""

    asked: int = 0
    round_trips_us: list[float] = field(default_factory=list)
    wrong: int = 0  # came back changed, or twice
    broken: int = 0
    jumper: bool = False
    uid: str = ""


class Loopback:
    """One port, one frame in flight."""

    def __init__(self, port: Port, seed: int = 1) -> None:
        self.port = port
        self.found = Loop()
        self._encoder = Encoder(1)
        self._rng = random.Random(seed)

    def run(self, count: int) -> Loop:
        """So many round trips, one after the other."""
        self._open()
        for index in range(count):
            self._one(index)
        return self.found

    def _write(self, message: protocol.Message, *values: int) -> None:
        frame = self._encoder.message(message, 0, *values)
        self.port.tap.write(frame)

    def _frames(self, timeout_s: float) -> list[tuple[int, Frame]]:
        """What comes until something has come, at most so long; broken ones are counted."""
        tap = self.port.tap
        tap.wait(timeout_s)
        tap.read_into(memoryview(bytearray(16384)))
        seen = [s for s in tap.take() if s.from_mcu]
        self.found.broken += sum(s.frame.broken is not None for s in seen)
        return [(s.t_ns, s.frame) for s in seen if s.frame.broken is None]

    def _open(self) -> None:
        """HELLO until an MCU answers, or our own frame does."""
        nonce = self._rng.getrandbits(32)
        end_ns, next_ns = now_ns() + int(WAIT_S * 1e9), 0
        while now_ns() < end_ns:
            if now_ns() >= next_ns:
                next_ns = now_ns() + int(HELLO_EVERY_S * 1e9)
                values = (protocol.MAJOR, protocol.MINOR, nonce, protocol.schema_crc())
                self._write(protocol.HELLO, *values)
            for _, frame in self._frames(0.02):
                if frame.name == "HELLO" and nonce.to_bytes(4, "little") in frame.payload:
                    self.found.jumper = True
                    return
                if frame.name == "HELLO_ACK":
                    self._opened(frame)
                    return
        came = self.port.tap.bytes_in
        said = (
            f"{came} bytes came and no frame decoded: is the rate right?"
            if came
            else "no byte came"
        )
        raise LinkError(
            f"port {self.port.name}: HELLO unanswered for {WAIT_S:g} s ({said}); check power and cable, "
            "or join TX and RX with a jumper and try again: that tests the port alone"
        )

    def _opened(self, frame: Frame) -> None:
        who = parse_identity(frame.payload)
        if not who.session:
            raise LinkError(
                f"port {self.port.name}: firmware speaks schema {who.major}.{who.schema:08x}, this host "
                f"{protocol.MAJOR}.{protocol.schema_crc():08x}; run `companion flash`"
            )
        self.found.uid = who.uid
        self.found.broken = 0  # what stood in the port's buffer before we came

    def _one(self, index: int) -> None:
        """One number out and back."""
        number = MARKER | self._rng.getrandbits(32) << 16 | index & 0xFFFF
        wanted = number.to_bytes(8, "little")
        name = "SYNC_REQ" if self.found.jumper else "SYNC_RSP"
        self.found.asked += 1
        start_ns = now_ns()
        self._write(protocol.SYNC_REQ, number)
        end_ns = start_ns + int(REPLY_S * 1e9)
        while now_ns() < end_ns:
            for t_ns, frame in self._frames((end_ns - now_ns()) / 1e9):
                if frame.name != name:
                    continue
                if frame.payload[:8] == wanted:
                    self.found.round_trips_us.append((t_ns - start_ns) / 1e3)
                    return
                self.found.wrong += 1


def verdict(port: Port, loop: Loop) -> dict[str, Any]:
    """PASS or FAIL, the figures, and what to do."""
    lost = loop.asked - len(loop.round_trips_us)
    trip = quantiles(loop.round_trips_us)
    found: dict[str, Any] = {
        "port": port.name,
        "baud": port.baud,
        "over": "TX-RX jumper" if loop.jumper else f"MCU {loop.uid}",
        "verdict": "FAIL" if lost or loop.broken or loop.wrong else "PASS",
        "asked": loop.asked, "lost": lost, "wrong": loop.wrong, "broken": loop.broken,
        "round_trip_us": trip | ({"max": round(max(loop.round_trips_us), 1)} if trip["samples"] else {}),
    }  # fmt: skip
    found["next"] = _next(loop, lost, trip)
    return found


def _next(loop: Loop, lost: int, trip: dict[str, float]) -> str:
    if not trip["samples"]:
        return "nothing came back: check that TX of one end goes to RX of the other, and ground"
    if lost or loop.broken or loop.wrong:
        return (
            "bytes are lost or changed: shorten the cable, join the grounds, keep it from motor "
            "leads, check that both ends run the same rate, then run this again"
        )
    if loop.jumper:
        return (
            "port and cable are good up to the jumper; take it off and run this again for the MCU"
        )
    if trip["p99"] > SLOW_US:
        return (
            "no byte is lost, but answers are slow: on a USB adapter write 1 to "
            "/sys/bus/usb-serial/devices/ttyUSB0/latency_timer; else this machine is busy"
        )
    return "the link is good"


def lines(found: dict[str, Any]) -> list[str]:
    """The verdict as people read it."""
    trip = found["round_trip_us"]
    out = [
        f"{found['verdict']}  {found['port']} at {found['baud']} baud, over {found['over']}",
        f"{found['asked']} round trips: {found['lost']} lost, {found['wrong']} wrong, {found['broken']} broken frames",
    ]
    if trip["samples"]:
        out.append(
            f"round trip {trip['median']:.0f} us p50, {trip['p99']:.0f} us p99, {trip['max']:.0f} us max"
        )
    return [*out, found["next"]]
