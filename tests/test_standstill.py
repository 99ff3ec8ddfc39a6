"""A test of real time is made again only where the machine stood still."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests import standstill
from tests.standstill import Standstill, undisturbed


def failing(calls: list[int]):
    @undisturbed
    def test() -> None:
        calls.append(1)
        raise ValueError("it failed")

    return test


def test_a_failure_of_the_code_is_not_tried_again(monkeypatch) -> None:
    monkeypatch.setattr(standstill, "STOOD_S", float("inf"))
    calls: list[int] = []
    with pytest.raises(AssertionError, match="it failed"):
        failing(calls)()
    assert len(calls) == 1


def test_no_more_than_three_tries_on_a_machine_that_stands_still(monkeypatch) -> None:
    monkeypatch.setattr(standstill, "STOOD_S", -1.0)
    calls: list[int] = []
    with pytest.raises(AssertionError, match="stood still"):
        failing(calls)()
    assert len(calls) == 3


def test_a_process_that_was_stopped_sees_that_it_was() -> None:
    code = (
        "import time; from tests.standstill import Standstill\n"
        "with Standstill() as machine:\n"
        "    print('watching', flush=True); time.sleep(1.0)\n"
        "print(machine.longest_s)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "watching\n"
    time.sleep(0.2)
    os.kill(run.pid, signal.SIGSTOP)
    time.sleep(0.4)
    os.kill(run.pid, signal.SIGCONT)
    longest_s = float(run.communicate()[0])
    assert longest_s > 0.35
    with Standstill() as machine:
        time.sleep(0.01)
    assert machine.longest_s < 10
