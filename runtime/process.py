"""Thin shells around parts: fork, die with the parent, real-time priority, pacing, heartbeat."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable

from runtime.channels import Channels, Writer
from runtime.clock import now_ns, sleep_until

PR_SET_PDEATHSIG = 1
ALIVE_PERIOD_NS = 50_000_000


class StopFlag:
    """Set by SIGTERM; a part's loop looks at it."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to act on

    def _request(self, _number: int, _frame: object) -> None:
        self.requested = True


def die_with_parent() -> None:
    """SIGTERM when the parent dies, so that motors are parked even when the supervisor is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def set_priority(fifo: int) -> bool:
    """Ask for SCHED_FIFO at a priority; False when it is not allowed (0 asks for nothing)."""
    if fifo == 0:
        return True
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(fifo))
    except (PermissionError, OSError):
        return False
    return True


def try_fifo() -> bool:
    """Whether real-time priority is allowed, without keeping it."""
    if not set_priority(1):
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def spawn(start: Callable[[StopFlag], None], fifo: int) -> int:
    """Fork a child that runs `start(stop)`; its process id.

    The child dies with its parent, writes a traceback to stderr when it fails, and never returns.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        stop = StopFlag()
        die_with_parent()
        if os.getppid() != parent:
            os._exit(1)
        set_priority(fifo)
        start(stop)
        code = 0
    except Exception:  # noqa: BLE001  (the one edge of a process: say it, then die)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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
