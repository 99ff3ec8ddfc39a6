"""The mind: which skill, towards which goal, and whether the machine is fit to go on (10 Hz).

It talks to the controller through its channel alone, and carries the goal along with odometry. A
planner may propose sequences of skills; without one the chosen skill simply goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runtime.channels import Channels
from runtime.conditions import MIND_CHECKS
from runtime.event_log import EventLog
from runtime.events import Event
from runtime.goal import MASK, VALUES, goal_now
from runtime.machine import MachineState
from runtime.modes import Mode
from runtime.odometry import Odometry, WheelGeometry
from runtime.sight import Sight
from runtime.skills import SKILLS, PlanRunner, Proposal
from runtime.watch import Watch, WatchConfig
from runtime.whom import Whom

Float32 = npt.NDArray[np.float32]
INTENT_LIFE_NS = 400_000_000
SEARCH = "search"
RECOVERED_V = 0.6  # above the least voltage a low battery counts as charged


class PlannerLink(Protocol):
    """The edge to a planner; never blocks."""

    alive: bool
    refusal: str  # why the planner made no plan of the goal, or empty

    def step(self, now_ns: int, observation: dict[str, float], belief: Float32) -> Proposal | None:
        """Exchange what is due; a proposal that has come, if any."""

    def refuse(self, proposal: Proposal, reason: str) -> None:
        """Tell the planner why its proposal is not executed."""

    def withdraw(self) -> bool:
        """What the planner still answers is void; whether an answer was awaited."""

    def close(self) -> None:
        """Leave."""


class Machine(Protocol):
    """Reads temperature, memory, disk."""

    def read(self, now_ns: int) -> MachineState:
        """The newest readings; cheap."""


@dataclass(frozen=True, slots=True)
class MindConfig:
    """What a run starts with."""

    skill: str
    goal: Float32  # (12,) in the base frame at the start: all that any skill may be asked for
    engage: bool
    allow_motion: bool
    wheels: WheelGeometry
    skills: tuple[str, ...]  # that the bundle knows and the goal allows
    hues: Mapping[str, float]  # of the people that it tells apart
    min_memory_mb: float = 200.0
    min_disk_mb: float = 200.0
    max_temperature_c: float = 90.0
    min_battery_v: float = 0.0  # 0: no gauge, or nobody says
    watch: WatchConfig | None = None  # None: a run without a body has nothing to watch


class Mind:
    """See the module's text."""

    def __init__(
        self,
        channels: Channels,
        config: MindConfig,
        machine: Machine,
        planner: PlannerLink | None = None,
    ) -> None:
        self.config, self.planner = config, planner
        self._machine = machine
        self._events = EventLog(channels.writer("event.mind", "mind"))
        self._intent = channels.writer("intent", "mind")
        self._health = channels.writer("health", "mind")
        self._status = channels.reader("status")
        self._operator = channels.reader("operator")
        self._belief = channels.reader("belief")
        self._people = channels.reader("people")
        self._surprise = channels.reader("surprise")
        self._skill_changes = 0
        self._ended = (0, 0, 0)  # stops, disengages and presses of the stick that were heard
        self._skills = config.skills  # those that are possible now
        self.skill = config.skill
        self._restarted = int(self._intent.record["t_ns"]) > 0  # another mind has died in this run
        self.runner = PlanRunner(config.skills)
        self.odometry = Odometry(config.wheels)
        self._sight = Sight(config.hues)
        self._whom = Whom(config.hues)
        self._meant = ""  # whom it chose, when that was last told
        self._watch = Watch(channels, config.watch, self._events) if config.watch else None
        self._sensors = channels.reader("sensors")
        self._planner_was_alive = False
        self._refusal = ""

    def step(self, now_ns: int) -> None:
        """One decision."""
        for reader in (self._status, self._operator, self._belief, self._surprise):
            reader.latest()
        for batch in self._sensors.drain():
            self.odometry.step(batch)
            if self._watch is not None:
                self._watch.sense(batch)
        if self._watch is not None:
            self._watch.step(now_ns)
        self._check_machine(now_ns)
        if self._restarted:
            self._restarted = False
            self._take_over(now_ns)
        self._hear_operator(now_ns)
        self._hear_planner(now_ns)
        planned = self.runner.skill(now_ns, int(self._status.record["mode"]) == Mode.ACTIVE)
        finished = self.runner.finished()
        if finished:
            self._events.note(now_ns, Event.PLAN_DONE, text=finished)
            self.skill = "idle"
        self._publish(now_ns, self._seeking(now_ns, planned or self.skill))

    def _take_over(self, now_ns: int) -> None:
        """Go on with the operator's choice, or the run's: nothing that went by what the dead mind knew.

        That is a plan, and a place that was carried along by odometry.
        """
        r = self._operator.record
        self._ended = int(r["stops"]), int(r["disengages"]), int(r["press"])
        self._skills = tuple(s for s in self._skills if not SKILLS[s].requires)
        self.runner = PlanRunner(self._skills)
        self._skill_changes = int(r["skill_changes"])
        if self._skill_changes:
            self.skill = _named(int(r["skill"]))
        stood = int(self._intent.record["skill"]) == SKILLS["idle"].index
        planned = self.planner is not None and self.planner.withdraw() and not self._skill_changes
        if stood or planned or self.skill not in self._skills:
            self.skill = "idle"
        self._events.note(now_ns, Event.SKILL_CHANGED, text=self.skill)

    def close(self) -> None:
        """Leave the planner."""
        if self.planner is not None:
            self.planner.close()

    def _publish(self, now_ns: int, skill: str) -> None:
        r = self._intent.record
        r["expires_ns"] = now_ns + INTENT_LIFE_NS
        r["skill"] = SKILLS[skill].index
        r["allow"] = self.config.allow_motion
        r["engage"] = self.config.engage and self.config.allow_motion
        r["speed_cap"] = 0.0
        r["goal"] = self._goal(skill)
        self._intent.publish(now_ns)
        h = self._health.record
        h["planner"] = self.planner is not None and self.planner.alive
        h["plan_steps"], h["plan_step"] = self.runner.progress()
        self._health.publish(now_ns)

    def _seeking(self, now_ns: int, skill: str) -> str:
        """The skill, or a search in its place while the person it has to do with is out of sight."""
        mode = int(self._status.record["mode"])
        moving = mode == Mode.ACTIVE
        for record in self._people.drain():
            t_ns, people = int(record["t_ns"]), record["person"][: int(record["count"])]
            if not self._says_whom:
                self._whom.step(t_ns, people)
            if moving:
                self._sight.step(t_ns, people, self._goal(skill))
        parked = mode not in (Mode.ACTIVE, Mode.HOLD)
        if parked or not (self._meant or self._chooses(skill)):
            self._whom.forget()  # it goes on watching: whoever is near when it sets off is meant
        if not moving:
            self._sight.forget(now_ns)
        if self._whom.name not in ("", self._meant):
            self._events.note(now_ns, Event.SOMEBODY, text=self._whom.name)
        self._meant = self._whom.name
        nobody = moving and self._chooses(skill) and not self._whom.name
        keeps = SKILLS[skill].distance_m is not None  # who only looks at somebody waits for them
        lost = ((self._sight.lost and keeps) or nobody) and SEARCH in self.config.skills
        self._events.keep(now_ns, Event.OUT_OF_SIGHT, lost)
        return SEARCH if lost else skill

    @property
    def _says_whom(self) -> bool:
        return bool(self.config.goal[MASK["appearance"]])

    def _chooses(self, skill: str) -> bool:
        """Whether the skill has to do with a person, and the goal says not with whom."""
        needs = "appearance" in SKILLS[skill].needs
        return needs and self._whom.can_choose and not self._says_whom

    def _goal(self, skill: str) -> Float32:
        """What this skill needs of the goal; its usual distance where the goal's is another's."""
        goal = goal_now(self.config.goal, self.odometry.pose, SKILLS[skill].needs)
        if skill != self.config.skill and goal[MASK["distance"]]:
            goal[VALUES["distance"]] = SKILLS[skill].distance_m
        # a search for nobody yet has some colour too, or it would turn by a mixture of everybody
        if self._chooses(skill) and (self._whom.name or skill == SEARCH):
            goal[VALUES["appearance"]], goal[MASK["appearance"]] = self._whom.colour, 1.0
        return goal

    def _check_machine(self, now_ns: int) -> None:
        c, m, e = self.config, self._machine.read(now_ns), self._events
        battery_v = float(self._status.record["battery_v"])
        e.keep(now_ns, Event.MEMORY_LOW, m.memory_mb < c.min_memory_mb, m.memory_mb)
        e.keep(now_ns, Event.DISK_LOW, m.disk_mb < c.min_disk_mb, m.disk_mb)
        hot = m.temperature_c is not None and m.temperature_c > c.max_temperature_c
        e.keep(now_ns, Event.TOO_HOT, hot, m.temperature_c or 0.0)
        # at rest it recovers: without a distance it would pause and go on for ever
        enough_v = c.min_battery_v + RECOVERED_V * (Event.BATTERY_LOW in e.active)
        low = 0.0 < battery_v < enough_v
        e.keep(now_ns, Event.BATTERY_LOW, low, battery_v)
        bits = int(MIND_CHECKS)
        for event, condition in m.CONDITION_OF.items():
            if event in e.active:
                bits &= ~int(condition)
        self._health.record["conditions"] = bits

    def _hear_operator(self, now_ns: int) -> None:
        r = self._operator.record
        ended = int(r["stops"]), int(r["disengages"]), int(r["press"])
        stopped = int(self._status.record["mode"]) in (Mode.STOPPED, Mode.FAULT)
        if ended != self._ended or (stopped and self.runner.running):
            by_hand = ended[2] != self._ended[2]
            self._ended = ended
            if self._end_plan("idle" if self.runner.running else self.skill):
                text = "driven by hand" if by_hand else "it was stopped"
                self._events.note(now_ns, Event.PLAN_ENDED, text=text)
        changes = int(r["skill_changes"])
        if changes == self._skill_changes:
            return
        self._skill_changes = changes
        wanted = _named(int(r["skill"]))
        if wanted in self._skills:
            self._end_plan(wanted)
            self._events.note(now_ns, Event.SKILL_CHANGED, text=self.skill)
        elif wanted in self.config.skills:
            self._events.note(now_ns, Event.SKILL_REFUSED, text=wanted)

    def _end_plan(self, skill: str) -> bool:
        """The operator's word: this skill, and no plan, not even one still being made; whether one was."""
        self.skill = skill
        was = self.runner.running
        self.runner.drop()
        awaited = self.planner is not None and self.planner.withdraw()
        return was or awaited

    def _hear_planner(self, now_ns: int) -> None:
        if self.planner is None:
            return
        observation = {
            "mode": float(self._status.record["mode"]),
            "frame": float(self._belief.record["number"]),
            "skill": float(SKILLS[self.skill].index),
            "battery_v": float(self._status.record["battery_v"]),
        }
        proposal = self.planner.step(now_ns, observation, self._belief.record["belief"])
        if self.planner.alive != self._planner_was_alive:
            self._planner_was_alive = self.planner.alive
            event = Event.PLANNER_BACK if self.planner.alive else Event.PLANNER_LOST
            self._events.note(now_ns, event)
            if not self.planner.alive and self.runner.running:
                self.runner.finish_current()
        if self.planner.refusal != self._refusal:
            self._refusal = self.planner.refusal
            self._events.note(now_ns, Event.PLAN_REJECTED, text=f"by the planner: {self._refusal}")
        if proposal is None:
            return
        reason = self.runner.check(proposal, now_ns, int(self._belief.record["number"]))
        if reason:
            self._events.note(now_ns, Event.PLAN_REJECTED, text=reason)
            self.planner.refuse(proposal, reason)
            return
        self.runner.start(proposal, now_ns)
        names = " ".join(step.skill for step in proposal.steps)
        self._events.note(now_ns, Event.PLAN_STARTED, len(proposal.steps), text=names)


def _named(index: int) -> str:
    """The skill of an index that came over a channel; empty where there is none."""
    return next((s.name for s in SKILLS.values() if s.index == index), "")
