"""What the page shows, read from the channels: one JSON state, and two pictures."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from runtime.channels import REPORTING, Channels
from runtime.conditions import CONDITIONS, Condition
from runtime.controller import LINK_STATES
from runtime.events import EVENTS, Event, sentence
from runtime.modes import Mode
from runtime.skills import SKILLS
from runtime.surprise import FLAGS, SURPRISE_CHANNELS
from tools.compose import Setup

EDGES_US = (0, 50, 100, 150, 200, 300, 400, 600, 800, 1200, 2000, 4000, 8000)
KEPT_EVENTS = 40


class View:
    """Reads all channels the page needs."""

    def __init__(self, setup: Setup, channels: Channels) -> None:
        self._setup = setup
        self._skills = [SKILLS[name] for name in setup.skills() if name in SKILLS]
        names = ("status", "sensors", "surprise", "frame", "expected", "intent", "health", "tick", "prediction")  # fmt: skip
        self._r = {name: channels.reader(name) for name in names}
        self._event_readers = {p: channels.reader(f"event.{p}") for p in REPORTING}
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._histogram = np.zeros(len(EDGES_US), np.int64)
        self._prediction: dict[int, tuple[float, float]] = {}
        thresholds = setup.bundle.manifest.surprise
        self._levels = [
            FLAGS.get(name, thresholds[name].event if name in thresholds else None)
            for name in SURPRISE_CHANNELS
        ]

    def collect(self) -> None:
        """Take in what came since the last call."""
        for record in self._r["tick"].drain():
            place = int(np.searchsorted(EDGES_US, float(record["tick_wall_us"]), "right")) - 1
            self._histogram[max(0, place)] += 1
        for record in self._r["prediction"].drain():
            self._prediction[int(record["k"])] = (
                float(record["model"]),
                float(record["persistence"]),
            )
        for process, reader in self._event_readers.items():
            for record in reader.drain():
                self._events.append(_event(process, record))
        for name in ("status", "sensors", "surprise", "frame", "expected", "intent", "health"):
            self._r[name].latest()

    def state(self, now_ns: int, clients: int) -> dict[str, Any]:
        """The page's JSON."""
        status, health = self._r["status"].record, self._r["health"].record
        skill = int(self._r["intent"].record["skill"])
        return {
            "t_ms": now_ns // 1_000_000,  # a page that drives says which of them it has seen
            "target": self._setup.settings.target.upper(),
            "robot": self._setup.body.name,
            "bundle": f"{self._setup.bundle.manifest.name} {self._setup.bundle.manifest.version}",
            "mode": Mode(int(status["mode"])).name.lower(),
            "stale": self._r["status"].stale(now_ns),
            "skill": next((s.name for s in SKILLS.values() if s.index == skill), "?"),
            "skills": [{"name": s.name, "does": s.does} for s in self._skills],
            "conditions": self._conditions(int(status["conditions"])),
            "joints": self._joints(),
            "surprise": self._surprise(),
            "prediction": {str(k): v for k, v in sorted(self._prediction.items())},
            "ticks": {"edges_us": EDGES_US, "counts": self._histogram.tolist()},
            "events": list(self._events),
            "battery_v": round(float(status["battery_v"]), 2),
            "speed_cap_m_s": round(float(status["speed_cap"]), 3),
            "link": LINK_STATES[int(status["link"])].value,
            "rtt_us": round(float(status["rtt_us"])),
            "commands": int(status["commands"]),
            "planner": bool(health["planner"]),
            "plan": [int(health["plan_step"]), int(health["plan_steps"])],
            "disarmed": bool(status["disarmed"]),
            "clients": clients,
        }

    def pictures(self) -> tuple[int, bytes]:
        """Frame number, and seen and expected RGB bytes one after the other."""
        frame, expected = self._r["frame"].record, self._r["expected"].record
        return int(frame["number"]), frame["pixels"].tobytes() + expected["pixels"].tobytes()

    def _conditions(self, bits: int) -> list[dict[str, Any]]:
        twin = self._setup.is_twin
        return [
            {"name": name, "ok": bool(bits & flag), "fix": fix}
            for flag, (name, fix) in CONDITIONS.items()
            if not (twin and flag is Condition.OPERATOR)
        ]

    def _joints(self) -> list[dict[str, Any]]:
        s = self._r["sensors"].record
        return [
            {
                "name": name,
                "position_rad": round(float(s["position_rad"][i]), 3),
                "velocity_rad_s": round(float(s["velocity_rad_s"][i]), 3),
                "current_a": round(float(s["current_a"][i]), 3),
            }
            for i, name in enumerate(self._setup.body.joint_names)
        ]

    def _surprise(self) -> list[dict[str, Any]]:
        record = self._r["surprise"].record
        out = []
        for i, name in enumerate(SURPRISE_CHANNELS):
            value = float(record["value"][i])
            out.append(
                {
                    "name": name,
                    "value": round(value, 5) if np.isfinite(value) else None,
                    "level": self._levels[i],
                    "above": bool(int(record["above"]) >> i & 1),
                }
            )
        return out


def _event(process: str, record: Any) -> dict[str, Any]:
    event = Event(int(record["code"]))
    values = (float(record["value"][0]), float(record["value"][1]))
    return {
        "t_s": round(int(record["t_ns"]) / 1e9, 2),
        "process": process,
        "effect": EVENTS[event].effect.value,
        "over": not record["active"],
        "sentence": sentence(event, values, record["text"].item().decode(errors="replace")),
    }
