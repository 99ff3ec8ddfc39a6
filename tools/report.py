"""The report of a run, built from its records alone (the log, or lockstep's memory)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.channels import REPORTING
from runtime.errors import RuntimeFault
from runtime.events import EVENTS, Event, sentence
from runtime.log import Arrays
from runtime.modes import Mode
from runtime.surprise import SURPRISE_CHANNELS
from tools.compose import Setup
from tools.twin.judge import judge

SCHEMA = 1
MOVING = (Mode.ACTIVE, Mode.TELEOP)


@dataclass
class RunFacts:
    """What the records do not hold."""

    backends: dict[str, str] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    log: str = ""
    tick_log_sha256: str = ""
    rss_mb: dict[str, float] = field(default_factory=dict)
    firmware: str = ""
    tick_us: list[float] = field(default_factory=list)  # lockstep: measured outside the log
    observe_ms: list[float] = field(default_factory=list)
    failed: str = ""


def percentiles(values: npt.ArrayLike) -> dict[str, float]:
    """p50, p99 and max; empty when nothing was measured."""
    array = np.asarray(values, float)
    array = array[np.isfinite(array)]
    if not len(array):
        return {}
    p50, p99 = np.percentile(array, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(float(array.max()), 3)}  # fmt: skip


def start_ns(records: Arrays, has_body: bool) -> int:
    """The run's zero: first control tick in `active`, or the first frame where nothing may move."""
    if has_body and "sent" in records:
        active = records["sent"][np.isin(records["sent"]["mode"], MOVING)]
        if len(active):
            return int(active["t_ns"][0])
    for name in ("frame", "sent", "tick"):
        if name in records and len(records[name]):
            return int(records[name]["t_ns"][0])
    return 0


def build_report(setup: Setup, records: Arrays, facts: RunFacts) -> dict[str, Any]:
    """All keys of design section 10."""
    zero = start_ns(records, setup.has_body)
    sent = records.get("sent")
    tick = records.get("tick")
    moved = tick[tick["sent"] == 1] if tick is not None else None
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "body": setup.body.name,
        "target": setup.settings.target,
        "firmware": facts.firmware,
        "bundle": {
            "name": setup.bundle.manifest.name,
            "version": setup.bundle.manifest.version,
            "sha256": setup.bundle.sha256,
        },
        "backends": facts.backends,
        "degraded": facts.degraded,
        "duration_s": _duration_s(records, zero),
        "ticks": 0 if tick is None else len(tick),
        "commands_sent": 0 if moved is None else len(moved),
        "command_gaps": _command_gaps(moved, setup.body.control_hz),
        "tick_us": percentiles(facts.tick_us or ([] if tick is None else tick["tick_wall_us"])),
        "sensor_to_command_us": percentiles(facts.tick_us or ([] if moved is None else moved["sensor_to_command_wall_us"])),
        "frames": len(records.get("frame", ())),
        "observe_ms": percentiles(facts.observe_ms or _observe_ms(records)),
        "surprise": _surprise(records),
        "prediction": {"steps": _prediction(records)},
        "skill": _skill(setup, records, zero),
        "events": events(records, zero),
        "mode_final": Mode(int(sent["mode"][-1])).name.lower() if sent is not None else "boot",
        "energy": _energy(records),
        "rss_mb": facts.rss_mb,
        "log": facts.log,
        "tick_log_sha256": facts.tick_log_sha256,
    }  # fmt: skip
    return report


def _duration_s(records: Arrays, zero: int) -> float:
    ends = [
        int(r["t_ns"][-1]) for name, r in records.items() if len(r) and name in ("tick", "frame")
    ]
    return round((max(ends, default=zero) - zero) / 1e9, 3)


def _command_gaps(moved: npt.NDArray[np.void] | None, control_hz: int) -> int:
    """Gaps of more than 1.5 periods between two MOTION frames of one stretch of motion."""
    if moved is None or len(moved) < 2:
        return 0
    steps = np.diff(moved["t_ns"]) / 1e9 * control_hz
    return int(((steps > 1.5) & (steps < 100)).sum())


def _observe_ms(records: Arrays) -> npt.NDArray[np.float64]:
    if "surprise" not in records:
        return np.zeros(0)
    return records["surprise"]["observe_wall_us"].astype(float) / 1e3


def _surprise(records: Arrays) -> dict[str, dict[str, float]]:
    if "surprise" not in records:
        return {}
    out = {}
    for i, name in enumerate(SURPRISE_CHANNELS):
        found = percentiles(records["surprise"]["value"][:, i])
        if found:
            out[name] = {"p50": found["p50"], "p99": found["p99"]}
    return out


def _prediction(records: Arrays) -> dict[str, dict[str, float]]:
    if "prediction" not in records:
        return {}
    rows = records["prediction"]
    return {
        str(k): {
            "model": round(float(rows["model"][rows["k"] == k].mean()), 6),
            "persistence": round(float(rows["persistence"][rows["k"] == k].mean()), 6),
        }
        for k in sorted(set(rows["k"].tolist()))
    }


