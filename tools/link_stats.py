"""What passed over a port: rates, shares, errors, round trip."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firmware_bridge import protocol
from firmware_bridge.link import Link
from tools.link_port import Port, Seen

FRAMING = 1  # the delimiter


@dataclass(slots=True)
class Traffic:
    """Frames and bytes of one message type, one way."""

    count: int = 0
    bytes: int = 0
    broken: int = 0


@dataclass(slots=True)
class Tally:
    """Everything that passed since the start."""

    by_type: defaultdict[tuple[bool, str], Traffic] = field(
        default_factory=lambda: defaultdict(Traffic)
    )
    round_trips_us: list[float] = field(default_factory=list)
    broken_in: int = 0
    lost_in: int = 0
    _seq: int | None = None

    def add(self, seen: Seen) -> None:
        """One more frame."""
        frame = seen.frame
        traffic = self.by_type[seen.from_mcu, frame.name]
        traffic.count += 1
        traffic.bytes += len(frame.raw) + FRAMING
        if frame.broken is not None:
            traffic.broken += 1
            self.broken_in += seen.from_mcu
            return
        if not seen.from_mcu or frame.name == "SMP":
            return
        if self._seq is not None:
            self.lost_in += frame.seq - self._seq - 1 & 0xFF
        self._seq = frame.seq
        if frame.name == "SYNC_RSP":
            sent_ns, _, _ = protocol.SYNC_RSP.layout.unpack(frame.payload)
            self.round_trips_us.append((seen.t_ns - sent_ns) / 1e3)

    def forget_seq(self) -> None:
        """The MCU restarted: its sequence begins anew."""
        self._seq = None


def quantiles(values: list[float]) -> dict[str, float]:
    """Minimum, median, p99 and how many."""
    if not values:
        return {"samples": 0}
    low, middle, high = np.percentile(values, [0, 50, 99])
    return {
        "min": round(float(low), 1), "median": round(float(middle), 1),
        "p99": round(float(high), 1), "samples": len(values),
    }  # fmt: skip


def summary(port: Port, link: Link, tally: Tally, duration_s: float) -> dict[str, Any]:
    """One object for people and programs; what was not measured is absent."""
    status, who = link.status, link.identity
    found: dict[str, Any] = {"port": port.name, "baud": port.baud, "state": status.state.value}
    if status.reason:
        found["reason"] = status.reason
    if who is not None:
        found |= {"uid": who.uid, "firmware": who.version, "boot_id": f"{who.boot_id:08x}",
                  "reset_cause": who.reset_cause.name.lower()}  # fmt: skip
    found["duration_s"] = round(duration_s, 2)
    ways = ((True, "from_mcu"), (False, "to_mcu"))
    for from_mcu, name in ways:
        rows = [t for (way, _), t in tally.by_type.items() if way is from_mcu]
        rate = sum(t.bytes for t in rows) / duration_s
        found[name] = {"frames": sum(t.count for t in rows), "bytes_s": round(rate),
                       "share": round(rate / port.capacity, 4)}  # fmt: skip
    found["from_mcu"] |= {"broken": tally.broken_in, "lost": tally.lost_in}
    found["to_mcu"] |= {"dropped": status.tx_dropped}
    found["messages"] = {
        name: {"from_mcu": way, "count": t.count, "hz": round(t.count / duration_s, 1),
               "bytes_s": round(t.bytes / duration_s)}
        for (way, name), t in sorted(tally.by_type.items(), key=lambda row: -row[1].bytes)
    }  # fmt: skip
    found["round_trip_us"] = quantiles(tally.round_trips_us)
    if link.clock.count:
        found["clock"] = {"offset_us": status.offset_us, "skew_ppm": round(status.skew_ppm, 1)}
        if status.clock_note or link.clock.refusal:
            found["clock"]["note"] = link.clock.refusal or status.clock_note
    if link.health is not None:
        health = link.health
        found["mcu"] = {name: getattr(health, name) for name in health.__dataclass_fields__}
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """The object as people read it."""
    who = found.get("uid")
    out = [f"{found['port']} at {found['baud']} baud, {found['state']}"
           + (f": {found['reason']}" if "reason" in found else "")]  # fmt: skip
    if who is not None:
        out.append(
            f"MCU {who}, firmware {found['firmware']}, boot {found['boot_id']} ({found['reset_cause']})"
        )
    out += ["", f"{'message':12} {'way':8} {'count':>7} {'Hz':>8} {'bytes/s':>8}"]
    for name, m in found["messages"].items():
        way = "from MCU" if m["from_mcu"] else "to MCU"
        out.append(f"{name:12} {way:8} {m['count']:7} {m['hz']:8.1f} {m['bytes_s']:8}")
    a, b = found["from_mcu"], found["to_mcu"]
    out += ["", f"from MCU  {a['bytes_s']:6} bytes/s, {a['share']:6.1%} of the port; broken {a['broken']}, lost {a['lost']}"]  # fmt: skip
    out.append(
        f"to MCU    {b['bytes_s']:6} bytes/s, {b['share']:6.1%} of the port; dropped {b['dropped']}"
    )
    trip = found["round_trip_us"]
    if trip["samples"]:
        out.append(
            f"round trip {trip['min']:.0f} us at best, {trip['median']:.0f} median, {trip['p99']:.0f} p99 ({trip['samples']} samples)"
        )
    if "clock" in found:
        clock = found["clock"]
        out.append(f"MCU clock  {clock['offset_us'] / 1e6:+.3f} s, {clock['skew_ppm']:+.1f} ppm")
        if "note" in clock:
            out.append(f"! {clock['note']}")
    if "mcu" in found:
        counters = ", ".join(f"{k} {v}" for k, v in found["mcu"].items())
        out.append(f"MCU since boot: {counters}")
    return out
