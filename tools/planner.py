"""`companion planner serve` and `companion plan`: goals in words to sequences of skills."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass

import zmq

from runtime.clock import now_ns
from runtime.errors import ConfigError, RuntimeFault
from runtime.planner_wire import (
    DEFAULT_ADDRESS,
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
from runtime.skills import MAX_STEP_S, SKILLS

BEAT_NS = 300_000_000
VALID_S = 5.0
DEFAULT_STEP_S = 20.0
WORDS = {
    "follow": "follow", "come": "follow", "accompany": "follow",
    "approach": "approach", "near": "approach",
    "look": "look_at", "look_at": "look_at", "watch": "look_at", "face": "look_at",
    "search": "search", "find": "search", "seek": "search",
    "go": "go_to", "go_to": "go_to", "drive": "go_to",
    "idle": "idle", "wait": "idle", "stop": "idle", "stand": "idle", "rest": "idle", "stay": "idle",
}  # fmt: skip
# no "m": in "approach to 2 m" it is a way
UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "minutes": 60.0}  # fmt: skip
CLAUSE = re.compile(r"\s*(?:,|;|\band then\b|\bthen\b|\band\b)\s*")
TIME = re.compile(r"(-?\d+(?:\.\d+)?)\s*([a-z]*)")
SPELT = re.compile(r"\b(?:sec(?:ond)?s?|min(?:ute)?s?|hours?|half)\b")
DENIED = re.compile(
    r"\b(?:not|cannot|no|never|neither|nor|nobody|without|avoid|away)\b|\b(?:do|does|ca|wo|should|must|is)nt\b|\b\w*n['\u2019]t\b"
)


class PlanError(RuntimeFault):
    """A goal that becomes no plan."""


def plan_goal(goal: str, skills: tuple[str, ...]) -> tuple[PlannedStep, ...]:
    """Skills with times for a goal like "follow me for 20 s, then wait 5 seconds".

    Raises:
        PlanError: a clause names no known skill, says what not to do, or has a number that is no
            time in range. Nothing is guessed: "don't come near me" holds every word of an approach.
    """
    steps = []
    for clause in filter(None, CLAUSE.split(goal.strip().lower())):
        denied = DENIED.search(clause)
        if denied:
            raise PlanError(
                f"'{clause}' says what not to do ('{denied[0]}'); say what to do, as in 'wait 5 s'"
            )
        clause = clause.replace("look for", "search for").replace("come near", "approach")
        named = [WORDS[w] for w in re.findall(r"[a-z_]+", clause) if w in WORDS]
        if len(set(named)) > 1:
            raise PlanError(
                f"'{clause}' names {' and '.join(dict.fromkeys(named))}: put 'then' between two things to do"
            )
        if not named or named[0] not in skills:
            raise PlanError(
                f"no skill in '{clause}': use {', '.join(skills)}, as in 'follow for 20 s, then wait 5 s'"
            )
        times = TIME.findall(clause)
        strange = [f"{n} {u}".strip() for n, u in times if u not in UNITS]
        strange += SPELT.findall(TIME.sub("", clause))
        if strange:
            raise PlanError(
                f"'{strange[0]}' in '{clause}' is no time: give seconds or minutes, as in '5 s' or '2 min'"
            )
        duration = sum(float(n) * UNITS[u] for n, u in times) if times else DEFAULT_STEP_S
        if not 0 < duration <= MAX_STEP_S:
            raise PlanError(
                f"'{clause}' asks for {duration:g} s; a step takes up to {MAX_STEP_S:g} s"
            )
        steps.append(PlannedStep(named[0], duration))
    if not steps:
        raise PlanError("the goal is empty; say for example 'follow for 20 s, then wait'")
    return tuple(steps)


@dataclass
class Planner:
    """One planner loop over a ROUTER socket."""

    socket: zmq.Socket[bytes]
    loop: int = 0
    next_beat_ns: int = 0

    def __post_init__(self) -> None:
        self.robots: dict[bytes, int] = {}
        self.newest: dict[bytes, Observation] = {}

    def step(self, t_ns: int, timeout_ms: int) -> list[str]:
        """Serve what is waiting; what happened, in sentences."""
        self.loop += 1
        said: list[str] = []
        if self.socket.poll(timeout_ms):
            sender, *frames = self.socket.recv_multipart()
            if sender not in self.robots:
                said.append(f"robot {sender.hex()} is here")
            self.robots[sender] = t_ns
            said += self._answer(sender, decode(frames))
        if t_ns >= self.next_beat_ns:
            self.next_beat_ns = t_ns + BEAT_NS
            for sender in list(self.robots):
                if t_ns - self.robots[sender] > 3_000_000_000:
                    del self.robots[sender]
                    said.append(f"robot {sender.hex()} has gone")
                else:
                    self._send(sender, Beat(loop=self.loop))
        return said

    def _answer(self, sender: bytes, message: Message | None) -> list[str]:
        if isinstance(message, Observation):
            self.newest[sender] = message
        elif isinstance(message, Refused):
            return [f"the robot refuses {message.id}: {message.reason}"]
        elif isinstance(message, Request):
            try:
                steps = plan_goal(message.goal, message.skills)
            except PlanError as error:
                self._send(sender, Refused(id=message.id, reason=str(error)[:500]))
                return [f"{message.id} '{message.goal}': refused, {error}"]
            self._send(
                sender,
                Proposed(id=message.id, steps=steps, based_on=message.based_on, valid_s=VALID_S),
            )
            return [
                f"{message.id} '{message.goal}': "
                + ", ".join(f"{s.skill} {s.duration_s:g} s" for s in steps)
            ]
        return []

    def _send(self, sender: bytes, message: Message) -> None:
        try:
            self.socket.send_multipart([sender, *encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError:
            self.robots.pop(sender, None)


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Options of `planner serve`."""
    parser.add_argument(
        "--address", default=DEFAULT_ADDRESS, help=f"where to listen (default: {DEFAULT_ADDRESS})"
    )