def _skill(setup: Setup, records: Arrays, zero: int) -> dict[str, Any]:
    name = setup.settings.skill
    truth = records.get("truth")
    if not setup.is_twin or not setup.has_body or truth is None:
        return {"name": name, "success": False, "metrics": {}}
    during = truth[truth["t_ns"] >= zero]
    active = records.get("sent")
    ran = active is not None and bool((active["mode"] == Mode.ACTIVE).any())
    if not ran or len(during) < 10:
        return {"name": name, "success": False, "metrics": {}}
    result = judge(during, setup.tasks()[name])
    metrics = {k: round(float(v), 4) for k, v in result.metrics.items()}
    return {"name": name, "success": bool(result.success), "metrics": metrics}


def events(records: Arrays, zero: int) -> list[dict[str, Any]]:
    """Every event with its sentence, in order of time."""
    out = []
    for process in REPORTING:
        for r in records.get(f"event.{process}", ()):
            if not r["active"]:
                continue
            event = Event(int(r["code"]))
            text = r["text"].decode(errors="replace")
            values = (float(r["value"][0]), float(r["value"][1]))
            out.append(
                {
                    "t_s": round((int(r["t_ns"]) - zero) / 1e9, 3),
                    "name": event.name.lower(),
                    "effect": EVENTS[event].effect.value,
                    "sentence": sentence(event, values, text),
                    "process": process,
                }
            )
    return sorted(out, key=lambda e: float(e["t_s"]))


def _energy(records: Arrays) -> dict[str, Any]:
    """Motor energy from measured joint currents and battery voltage; the computer is not measured."""
    sensors = records.get("sensors")
    if sensors is None or len(sensors) < 2:
        return {"source": "none"}
    current = np.abs(sensors["current_a"]).sum(1)
    power_w = current * np.nan_to_num(sensors["battery_v"])
    seconds = np.diff(sensors["t_ns"]) / 1e9
    joules = float((power_w[1:] * seconds).sum())
    return {"joules": round(joules, 2), "source": "joint currents x battery voltage (motors only)"}


def story(report: dict[str, Any], html: str) -> list[str]:
    """Ten lines that tell a run."""
    skill, tick, s2c = report["skill"], report["tick_us"], report["sensor_to_command_us"]
    metrics = skill["metrics"]
    driven = ", ".join(f"{k} {v:g}" for k, v in metrics.items()) or "no motion to judge"
    steps = report["prediction"]["steps"]
    best = max(steps, key=int) if steps else ""
    predicted = (
        f"{int(best)} frames ahead: error {steps[best]['model']:.4f}, an unchanged picture {steps[best]['persistence']:.4f}"
        if best
        else "no prediction yet"
    )
    surprise = ", ".join(f"{k} {v['p50']:.3g}" for k, v in report["surprise"].items())
    notable = [e for e in report["events"] if e["effect"] != "note"]
    disarmed = next((e["sentence"] for e in report["events"] if e["name"] == "disarmed"), "")
    reached = "success" if skill["success"] else "NOT reached"
    where = (
        "on a recording" if disarmed else f"on {report['target']} (firmware {report['firmware']})"
    )
    return [
        f"  {report['body']} {where}: {report['duration_s']:.1f} s, mode at the end: {report['mode_final']}",
        f"  {disarmed}" if disarmed else f"  skill {skill['name']}: {reached} ({driven})",
        f"  bundle {report['bundle']['name']} {report['bundle']['version']} on {', '.join(sorted(set(report['backends'].values())))}",
        f"  {report['ticks']} control ticks, {report['commands_sent']} commands sent, {report['command_gaps']} gaps",
        f"  tick {tick.get('p50', 0):.0f} us (p99 {tick.get('p99', 0):.0f}), sensor to command {s2c.get('p50', 0):.0f} us (p99 {s2c.get('p99', 0):.0f})",
        f"  {report['frames']} frames seen, observe {report['observe_ms'].get('p50', 0):.1f} ms (p99 {report['observe_ms'].get('p99', 0):.1f})",
        f"  prediction, {predicted}",
        f"  surprise (typical): {surprise}",
        f"  {len(report['events'])} events, {len(notable)} with an effect" + (f"; first: {notable[0]['sentence']}" if notable else ""),
        f"  the whole run to look at: {html}",
    ]  # fmt: skip


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write the report."""
    write_whole(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside the place and rename there: nothing half-written.

    A device or pipe (`/dev/stdout`) is written to, for a rename would put a file in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    through = path.exists() and not path.is_file() and not path.is_dir()
    work = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        place = path if through else work
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        if not through:
            work.replace(path)
    except OSError as error:
        work.unlink(missing_ok=True)
        raise RuntimeFault(
            f"{path} cannot be written ({error.strerror}); free some disk or choose another folder"
        ) from error
