"""The robot's end of the planner link: never blocks, survives a planner that dies, stops or hangs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import zmq

from runtime.planner_wire import (
    Beat,
    Message,
    Observation,
    Proposed,
    Refused,
    Request,
    check_address,
    decode,
    encode,
    open_socket,
)
from runtime.skills import SKILLS, Proposal, Step

BEAT_NS = 500_000_000
DEAD_NS = 1_500_000_000
REQUEST_WITHIN_S = 3.0
MAX_PER_STEP = 20


class ZmqPlannerLink:
    """DEALER to a planner's ROUTER."""

    def __init__(
        self, address: str, goal: str, now_ns: int, skills: tuple[str, ...] = tuple(SKILLS)
    ) -> None:
        self._skills = skills
        self._socket = open_socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing queues up for a planner that is away
        self._socket.connect(check_address(address))
        self.alive = False
        self.refusal = ""
        self._goal = goal
        self._next_beat_ns = now_ns
        self._last_progress_ns = 0
        self._loop = -1
        self._own_loop = 0
        self._requests = 0
        self._issued_ns = 0
        self._open_id = ""
        self._answered = False

    def step(
        self, now_ns: int, observation: dict[str, float], belief: npt.NDArray[np.float32]
    ) -> Proposal | None:
        """Exchange what is due; a proposal for the open request, if one came in time."""
        self._own_loop += 1
        proposal = self._receive(now_ns)
        self.alive = self._loop >= 0 and now_ns - self._last_progress_ns < DEAD_NS
        if now_ns >= self._next_beat_ns:
            self._next_beat_ns = now_ns + BEAT_NS
            self._send(Beat(loop=self._own_loop))
            frame = int(observation["frame"])
            seen = Observation(
                frame=frame,
                mode=str(int(observation["mode"])),
                skill=str(int(observation["skill"])),
                battery_v=observation["battery_v"],
            )
            self._send(seen, belief)
        self._ask(now_ns, int(observation["frame"]))
        return proposal

    def refuse(self, proposal: Proposal, reason: str) -> None:
        """Tell the planner why its proposal is not executed."""
        self._send(Refused(id=proposal.id, reason=reason[:500]))

    def withdraw(self) -> bool:
        """The goal is asked no more, and an answer to it is dropped; whether one was still awaited."""
        awaited = bool(self._goal) and not self._answered
        self._answered = True
        return awaited

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _ask(self, now_ns: int, frame: int) -> None:
        """Send the goal once the planner lives, and again while no answer came in time."""
        waited = now_ns - self._issued_ns > REQUEST_WITHIN_S * 1e9
        if not self._goal or not self.alive or self._answered or not waited:
            return
        self._requests += 1
        self._issued_ns = now_ns
        self._open_id = f"goal-{self._requests}"
        self._send(
            Request(
                id=self._open_id,
                goal=self._goal,
                skills=self._skills,
                based_on=frame,
                within_s=REQUEST_WITHIN_S,
            )
        )

    def _receive(self, now_ns: int) -> Proposal | None:
        for _ in range(MAX_PER_STEP):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                return None
            message = decode(frames)
            if isinstance(message, Beat):
                if message.loop != self._loop:
                    self._loop, self._last_progress_ns = message.loop, now_ns
            elif isinstance(message, Refused | Proposed) and self._awaits(message.id):
                self._answered = True
                if isinstance(message, Proposed):
                    return self._proposal(message)
                self.refusal = message.reason
        return None

    def _awaits(self, answered_id: str) -> bool:
        """One answer per goal: said again, or after the operator chose, it is nothing new."""
        return not self._answered and answered_id == self._open_id

    def _proposal(self, message: Proposed) -> Proposal:
        return Proposal(
            id=message.id,
            goal=self._goal,
            steps=tuple(Step(s.skill, s.duration_s) for s in message.steps),
            based_on=message.based_on,
            expires_ns=self._issued_ns + round(message.valid_s * 1e9),
        )

    def _send(self, message: Message, *arrays: npt.NDArray[np.float32]) -> None:
        try:
            self._socket.send_multipart(encode(message, *arrays), zmq.NOBLOCK)
        except zmq.ZMQError:
            return  # nobody there: beats say so, nothing waits
