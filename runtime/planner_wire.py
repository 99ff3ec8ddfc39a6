"""What robot and planner say to each other: msgpack envelopes, arrays as raw ZeroMQ frames.

Times are relative (`valid_s`, `within_s`): the two ends share no clock. Unknown fields and other
schema versions are refused; sizes are limited before anything is decoded.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlparse

import msgspec
import numpy as np
import numpy.typing as npt
import zmq

from runtime.errors import ConfigError

SCHEMA = 1
MAX_BYTES = 1 << 20
DEFAULT_ADDRESS = "tcp://127.0.0.1:5560"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Text = Annotated[str, msgspec.Meta(max_length=500)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]  # refuses nan and inf too


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True, kw_only=True):
    """Base of all messages."""

    schema: int = SCHEMA


class Beat(Wire, frozen=True):
    """Application heartbeat: `loop` is the sender's own loop counter, so a hung loop shows."""

    loop: int


class Observation(Wire, frozen=True):
    """What the robot sees; one array frame follows: the belief, float32 (B,)."""

    frame: int
    mode: str
    skill: str
    battery_v: float


class Request(Wire, frozen=True):
    """A goal to be planned for, to be answered within a time."""

    id: Text
    goal: Text
    skills: tuple[str, ...]
    based_on: int
    within_s: Seconds


class PlannedStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step of a proposal."""

    skill: Text
    duration_s: float


class Proposed(Wire, frozen=True):
    """A sequence of skills for a request; void `valid_s` after the request was issued."""

    id: Text
    steps: tuple[PlannedStep, ...]
    based_on: int
    valid_s: Seconds


class Refused(Wire, frozen=True):
    """No plan: by the planner for a request, or by the robot for a proposal."""

    id: Text
    reason: Text


Message = Beat | Observation | Request | Proposed | Refused
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message, *arrays: npt.NDArray[np.float32]) -> list[bytes]:
    """Frames of one message."""
    return [_encoder.encode(message), *(a.astype("<f4", copy=False).tobytes() for a in arrays)]


def decode(frames: list[bytes]) -> Message | None:
    """The message, or None for anything that is not one of ours (it is dropped, never trusted)."""
    if not frames or sum(map(len, frames)) > MAX_BYTES:
        return None
    try:
        message = _decoder.decode(frames[0])
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None
    return message if message.schema == SCHEMA else None


def check_address(address: str) -> str:
    """A tcp address on loopback; anything else is refused until links are encrypted."""
    parts = urlparse(address)
    try:
        port = parts.port
    except ValueError:  # beyond 65535
        port = None
    if parts.scheme != "tcp" or not port:
        raise ConfigError(f"planner address {address} is not of the form tcp://127.0.0.1:5560")
    if parts.hostname not in LOOPBACK:
        raise ConfigError(
            f"planner address {address} is not on this machine: off-host planners need encryption, "
            "which is not there yet; use tcp://127.0.0.1:PORT"
        )
    return address


def open_socket(kind: int) -> zmq.Socket[bytes]:
    """A socket that never lingers, never queues much and never takes a huge message."""
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
    socket.setsockopt(zmq.SNDHWM, 16)
    socket.setsockopt(zmq.RCVHWM, 64)
    return socket
