"""The robot's end of the planner link against real sockets and a real planner process.

Losing the planner in any way is noticed within 2 s, and no step ever waits for it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
import zmq

from runtime.errors import ConfigError
from runtime.planner_link import DEAD_NS, ZmqPlannerLink
from runtime.planner_wire import (
    MAX_BYTES,
    Beat,
    Message,
    Observation,
    PlannedStep,
    Proposed,
    Refused,
    Request,
    check_address,
    decode,
    encode,
    open_socket,
)
from runtime.skills import SKILLS, Proposal

MS = 1_000_000
BELIEF = np.zeros(512, np.float32)
SEEN = {"mode": 2.0, "frame": 100.0, "skill": 1.0, "battery_v": 12.0}


def free_address() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{s.getsockname()[1]}"


@dataclass
class Robot:
    """Steps a link on virtual time and keeps how long each step really took."""

    link: ZmqPlannerLink
    now_ns: int = 0
    took_s: list[float] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)

    def step(self, ms: int = 100) -> None:
        self.now_ns += ms * MS
        start = time.perf_counter()
        proposal = self.link.step(self.now_ns, SEEN, BELIEF)
        self.took_s.append(time.perf_counter() - start)
        if proposal is not None:
            self.proposals.append(proposal)

    def until(self, done: Callable[[], bool], ms: int = 20) -> int:
        """Step `ms` of virtual time per 10 ms until something holds; virtual time [ms] it took."""
        began, end = self.now_ns, time.monotonic() + 8
        while not done():
            assert time.monotonic() < end, "it never came"
            self.step(ms)
            time.sleep(0.01)
        return (self.now_ns - began) // MS

    def never_waited(self) -> None:
        took = np.array(self.took_s)
        assert np.median(took) < 2e-3
        assert (took > 0.1).sum() == 0, "a step waited for the planner"


class PlannerEnd:
    """A bare ROUTER that the test drives message by message."""

    def __init__(self, address: str) -> None:
        self.socket = open_socket(zmq.ROUTER)
        self.socket.bind(address)
        self.robot = b""
        self.heard: list[Message] = []

    def hear(self, wait_ms: int = 0) -> None:
        while self.socket.poll(wait_ms):
            self.robot, *frames = self.socket.recv_multipart()
            message = decode(frames)
            assert message is not None, "the robot speaks only what the wire knows"
            self.heard.append(message)

    def say(self, *frames: bytes) -> None:
        self.socket.send_multipart([self.robot, *frames])

    def last(self, kind: type) -> Message | None:
        return next((m for m in reversed(self.heard) if isinstance(m, kind)), None)


@pytest.fixture
def pair() -> Iterator[tuple[Robot, PlannerEnd]]:
    address = free_address()
    planner = PlannerEnd(address)
    robot = Robot(ZmqPlannerLink(address, "follow for 5 s", 0))
    deadline = time.monotonic() + 5
    while not planner.heard and time.monotonic() < deadline:
        robot.step(600)
        planner.hear(20)
    assert planner.heard
    yield robot, planner
    robot.link.close()
    planner.socket.close()


def meet(robot: Robot, planner: PlannerEnd) -> Request:
    """Beats until the robot asks; its request."""
    loop = 0
    end = time.monotonic() + 5
    while (request := planner.last(Request)) is None:
        assert time.monotonic() < end
        loop += 1
        planner.say(*encode(Beat(loop=loop)))
        time.sleep(0.005)
        robot.step(200)
        planner.hear(5)
    assert isinstance(request, Request)
    return request


def answer(robot: Robot, planner: PlannerEnd, *frames: bytes) -> None:
    """Say something and let the robot hear it."""
    planner.say(*frames)
    for _ in range(5):
        time.sleep(0.004)
        robot.step(1)


def proposed(request: Request, **changes: object) -> Proposed:
    fields = {
        "id": request.id,
        "steps": (PlannedStep("follow", 5.0),),
        "based_on": 100,
        "valid_s": 5.0,
    }
    return Proposed(**{**fields, **changes})  # type: ignore[arg-type]


def test_the_robot_says_what_it_sees_and_asks_for_its_goal(pair) -> None:
    robot, planner = pair
    request = meet(robot, planner)
    assert request.goal == "follow for 5 s" and request.based_on == 100
    assert set(request.skills) == set(SKILLS)
    seen = planner.last(Observation)
    assert isinstance(seen, Observation) and seen.frame == 100 and seen.battery_v == 12.0


def test_a_proposal_for_the_open_request_comes_through_once(pair) -> None:
    robot, planner = pair
    request = meet(robot, planner)
    answer(robot, planner, *encode(proposed(request)))
    (plan,) = robot.proposals
    assert [(s.skill, s.duration_s) for s in plan.steps] == [("follow", 5.0)]
    assert plan.goal == "follow for 5 s" and plan.based_on == 100
    assert plan.expires_ns <= robot.now_ns + 5_000 * MS
    for _ in range(40):
        robot.step(100)
    planner.hear(5)
    assert sum(isinstance(m, Request) for m in planner.heard) == 1, (
        "an answered goal is not asked again"
    )


def test_an_answer_said_again_is_nothing_new(pair) -> None:
    """It would begin a plan anew that the operator may have ended."""
    robot, planner = pair
    request = meet(robot, planner)
    answer(robot, planner, *encode(proposed(request)))
    answer(robot, planner, *encode(proposed(request)))
    answer(robot, planner, *encode(Refused(id=request.id, reason="changed my mind")))
    assert len(robot.proposals) == 1 and not robot.link.refusal


def test_what_is_answered_after_it_was_withdrawn_is_dropped(pair) -> None:
    robot, planner = pair
    request = meet(robot, planner)
    robot.link.withdraw()
    answer(robot, planner, *encode(proposed(request)))
    assert not robot.proposals and robot.link.alive


@pytest.mark.parametrize(
    "answered", [lambda r: proposed(r, id="goal-99"), lambda r: Refused(id="other", reason="x")]
)
def test_answers_to_something_else_are_dropped(pair, answered) -> None:
    robot, planner = pair
    request = meet(robot, planner)
    answer(robot, planner, *encode(answered(request)))
    assert not robot.proposals and not robot.link.refusal


def test_the_planners_refusal_is_kept_with_its_reason(pair) -> None:
    robot, planner = pair
    request = meet(robot, planner)
    answer(robot, planner, *encode(Refused(id=request.id, reason="no such skill")))
    assert robot.link.refusal == "no such skill"


def test_an_unanswered_goal_is_asked_again(pair) -> None:
    robot, planner = pair
    first = meet(robot, planner)
    for loop in range(100, 160):
        planner.say(*encode(Beat(loop=loop)))
        time.sleep(0.002)
        robot.step(100)
    planner.hear(20)
    ids = [m.id for m in planner.heard if isinstance(m, Request)]
    assert ids[0] == first.id and len(set(ids)) == len(ids) >= 2
    answer(robot, planner, *encode(proposed(first)))
    assert not robot.proposals, "the answer to a request that was given up is stale"


GARBAGE = {
    "empty": [b""],
    "noise": [b"\x93\xff\x00not msgpack"],
    "another type": [msgspec.msgpack.encode({"type": "Launch", "schema": 1})],
    "unknown field": [msgspec.msgpack.encode({"type": "Beat", "schema": 1, "loop": 9, "extra": 1})],
    "wrong kind of field": [msgspec.msgpack.encode({"type": "Beat", "schema": 1, "loop": "9"})],
    "another schema": [msgspec.msgpack.encode({"type": "Beat", "schema": 2, "loop": 9})],
    "oversize in sum": [encode(Beat(loop=9))[0], *[b"x" * (MAX_BYTES // 4)] * 5],
}
for bad in ("nan", "inf", "-1", "1e9"):
    plan = Proposed(id="goal-1", steps=(PlannedStep("idle", 1.0),), based_on=1, valid_s=float(bad))
    GARBAGE[f"valid for {bad} s"] = encode(plan)


def test_what_is_not_ours_is_dropped_and_the_link_lives_on(pair) -> None:
    robot, planner = pair
    for name, frames in GARBAGE.items():
        assert decode(frames) is None, name
        answer(robot, planner, *frames)
        assert not robot.link.alive and not robot.proposals, name
    request = meet(robot, planner)
    answer(robot, planner, *encode(proposed(request)))
    assert robot.link.alive and len(robot.proposals) == 1


def test_a_frame_beyond_the_limit_is_never_taken_in(pair) -> None:
    robot, planner = pair
    answer(robot, planner, encode(Beat(loop=5))[0], b"x" * (MAX_BYTES + 1))
    assert not robot.link.alive
    robot.never_waited()


def test_beats_without_progress_are_a_hung_planner(pair) -> None:
    robot, planner = pair
    meet(robot, planner)
    assert robot.link.alive
    stuck = encode(Beat(loop=7))
    answer(robot, planner, *stuck)
    began = robot.now_ns
    while robot.link.alive:
        planner.say(*stuck)
        time.sleep(0.002)
        robot.step(100)
        assert robot.now_ns - began < 2_000 * MS
    answer(robot, planner, *encode(Beat(loop=8)))
    assert robot.link.alive, "it goes on as soon as the planner does"
    robot.never_waited()


@pytest.fixture
def served() -> Iterator[tuple[Robot, subprocess.Popen[str], str]]:
    address = free_address()
    process = serve(address)
    robot = Robot(ZmqPlannerLink(address, "follow for 20 s, then wait 5 s", 0))
    yield robot, process, address
    robot.link.close()
    process.kill()
    process.wait()


def serve(address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tools.companion", "planner", "serve", "--address", address]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_planner_process_that_stops_or_dies_is_noticed_and_may_come_back(served, how) -> None:
    robot, process, address = served
    robot.until(lambda: bool(robot.proposals))
    assert [s.skill for s in robot.proposals[0].steps] == ["follow", "idle"]
    os.kill(process.pid, how)
    assert robot.until(lambda: not robot.link.alive, ms=50) < 2000
    for _ in range(200):  # what it says now fills no queue that a step would wait for
        robot.step(600)
    robot.never_waited()
    second = None
    if how is signal.SIGKILL:
        second = serve(address)
    else:
        os.kill(process.pid, signal.SIGCONT)
    try:
        robot.until(lambda: robot.link.alive, ms=100)
    finally:
        if second is not None:
            second.kill()
            second.wait()


def test_without_any_planner_no_step_waits() -> None:
    robot = Robot(ZmqPlannerLink(free_address(), "follow", 0))
    for _ in range(300):
        robot.step(100)
    assert not robot.link.alive
    robot.never_waited()
    robot.link.close()


@pytest.mark.parametrize(
    "address",
    ["tcp://192.168.1.7:5560", "tcp://0.0.0.0:5560", "tcp://*:5560", "tcp://example.org:5560", "ipc:///tmp/x", "127.0.0.1:5560", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", ""],
)  # fmt: skip
def test_only_loopback_addresses_are_taken(address: str) -> None:
    with pytest.raises(ConfigError, match="not on this machine|not of the form"):
        check_address(address)


def test_the_life_time_is_below_two_seconds() -> None:
    assert DEAD_NS < 2_000 * MS
