"""Skills as the mind knows them, and the runner that steps through a proposed plan.

A plan is a sequence of skills with a time each; it is refused as a whole when it names an unknown
skill, is built on an old observation, or has expired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.goal import MASK

MAX_STEPS = 32
MAX_STEP_S = 600.0
MAX_AGE_FRAMES = 60  # a plan built on an observation older than 3 s is stale


@dataclass(frozen=True, slots=True)
class Skill:
    """One skill: its place in the bundle's one-hot list, and all that a plan has to know of it."""

    name: str
    index: int
    does: str
    needs: tuple[str, ...]  # the parts of the goal it is given, where they are known
    requires: tuple[str, ...]  # those of them without which it has nothing to go by
    precondition: str
    expected: str  # outcome
    success: str  # the test on what is measured
    timeout_s: float
    cost: float  # seconds it usually takes
    driven_by: str  # "policy" or "script"
    distance_m: float | None = None  # its usual distance, where it keeps one


TABLE = (
    Skill(
        "idle", 0, "stands still, motors on",
        needs=(), requires=(),
        precondition="none",
        expected="the base stands where it stood",
        success="wheel speeds are 0",
        timeout_s=600.0, cost=0.0, driven_by="script",
    ),
    Skill(
        "follow", 1, "follows the person of the goal's colour at 1.2 m",
        needs=("distance", "appearance"), requires=(),
        precondition="the person is in the room",
        expected="the person is in view and within 1 m of the distance",
        success="seen for 90 % of the time after 3 s, within 1 m of the distance for 90 %, bumper silent",
        timeout_s=600.0, cost=20.0, driven_by="policy", distance_m=1.2,
    ),
    Skill(
        "approach", 2, "goes to the person of the goal's colour and stops 0.8 m in front, facing them",
        needs=("distance", "appearance"), requires=(),
        precondition="the person is in the room, and a way leads there",
        expected="at rest in front of the person, facing them",
        success="within 0.3 m of the distance, person seen within 25 degrees of straight ahead, below 0.1 m/s, for 1 s; bumper silent",
        timeout_s=15.0, cost=5.0, driven_by="policy", distance_m=0.8,
    ),
    Skill(
        "look_at", 3, "looks at the person of the goal's colour from where it stands",
        needs=("appearance",), requires=(),
        precondition="the person is in view, or was a moment ago",
        expected="the person stays in the middle of the view, the base in its place",
        success="person within 15 degrees of the camera's axis for 85 % of the time after 3 s, base within 0.15 m of its start, bumper silent",
        timeout_s=15.0, cost=3.0, driven_by="policy",
    ),
    Skill(
        "search", 4, "turns in place until it sees the person of the goal's colour, then looks at them",
        needs=("appearance",), requires=(),
        precondition="room to turn in place",
        expected="the person is in the middle of the view",
        success="person seen within 20 degrees of the camera's axis for 1 s, bumper silent",
        timeout_s=15.0, cost=4.0, driven_by="policy",
    ),
    Skill(
        "go_to", 5, "drives to the goal's place, and turns to its heading where there is one",
        needs=("position", "heading"), requires=("position",),
        precondition="the goal has a place, and a way leads there",
        expected="at rest at the place",
        success="odometry within 0.2 m of the place, below 0.05 m/s for 0.5 s, bumper silent",
        timeout_s=15.0, cost=5.0, driven_by="policy",
    ),
)  # fmt: skip
SKILLS = {skill.name: skill for skill in TABLE}


def possible(known: tuple[str, ...], goal: npt.NDArray[np.float32]) -> tuple[str, ...]:
    """Those of the `known` skills that have all they require in the goal (12,)."""
    return tuple(
        name for name in known
        if name in SKILLS and all(goal[MASK[part]] for part in SKILLS[name].requires)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan."""

    skill: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a planner proposes."""

    id: str
    goal: str
    steps: tuple[Step, ...]
    based_on: int  # number of the frame the planner knew
    expires_ns: int


class PlanRunner:
    """Executes one plan at a time, of the skills that the bundle knows."""

    def __init__(self, known: tuple[str, ...] = tuple(SKILLS)) -> None:
        self._known = known
        self._plan: Proposal | None = None
        self._step = 0
        self._step_end_ns = 0
        self._asked_ns = 0
        self._finished = ""

    @property
    def running(self) -> bool:
        """True while a plan is being executed."""
        return self._plan is not None

    def check(self, proposal: Proposal, now_ns: int, frame: int) -> str:
        """Why a proposal is refused, or an empty string."""
        if not proposal.steps or len(proposal.steps) > MAX_STEPS:
            return f"{len(proposal.steps)} steps, allowed 1 to {MAX_STEPS}"
        for step in proposal.steps:
            if step.skill not in self._known:
                return f"no skill {step.skill}: known are {', '.join(self._known)}"
            if not 0 < step.duration_s <= MAX_STEP_S:
                return f"{step.skill} for {step.duration_s:g} s, allowed up to {MAX_STEP_S:g} s"
        if now_ns > proposal.expires_ns:
            return "it expired before it came"
        if not 0 <= frame - proposal.based_on <= MAX_AGE_FRAMES:
            return f"it is based on frame {proposal.based_on}, now is frame {frame}"
        return ""

    def start(self, proposal: Proposal, now_ns: int) -> None:
        """Begin a checked proposal; a running plan is replaced."""
        self._plan = proposal
        self._step, self._asked_ns = 0, now_ns
        self._step_end_ns = now_ns + round(proposal.steps[0].duration_s * 1e9)

    def skill(self, now_ns: int, goes_on: bool = True) -> str | None:
        """The skill of the present step, or None when no plan runs.

        Its time passes only while the robot `goes_on`: one that waits to be engaged, or pauses, has all
        of its plan before it.
        """
        plan = self._plan
        if plan is None:
            return None
        if not goes_on:
            self._step_end_ns += now_ns - self._asked_ns
        self._asked_ns = now_ns
        while now_ns >= self._step_end_ns:
            self._step += 1
            if self._step >= len(plan.steps):
                self._finished, self._plan = plan.goal, None
                return None
            self._step_end_ns += round(plan.steps[self._step].duration_s * 1e9)
        return plan.steps[self._step].skill

    def finish_current(self) -> None:
        """The planner is gone: the present step ends the plan."""
        if self._plan is not None:
            steps = self._plan.steps[: self._step + 1]
            self._plan = Proposal(
                self._plan.id, self._plan.goal, steps, self._plan.based_on, self._plan.expires_ns
            )

    def finished(self) -> str:
        """The goal of a plan that has just ended, once; else an empty string."""
        done, self._finished = self._finished, ""
        return done

    def drop(self) -> None:
        """Forget the plan."""
        self._plan = None

    def progress(self) -> tuple[int, int]:
        """Steps of the running plan, and which one is on (from 1); zeros without a plan."""
        if self._plan is None:
            return 0, 0
        return len(self._plan.steps), self._step + 1