def serve(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    address = check_address(args.address)
    socket = open_socket(zmq.ROUTER)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close()
        raise ConfigError(
            f"{args.address} is busy ({error}); stop the other planner or give --address"
        ) from error
    print(f"planner at {args.address}; skills: {', '.join(SKILLS)}; Ctrl-C ends it", flush=True)
    planner = Planner(socket)
    try:
        while True:
            for line in planner.step(now_ns(), 50):
                print(line, flush=True)
    except KeyboardInterrupt:
        return 0
    finally:
        socket.close()


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Options of `plan`."""
    parser.add_argument("goal", help="for example: 'follow me for 20 s, then wait 5 s'")
    parser.add_argument(
        "--address", default="", help="ask this planner; without it the goal is planned here"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def plan(args: argparse.Namespace) -> int:
    """Print the proposal for a goal; nothing moves."""
    steps = _ask(args.address, args.goal) if args.address else plan_goal(args.goal, tuple(SKILLS))
    if args.json:
        print(
            json.dumps(
                {
                    "goal": args.goal,
                    "steps": [{"skill": s.skill, "duration_s": s.duration_s} for s in steps],
                }
            )
        )
    else:
        for number, s in enumerate(steps, 1):
            print(f"{number}. {s.skill} for {s.duration_s:g} s: {SKILLS[s.skill].does}")
    return 0


def _ask(address: str, goal: str) -> tuple[PlannedStep, ...]:
    socket = open_socket(zmq.DEALER)
    try:
        socket.connect(check_address(address))
        request = Request(id="plan", goal=goal, skills=tuple(SKILLS), based_on=0, within_s=3.0)
        socket.send_multipart(encode(request))
        deadline = now_ns() + 3_000_000_000
        while now_ns() < deadline:
            if not socket.poll(100):
                continue
            message = decode(socket.recv_multipart())
            if isinstance(message, Refused):
                raise PlanError(message.reason)
            if isinstance(message, Proposed):
                return _known(address, message.steps)
    finally:
        socket.close()
    raise PlanError(
        f"no planner answers at {address} within 3 s; start one with `companion planner serve`"
    )


def _known(address: str, steps: tuple[PlannedStep, ...]) -> tuple[PlannedStep, ...]:
    """The same steps; a planner is another's program, and may propose what no robot does."""
    strange = [s.skill for s in steps if s.skill not in SKILLS]
    if strange:
        raise PlanError(
            f"the planner at {address} proposes '{strange[0]}', which is no skill: known are "
            f"{', '.join(SKILLS)}; the robot would refuse its plan"
        )
    return steps
