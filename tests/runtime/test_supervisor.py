"""The supervisor over real processes: what ends, what restarts, what is killed, what is said."""

import json
import os
import signal
import time
from collections.abc import Callable

import pytest

from runtime import supervisor as module
from runtime.channels import Channels
from runtime.events import Event
from runtime.process import ERROR, USAGE, Child, Parent
from runtime.supervisor import OnDeath, ProcessRow, Supervisor

SLEEP = ("/bin/sleep", "60")


def start(*command: str, pipe: int = -1) -> Child:
    return Child(os.posix_spawn(command[0], command, os.environ), pipe)


@pytest.fixture
def make(channels: Channels, monkeypatch) -> Callable[..., Supervisor]:
    monkeypatch.setattr(module, "REST_NS", 0)
    made = []

    def build(on_death: OnDeath, starter=lambda: start(*SLEEP), order: int = 1) -> Supervisor:
        made.append(Supervisor([ProcessRow("mind", starter, on_death, order)], channels))
        made[-1].start()
        return made[-1]

    yield build
    for supervisor in made:
        supervisor.stop()
        assert not supervisor.children


def beat(channels: Channels) -> None:
    channels.writer("alive.mind", "mind").publish(time.monotonic_ns())


def kill(supervisor: Supervisor) -> None:
    os.kill(supervisor.children["mind"].pid, signal.SIGKILL)


def step_until(supervisor: Supervisor, holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        supervisor.step(0.01)


def events(channels: Channels) -> list[tuple[Event, bool, str]]:
    rows = channels.reader("event.supervisor").drain()
    return [(Event(int(r["code"])), bool(r["active"]), r["text"].item().decode()) for r in rows]


def test_a_death_that_ends_the_run(make, channels) -> None:
    supervisor = make(OnDeath.END)
    beat(channels)
    kill(supervisor)
    step_until(supervisor, lambda: bool(supervisor.ended))
    assert supervisor.ended == "the process mind (signal 9) died" and supervisor.failure == ERROR
    assert (Event.PROCESS_DIED, True, "mind (signal 9)") in events(channels)


def test_a_death_that_restarts_and_comes_back(make, channels) -> None:
    supervisor = make(OnDeath.RESTART)
    beat(channels)
    first = supervisor.children["mind"].pid
    kill(supervisor)
    step_until(supervisor, lambda: supervisor.children["mind"].pid != first)
    assert not supervisor.ended
    supervisor.step(0.05)
    assert (Event.PROCESS_BACK, True, "mind") not in events(channels), (
        "before it beats it is not back"
    )
    beat(channels)
    supervisor.step(0.01)
    seen = events(channels)
    assert seen[-2:] == [(Event.PROCESS_DIED, False, "mind"), (Event.PROCESS_BACK, True, "mind")]


def test_it_does_not_restart_for_ever(make, channels) -> None:
    supervisor = make(OnDeath.RESTART)
    for _ in range(module.MAX_RESTARTS):
        first = supervisor.children["mind"].pid
        beat(channels)
        kill(supervisor)
        step_until(supervisor, lambda first=first: supervisor.children["mind"].pid != first)
    kill(supervisor)
    step_until(supervisor, lambda: bool(supervisor.ended))
    assert supervisor.failure == ERROR


def test_a_hung_process_is_killed(make, channels, monkeypatch) -> None:
    monkeypatch.setattr(module, "HANG_NS", 50_000_000)
    supervisor = make(OnDeath.END)
    beat(channels)
    step_until(supervisor, lambda: bool(supervisor.ended))
    assert "mind (signal 9)" in supervisor.ended


def test_a_process_that_never_starts_is_killed(make, channels, monkeypatch) -> None:
    monkeypatch.setattr(module, "START_NS", 50_000_000)
    supervisor = make(OnDeath.END)
    step_until(supervisor, lambda: bool(supervisor.ended))


@pytest.mark.parametrize("kind", [ERROR, USAGE])
def test_what_cannot_even_start_is_not_tried_again(make, kind: str) -> None:
    def fails() -> Child:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        Parent(writing).hear(kind, "no camera here; plug one in")
        os.close(writing)
        return start("/bin/false", pipe=reading)

    supervisor = make(OnDeath.RESTART, fails)
    step_until(supervisor, lambda: bool(supervisor.ended))
    assert (supervisor.ended, supervisor.failure) == ("no camera here; plug one in", kind)


def test_stop_kills_what_ignores_it(make, monkeypatch) -> None:
    monkeypatch.setattr(module, "STOP_WAIT_NS", 100_000_000)
    stubborn = ("/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    supervisor = make(OnDeath.END, lambda: start(*stubborn))
    time.sleep(0.1)
    pid = supervisor.children["mind"].pid
    supervisor.end("its time is over")
    supervisor.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_fallback_backend_becomes_an_event(make, channels) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    supervisor = make(OnDeath.END, lambda: start(*SLEEP, pipe=reading))
    line = json.dumps(["degraded", "observe runs on ort-cpu"]).encode() + b"\n"
    os.write(writing, line[:7])  # a line may come in pieces
    supervisor.step(0.01)
    os.write(writing, line[7:])
    supervisor.step(0.01)
    os.close(writing)
    assert events(channels) == [(Event.BACKEND_FALLBACK, True, "observe runs on ort-cpu")]
