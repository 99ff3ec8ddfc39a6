"""Goals in words to sequences of skills, and the loop that serves them."""

import pytest
import zmq

from runtime.planner_wire import Beat, Observation, Proposed, Refused, Request, decode, encode
from runtime.skills import MAX_STEP_S, SKILLS
from tools.planner import BEAT_NS, DEFAULT_STEP_S, WORDS, PlanError, Planner, plan_goal

ALL = tuple(SKILLS)
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("goal", "steps"),
    [
        ("follow", [("follow", DEFAULT_STEP_S)]),
        ("Follow me for 20 s, then wait 5 s", [("follow", 20), ("idle", 5)]),
        ("come along for 1.5 min; rest 10 seconds", [("follow", 90), ("idle", 10)]),
        ("wait 3 sec and then follow and stop", [("idle", 3), ("follow", 20), ("idle", 20)]),
        ("  accompany her for 2 minutes , ", [("follow", 120)]),
        (
            "find me, come near for 9 s, then look at me 4 s",
            [("search", 20), ("approach", 9), ("look_at", 4)],
        ),
        ("look for her", [("search", 20)]),
        ("go to the door, approach her", [("go_to", 20), ("approach", 20)]),
        (
            "go_to; look_at 3 s; search; watch her",
            [("go_to", 20), ("look_at", 3), ("search", 20), ("look_at", 20)],
        ),
        (f"wait {MAX_STEP_S:g} s", [("idle", MAX_STEP_S)]),
        ("follow for 1 min 30 s", [("follow", 90)]),
    ],
)
def test_a_goal_becomes_steps(goal: str, steps: list[tuple[str, float]]) -> None:
    assert [(s.skill, s.duration_s) for s in plan_goal(goal, ALL)] == steps


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        ("", "the goal is empty"),
        (" , ; ", "the goal is empty"),
        ("dance", "no skill in 'dance': use idle, follow"),
        ("follow 5 s, then fly", "no skill in 'fly'"),
        ("wait 11 min", "asks for 660 s; a step takes up to 600 s"),
        ("wait 0 s", "asks for 0 s"),
        ("don't come near me", "says what not to do"),
        ("don\u2019t follow", "says what not to do"),
        ("do not follow me for 5 s", "says what not to do"),
        ("wait 5 s, then never follow her", "says what not to do"),
        ("go away", "says what not to do"),
        ("approach to 2 m", "'2 m' in 'approach to 2 m' is no time"),
        ("wait 500 ms", "'500 ms' in 'wait 500 ms' is no time"),
        ("follow for 2 hours", "'2 hours' in .* is no time"),
        ("dont come near me", "says what not to do"),
        ("you cannot approach me", "says what not to do"),
        ("look at me or approach", "names look_at and approach"),
        ("follow me for ten minutes", "'minutes' in .* is no time"),
        ("follow for half an hour", "'half' in .* is no time"),
        ("follow for -5 s", "asks for -5 s"),
        ("wait 5", "'5' in 'wait 5' is no time"),
        ("wait 1,5 s", "'1' in 'wait 1' is no time"),
    ],
)
def test_a_goal_that_becomes_none_says_why(goal: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        plan_goal(goal, ALL)


def test_every_skill_has_a_word() -> None:
    assert set(WORDS.values()) == set(SKILLS)
    assert all(WORDS[name] == name for name in SKILLS)


def test_only_skills_of_the_robot_are_proposed() -> None:
    with pytest.raises(PlanError, match="use idle, as in"):
        plan_goal("follow", ("idle",))


class Pair:
    """A planner and the robots that talk to it, in one process."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        router = self.context.socket(zmq.ROUTER)
        self.sockets = [router]
        router.bind("inproc://planner")
        self.planner = Planner(router)
        self.t_ns = 0
        self.said: list[str] = []

    def robot(self) -> "zmq.Socket[bytes]":
        socket = self.context.socket(zmq.DEALER)
        self.sockets.append(socket)
        socket.connect("inproc://planner")
        return socket

    def step(self, ms: int = 10) -> None:
        self.t_ns += ms * 1_000_000
        self.said += self.planner.step(self.t_ns, 20)

    def close(self) -> None:
        for socket in self.sockets:
            socket.close(linger=0)
        self.context.term()


@pytest.fixture
def pair():
    it = Pair()
    yield it
    it.close()


def answers(socket: "zmq.Socket[bytes]") -> list[object]:
    found = []
    while socket.poll(20):
        found.append(decode(socket.recv_multipart()))
    return found


def ask(goal: str) -> list[bytes]:
    return encode(Request(id="g1", goal=goal, skills=ALL, based_on=7, within_s=3.0))


def test_a_request_is_answered_to_the_robot_that_asked(pair: Pair) -> None:
    one, other = pair.robot(), pair.robot()
    other.send_multipart(encode(Beat(loop=1)))
    pair.step()
    one.send_multipart(ask("follow 3 s"))
    pair.step()
    (proposal,) = [m for m in answers(one) if isinstance(m, Proposed)]
    assert proposal.id == "g1" and proposal.based_on == 7 and proposal.valid_s > 0
    assert not any(isinstance(m, Proposed) for m in answers(other))


def test_a_goal_that_cannot_be_planned_is_refused_with_the_reason(pair: Pair) -> None:
    robot = pair.robot()
    robot.send_multipart(ask("dance"))
    pair.step()
    (refusal,) = [m for m in answers(robot) if isinstance(m, Refused)]
    assert "no skill in 'dance'" in refusal.reason
    assert "refused" in pair.said[-1]


def test_beats_carry_progress_and_end_with_the_robot(pair: Pair) -> None:
    robot = pair.robot()
    robot.send_multipart(encode(Beat(loop=1)))
    for _ in range(5):
        pair.step(BEAT_NS // 1_000_000)
    loops = [m.loop for m in answers(robot) if isinstance(m, Beat)]
    assert len(loops) >= 4 and loops == sorted(set(loops))
    pair.step(4000)
    assert any("has gone" in line for line in pair.said)
    answers(robot)
    pair.step(1000)
    assert not answers(robot)


@pytest.mark.parametrize("frames", [[b""], [b"noise"], [b"x" * (1 << 20)]], ids=["empty", "noise", "huge"])  # fmt: skip
def test_noise_does_no_harm(pair: Pair, frames: list[bytes]) -> None:
    stranger, robot = pair.robot(), pair.robot()
    stranger.send_multipart(frames)
    pair.step()
    robot.send_multipart(ask("follow"))
    pair.step()
    assert any(isinstance(m, Proposed) for m in answers(robot))


def test_it_keeps_the_newest_observation_of_each_robot(pair: Pair) -> None:
    robot = pair.robot()
    for frame in (1, 2):
        robot.send_multipart(encode(Observation(frame=frame, mode="2", skill="1", battery_v=12.0)))
        pair.step()
    assert [o.frame for o in pair.planner.newest.values()] == [2]
