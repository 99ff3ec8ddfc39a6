"""The mind on real channels in memory, for the tests of what it decides."""

from models.layout import goal_vector
from runtime.body import load_body
from runtime.channels import channel_table
from runtime.conditions import Condition
from runtime.events import Event
from runtime.lockstep import START_NS, Clockwork, LockstepChannels
from runtime.machine import MachineState
from runtime.mind import Mind, MindConfig
from runtime.odometry import WheelGeometry
from runtime.planner_link import ZmqPlannerLink
from runtime.skills import SKILLS

MS = 1_000_000
GOAL = goal_vector(distance_m=1.2, appearance=(0.9, 0.1, 0.1))
CONFIG = MindConfig(
    skill="follow", goal=GOAL, engage=True, allow_motion=True,
    wheels=WheelGeometry.drawn(load_body("companion").geometry), skills=tuple(SKILLS), hues={},
)  # fmt: skip
FIT = MachineState(1e6, 1e6, 40.0)


class Machine:
    """A computer whose state the test sets."""

    def __init__(self) -> None:
        self.state = FIT

    def read(self, now_ns: int) -> MachineState:
        return self.state


class Rig:
    def __init__(self, config: MindConfig = CONFIG, planner: ZmqPlannerLink | None = None) -> None:
        self.clockwork = Clockwork()
        self.channels = LockstepChannels(channel_table(8, (4, 4, 3)), self.clockwork, {})
        self.machine = Machine()
        self.intent = self.channels.reader("intent")
        self.health = self.channels.reader("health")
        self._events = self.channels.reader("event.mind")
        self.operator = self.channels.writer("operator", "console")
        self.sensors = self.channels.writer("sensors", "controller")
        self.status = self.channels.writer("status", "controller")
        self.belief = self.channels.writer("belief", "perception")
        self.people = self.channels.writer("people", "perception")
        self.mind = Mind(self.channels, config, self.machine, planner)
        self.now_ns = START_NS
        self.said: list[Event] = []
        self.texts: list[str] = []

    def step(self, ms: int = 100) -> None:
        self.now_ns += ms * MS
        self.mind.step(self.now_ns)
        self.clockwork.run(self.now_ns)
        self.intent.latest()
        self.health.latest()
        told = [r for r in self._events.drain() if r["active"]]
        self.said += [Event(int(r["code"])) for r in told]
        self.texts += [r["text"].item().decode() for r in told if r["text"]]

    @property
    def skill(self) -> str:
        return next(s.name for s in SKILLS.values() if s.index == self.intent.record["skill"])

    @property
    def lacking(self) -> Condition:
        fit = Condition.TEMPERATURE | Condition.MEMORY | Condition.DISK | Condition.BATTERY
        return fit & ~Condition(int(self.health.record["conditions"]))
