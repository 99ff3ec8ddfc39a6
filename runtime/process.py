"""Thin shells around parts: fork, die with the parent, real-time priority, pacing, heartbeat."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.errors import BridgeError
from models.errors import ModelError
from runtime.channels import Channels, Writer
from runtime.clock import now_ns, sleep_until
from runtime.errors import ConfigError, RuntimeFault

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
ALIVE_PERIOD_NS = 50_000_000
PIPE_BYTES = 65536
USAGE, ERROR = "usage", "error"  # what a dying child says: exit code 2 or 1 of the command
SAID = (BridgeError, ModelError, RuntimeFault, OSError)  # one sentence tells all; no traceback


class StopFlag:
    """Set by SIGTERM; a part's loop looks at it."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)
        for number in (signal.SIGINT, signal.SIGHUP):  # the supervisor's to act on
            signal.signal(number, signal.SIG_IGN)

    def _request(self, _number: int, _frame: object) -> None:
        self.requested = True


class Parent:
    """A child's pipe to its supervisor: one JSON pair per line, small and rare."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def hear(self, kind: str, text: str) -> None:
        """Tell the supervisor; a full or closed pipe is no reason to fail."""
        with contextlib.suppress(OSError):
            os.write(self._fd, json.dumps([kind, text]).encode() + b"\n")


@dataclass(slots=True)
class Child:
    """A started process; `pipe` is the end where it can be heard, -1 for one that says nothing."""

    pid: int
    pipe: int = -1
    rest: bytes = b""

    def said(self) -> list[tuple[str, str]]:
        """What it has said since the last call; never blocks."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.pipe, PIPE_BYTES) if self.pipe >= 0 else b""
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [(str(kind), str(text)) for kind, text in map(json.loads, lines)]

    def close(self) -> None:
        """Forget the pipe."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1


def die_with_parent() -> None:
    """SIGTERM when the parent dies, so that motors are parked even when the supervisor is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def set_name(name: str) -> None:
    """What `ps -o comm` and `top` show of this process (15 characters)."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, f"cmp-{name}".encode()[:15])


def set_priority(fifo: int) -> bool:
    """Ask for SCHED_FIFO at a priority, not inherited by children; False when it is not allowed."""
    if fifo == 0:
        return True
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, policy, os.sched_param(fifo))
    except OSError:
        return False
    return True


def try_fifo() -> bool:
    """Whether real-time priority is allowed, without keeping it."""
    if not set_priority(1):
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def spawn(name: str, start: Callable[[StopFlag, Parent], None], fifo: int) -> Child:
    """Fork a child that runs `start(stop, parent)` and never returns.

    The child dies with its parent. An expected failure is one sentence to the parent; any other
    also writes its traceback to stderr.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    code = 1
    try:
        os.close(reading)
        stop = StopFlag()
        die_with_parent()
        set_name(name)
        if os.getppid() == parent:
            set_priority(fifo)
            code = _run(start, stop, Parent(writing))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(start: Callable[[StopFlag, Parent], None], stop: StopFlag, parent: Parent) -> int:
    try:
        start(stop, parent)
    except SAID as error:
        parent.hear(USAGE if isinstance(error, ConfigError) else ERROR, sentence_of(error))
        return 1
    except Exception as error:  # noqa: BLE001  (the one edge of a process: say it, then die)
        traceback.print_exc()
        parent.hear(ERROR, f"{type(error).__name__}: {error}")
        return 1
    return 0


def sentence_of(error: Exception) -> str:
    """One line for the operator."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}"
    return " ".join(str(error).split())


class Heartbeat:
    """A process's sign of life, at most every 50 ms."""

    def __init__(self, channels: Channels, process: str) -> None:
        self._writer: Writer = channels.writer(f"alive.{process}", process)
        self._next_ns = 0

    def step(self, t_ns: int) -> None:
        """Beat when it is due."""
        self._writer.record["steps"] += 1
        if t_ns >= self._next_ns:
            self._next_ns = t_ns + ALIVE_PERIOD_NS
            self._writer.record["ready"] = 1
            self._writer.publish(t_ns)


def quiet_memory() -> None:
    """No garbage collection inside a loop: a full one costs tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.disable()


def run_periodic(
    step: Callable[[int], object], hz: float, heartbeat: Heartbeat, stop: StopFlag
) -> None:
    """Call `step(now_ns)` on an absolute schedule; a late step skips periods, it never bursts."""
    period_ns = round(1e9 / hz)
    due = now_ns()
    while not stop.requested:
        t = now_ns()
        step(t)
        heartbeat.step(t)
        due += period_ns
        if due < now_ns():
            due = now_ns() + period_ns
        sleep_until(due)
